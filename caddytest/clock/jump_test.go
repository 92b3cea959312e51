package clock

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// Wherever the clock goes, what is under way ends well, and what an upload took
// is kept from the time that the clock showed at its end.
func TestTransfersGoOnWhenTheClockJumps(t *testing.T) {
	t.Parallel()
	const size = 12 * mib // more than sockets hold
	s := start(t, 0, often)
	var stored []upload // since when it was by which clock
	var from []time.Duration
	for i, jump := range []time.Duration{day, -day, -3650 * day, 3650 * day} {
		s.SetClock(0)
		file := s.mustStore(size, uint64(2*i))
		download := s.holdGet(file, mib)
		u := s.mustAsk(size, uint64(2*i+1))
		put := s.holdPut(u, mib)

		s.SetClock(jump)
		s.cleanUp() // beside those that run all the time
		if err := download.finish(); err != nil {
			t.Errorf("a download under way when the clock went by %s: %v", jump, err)
		}
		if err := put.finish(); err != nil {
			t.Errorf("an upload under way when the clock went by %s: %v", jump, err)
		}
		s.expectServed("under the new clock", u)
		stored, from = append(stored, file, u), append(from, 0, jump)
	}
	if n := s.files(); n != 1 {
		t.Errorf("ten years later %d files are there, want the one that was just uploaded", n)
	}
	// What a clean-up found to have expired ten years later is gone for good.
	s.SetClock(0)
	s.cleanUp()
	for i, u := range stored {
		want := http.StatusNotFound
		if from[i] == 3650*day {
			want = http.StatusOK
		}
		s.expectCode("a file of the time before "+from[i].String(), s.served(u), want)
	}
}

// A clock that goes forward by less than keep, or back, takes no file away.
func TestFilesOutliveJumpsWithinKeep(t *testing.T) {
	t.Parallel()
	s := start(t, 0, often)
	files := []upload{s.mustStore(kib, 1)}
	for i, jump := range []time.Duration{time.Hour, day, keep - time.Hour, -time.Hour, -day, -20 * 365 * day} {
		s.SetClock(jump)
		if done := s.cleanUp(); done != (admin.CleanUp{}) {
			t.Errorf("with the clock set by %s a clean-up did %+v", jump, done)
		}
		s.expectServed("with the clock set by "+jump.String(), files...)
		s.SetClock(0)
		files = append(files, s.mustStore(kib, uint64(i+2)))
	}
	s.cleanUp()
	s.expectServed("in the end", files...)
}

// Once the clock passes keep, a file is not served, even before a clean-up; if
// it comes back before one, the file does too.
func TestKeepFollowsTheClock(t *testing.T) {
	t.Parallel()
	s := start(t, 0, seldom)
	u := s.mustStore(kib, 1)
	awaitCleanUp(s) // the one at the start
	s.SetClock(keep + time.Second)
	s.expectCode("a file after its time", s.served(u), http.StatusNotFound)
	if n := s.stats().ExpiredFiles; n != 1 {
		t.Errorf("%d files have expired, want 1", n)
	}
	s.SetClock(0)
	s.expectServed("when the clock is back", u)

	s.SetClock(keep + time.Second)
	if done := s.cleanUp(); done.Files != 1 {
		t.Errorf("a clean-up did %+v, want one file removed", done)
	}
	s.SetClock(0)
	s.expectCode("a file that clean-up has removed", s.served(u), http.StatusNotFound)
	if n := s.files(); n != 0 {
		t.Errorf("%d files are left", n)
	}
}

// A waiting slot lapses when the clock passes its deadline and somebody asks for
// the account of its JID. It stays so though the clock comes back, until Caddy is
// started again. If a clean-up came in between, it is gone.
func TestSlotsLapseWhenTheClockJumps(t *testing.T) {
	t.Parallel()
	const ok, refused = http.StatusOK, http.StatusForbidden
	s := start(t, 0, seldom)
	awaitCleanUp(s)
	hourAhead := func(u upload, meanwhile func()) {
		s.SetClock(time.Hour)
		s.expectCode("a slot an hour later", s.send(u), refused)
		meanwhile()
		s.SetClock(0)
	}
	unasked := s.mustAsk(kib, 1)
	hourAhead(unasked, func() {})
	s.expectCode("a slot that nobody asked about", s.send(unasked), ok)

	removed := s.mustAsk(kib, 2)
	hourAhead(removed, func() {
		if done := s.cleanUp(); done.Slots != 1 {
			t.Errorf("a clean-up did %+v, want one slot removed", done)
		}
	})
	s.expectCode("a slot that a clean-up has removed", s.send(removed), refused)

	lapsed := s.mustAsk(kib, 3)
	hourAhead(lapsed, func() { s.account() })
	s.expectCode("a slot that has lapsed", s.send(lapsed), refused)
	s.restart()
	s.expectCode("a slot that has lapsed, after a restart", s.send(lapsed), ok)
	s.expectCode("a slot that a clean-up has removed, after a restart", s.send(removed), refused)
}

