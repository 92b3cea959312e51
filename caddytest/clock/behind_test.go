package clock

import (
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
)

// Slots that wait count against max_storage, though the clock has been ahead, and
// slots have lapsed there.
func TestStorageIsCappedWhenTheClockIsBack(t *testing.T) {
	t.Parallel()
	s := start(t, 0, seldom, "max_storage 10KiB")
	s.SetClock(day)
	s.mustAsk(kib, 1)
	s.SetClock(day + time.Hour)
	if n := s.stats().WaitingSlots; n != 0 {
		t.Errorf("%d slots wait after their time", n)
	}
	s.cleanUp()
	s.SetClock(0)
	for i := range uint64(2) {
		s.mustAsk(4*kib, 2+i)
	}
	if got := s.stats().WaitingBytes; got != 8*kib {
		t.Errorf("%d bytes wait, want 8 KiB", got)
	}
	if reserved := s.metric("caddy_xmpp_upload_reserved_bytes"); reserved != 8*kib {
		t.Errorf("the metrics tell of %.0f reserved bytes, want 8 KiB", reserved)
	}
	_, err := s.ask(t.Context(), 4*kib, 4)
	s.expectCode("a slot beyond max_storage", err, http.StatusInsufficientStorage)
}

// What a file's answer tells of its age is never in the future (RFC 9110, section
// 8.8.2.1), and never longer than it is kept.
func TestAgesWhenTheClockIsBack(t *testing.T) {
	t.Parallel()
	s := start(t, 0, seldom, "keep 1d")
	u := s.mustStore(kib, 1)
	for _, jump := range []time.Duration{0, -time.Hour, -3650 * day} {
		s.SetClock(jump)
		d, err := s.Download(t.Context(), u.Get)
		s.must(err)
		modified, err := http.ParseTime(d.Header.Get("Last-Modified"))
		s.must(err)
		date, err := http.ParseTime(d.Header.Get("Date"))
		s.must(err)
		if modified.After(date) {
			t.Errorf("with the clock set by %s a file was modified at %s, and it is %s", jump, modified, date)
		}
		_, rest, _ := strings.Cut(d.Header.Get("Cache-Control"), "max-age=")
		text, _, _ := strings.Cut(rest, ",")
		if age, err := strconv.Atoi(text); err != nil || age > int(day/time.Second) {
			t.Errorf("with the clock set by %s: Cache-Control: %s", jump, d.Header.Get("Cache-Control"))
		}
	}
}

// Verify and clean-up see the uploads of a time from which the clock came back.
func TestVerifySeesAllWhenTheClockIsBack(t *testing.T) {
	t.Parallel()
	s := start(t, 0, seldom)
	awaitCleanUp(s)
	here, gone := s.mustStore(kib, 1), s.mustStore(kib, 2)
	s.must(os.Remove(filepath.Join(s.filesDir(), gone.id()[:2], gone.id()+"-2.dat")))
	s.SetClock(-day)
	var v admin.Verification
	s.must(s.API(http.MethodPost, "verify", &v))
	if v.Slots != 2 || v.Files != 1 || len(v.Missing) != 1 {
		t.Errorf("verify found %+v, want one of two files missing", v)
	}
	if done := s.cleanUp(); done.Missing != 1 {
		t.Errorf("a clean-up did %+v, want the missing one mended", done)
	}
	s.expectServed("the other one", here)
	if n := s.account().StoredFiles; n != 1 {
		t.Errorf("the account has %d files, want 1", n)
	}
}
