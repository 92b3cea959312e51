package clock

import (
	"net/http"
	"slices"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// before returns how far a clock is behind that shows this moment.
func before(at time.Time) time.Duration { return -time.Since(at).Truncate(time.Second) }

// What boards without a clock of their own believe when they start.
var (
	in1970 = time.Unix(0, 0)
	in2000 = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
)

// Caddy starts on a board that believes in 1970, and somebody uses it. Then the
// clock is set. What was uploaded before has expired, and what was granted does
// not count any more, whether Caddy is started again or not.
func TestClockIsSetAfterTheStart(t *testing.T) {
	t.Parallel()
	s := start(t, before(in1970), often, limited)
	early, waiting := s.mustStore(kib, 1), s.mustAsk(kib, 2)
	s.expectServed("at first", early)
	n, r := s.grant()
	if n != 3 || r.RetryAfter > 3600 || r.RetryAfter < 300 {
		t.Errorf("%d more are granted, then %+v; want 3 and a refusal for less than an hour", n, r)
	}
	put := s.holdPut(waiting, 1)
	s.SetClock(0)
	s.must(put.finish())
	for _, restart := range []bool{false, true} {
		if restart {
			s.restart()
		}
		s.expectServed("uploaded while the clock was set", waiting)
		s.expectCode("a file of the time before", s.served(early), http.StatusNotFound)
		if n, r = s.grant(); r.RetryAfter > 3600 || r.RetryAfter < 3500 {
			t.Errorf("%d are granted, then %+v; want a refusal for an hour", n, r)
		}
		s.expectCounted(6)
	}
	rig.Await(t, "a clean-up of the new process", func() bool { return s.files() == 6 })
}

// The same with a restart in between, as of a board that starts Caddy twice.
func TestClockIsSetBeforeTheNextStart(t *testing.T) {
	t.Parallel()
	s := start(t, before(in2000), often, limited)
	early, waiting := s.mustStore(kib, 1), s.mustAsk(kib, 2)
	s.holdPut(waiting, 1)
	s.Kill()
	s.SetClock(0)
	s.restart()
	s.expectCode("a slot of the time before", s.send(waiting), http.StatusForbidden)
	s.expectCode("a file of the time before", s.served(early), http.StatusNotFound)
	s.expectGranted("now", 5, time.Hour)
	s.expectCounted(5)
	rig.Await(t, "a clean-up", func() bool { return s.files() == 5 })
}

// expectCounted expects so many uploads in the last days, by the clock of now.
func (s *service) expectCounted(want int64) {
	s.t.Helper()
	var got int64
	for _, d := range s.stats().Days {
		got += d.Uploads
	}
	if got != want {
		s.t.Errorf("%d uploads are counted, want %d", got, want)
	}
}

// A server with years of files is started on a board that believes in 1970:
// nothing is lost, and once the clock is set all is as before.
func TestOldStoresUnderAnEarlyClock(t *testing.T) {
	t.Parallel()
	s := start(t, 0, often, limited)
	var old []upload
	for i := range uint64(5) {
		old = append(old, s.mustStore(kib, i))
	}
	s.SetClock(before(in1970))
	s.restart()
	s.cleanUp()
	s.expectServed("under an early clock", old...)
	// The windows hold what was granted later.
	years := time.Since(in1970)
	n, r := s.grant()
	if got := time.Duration(r.RetryAfter) * time.Second; n != 0 || got < years || got > years+2*time.Hour {
		t.Errorf("%d are granted, then %+v; want 0, and a refusal for %s", n, r, years)
	}
	s.SetClock(0)
	s.cleanUp()
	s.expectServed("when the clock is set", old...)
	s.expectGranted("when the clock is set", 0, time.Hour)
	var v admin.Verification
	s.must(s.API(http.MethodPost, "verify", &v))
	if v.Slots != 5 || v.Files != 5 {
		t.Errorf("verify compared %+v, want 5 and 5", v)
	}
}

// The list shows the newest first by the clock of each slot, page by page.
func TestListWhenTheClockJumps(t *testing.T) {
	t.Parallel()
	s := start(t, 0, seldom, "keep forever")
	want := make(map[time.Duration]string) // names by the clock
	offsets := []time.Duration{0, day, -day, before(in2000), 3650 * day, -2 * day}
	for i, offset := range offsets {
		s.SetClock(offset)
		u := s.mustStore(1, uint64(i))
		want[offset] = u.id()
	}
	slices.Sort(offsets)
	slices.Reverse(offsets)
	s.SetClock(0)
	var got []string
	for query := "limit=2"; ; {
		page := s.list(query)
		for _, u := range page.Uploads {
			got = append(got, u.ID)
		}
		if page.Next == "" {
			break
		}
		query = "limit=2&after=" + page.Next
	}
	for i, offset := range offsets {
		if len(got) != len(offsets) || got[i] != want[offset] {
			t.Errorf("%d are listed, %d-th not that of %s", len(got), i, offset)
		}
	}
}

// Conditions hold over jumps, and the time that a file was uploaded at is that of
// Caddy's clock, not that of the disk.
func TestConditionsWhenTheClockJumps(t *testing.T) {
	t.Parallel()
	s := start(t, before(in2000), often, "keep forever")
	u := s.mustStore(kib, 1)
	d, err := s.Download(t.Context(), u.Get)
	s.must(err)
	tag, modified := d.Header.Get("ETag"), d.Header.Get("Last-Modified")
	at, err := http.ParseTime(modified)
	if err != nil || at.Year() != 2000 && at.Year() != 1999 {
		t.Errorf("modified at %q, want 2000", modified)
	}
	for _, offset := range []time.Duration{before(in2000), 0, 3650 * day} {
		s.SetClock(offset)
		s.expectServed("kept forever", u)
		for name, header := range map[string]http.Header{
			"If-None-Match":     {"If-None-Match": {tag}},
			"If-Modified-Since": {"If-Modified-Since": {modified}},
		} {
			_, err := s.Get(t.Context(), u.Get, header)
			s.expectCode(name, err, http.StatusNotModified)
		}
		resp, err := s.Get(t.Context(), u.Get, http.Header{"If-Range": {tag}, "Range": {"bytes=10-"}})
		s.must(err)
		resp.Body.Close()
		if resp.StatusCode != http.StatusPartialContent {
			t.Errorf("a range: %s", resp.Status)
		}
	}
}