// A slot waits until the clock shows its deadline, so if that goes back, longer.
func TestSlotsWaitWhenTheClockGoesBack(t *testing.T) {
	t.Parallel()
	s := start(t, 0, often)
	u, unused := s.mustAsk(kib, 1), s.mustAsk(kib, 2)
	s.SetClock(-day)
	s.cleanUp()
	s.restart()
	s.must(s.send(u))
	s.expectServed("uploaded a day earlier", u)
	if stats := s.stats(); stats.WaitingSlots != 1 || stats.WaitingBytes != unused.size {
		t.Errorf("%+v, want one slot that waits", stats)
	}
	s.SetClock(wait - time.Minute)
	s.expectServed("when the clock has come back", u)
	s.SetClock(wait)
	s.expectCode("the other slot at its deadline", s.send(unused), http.StatusForbidden)
}

// Clean-ups come by the monotonic clock, wherever the other one goes.
func TestCleanUpGoesOnWhenTheClockJumps(t *testing.T) {
	t.Parallel()
	s := start(t, 0, often)
	for _, jump := range []time.Duration{3650 * day, -day} {
		s.SetClock(jump)
		begun := s.Now()
		rig.Await(t, "a clean-up by the clock that was set", func() bool {
			at := lastCleanUp(s)
			return !at.Before(begun.Add(-time.Second)) && at.Before(begun.Add(rig.Patience))
		})
	}
}

// awaitCleanUp returns after the first clean-up.
func awaitCleanUp(s *service) {
	s.t.Helper()
	rig.Await(s.t, "the clean-up at the start", func() bool { return !lastCleanUp(s).IsZero() })
}

// lastCleanUp is when a clean-up succeeded last, zero if none did, as the metrics
// tell.
func lastCleanUp(s *service) time.Time {
	s.t.Helper()
	seconds := s.metric("caddy_xmpp_upload_cleanup_last_success_timestamp_seconds")
	if seconds == 0 {
		return time.Time{}
	}
	return time.UnixMilli(int64(seconds * 1e3))
}

// Whatever the clock was, the page, the commands and the metrics answer, and
// nothing that they tell is negative.
func TestToolsAnswerWhenTheClockJumps(t *testing.T) {
	t.Parallel()
	s := start(t, 0, seldom, "allow example.com {\nuploads 5 per 1h\nbytes 1MiB per 1d\n}")
	s.mustStore(kib, 1)
	s.mustAsk(kib, 2)
	for _, jump := range []time.Duration{0, day, -day, before(in1970), 3650 * day} {
		s.SetClock(jump)
		if jump >= 0 { // before that the windows hold what was granted later
			s.mustStore(kib, 3)
		}
		for _, page := range []string{"", "uploads", "users", "user?jid=" + user} {
			s.expectNothingNegative(jump, "the page "+page, s.text(s.Addr+"/page/"+page), ">-", "in -")
		}
		s.expectNothingNegative(jump, "the metrics", ours(s.text(s.Admin+"/metrics")), " -")
		for _, path := range []string{"stats", "uploads", "users/" + user, "check?jid=" + user + "&size=1"} {
			s.expectNothingNegative(jump, path, s.text(s.Admin+"/xmpp_upload/"+path), ": -", ":-")
		}
		if jump != -day {
			continue
		}
		for _, of := range [][]string{{"list", "--from", "1h"}, {"usage", user}} {
			out, err := s.Command(append(append([]string{"xmpp-upload"}, of...), "--address", s.Admin)...).CombinedOutput()
			s.must(err)
			s.expectNothingNegative(jump, strings.Join(of, " "), string(out), " -")
		}
	}
}

func (s *service) expectNothingNegative(jump time.Duration, what, text string, signs ...string) {
	s.t.Helper()
	for _, sign := range signs {
		if strings.Contains(text, sign) {
			s.t.Errorf("with the clock set by %s, %s has %q:\n%s", jump, what, sign, text)
		}
	}
}

// ours are the metrics of the module.
func ours(metrics string) string {
	var b strings.Builder
	for line := range strings.Lines(metrics) {
		if strings.HasPrefix(line, "caddy_xmpp_upload_") {
			b.WriteString(line)
		}
	}
	return b.String()
}
