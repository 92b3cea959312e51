package clock

import (
	"net/http"
	"testing"
	"time"
)

// limited is a rule with a window.
const limited = "allow example.com {\nuploads 5 per 1h\n}"

// expectGranted expects that a limit grants so much more, and then refuses for
// this long, within the time that the test may take.
func (s *service) expectGranted(when string, want int, refusedFor time.Duration) {
	s.t.Helper()
	n, r := s.grant()
	if n != want {
		s.t.Errorf("%s: %d are granted, want %d", when, n, want)
	}
	if got := time.Duration(r.RetryAfter) * time.Second; r.Error != "rate_quota" || got > refusedFor || got < refusedFor-time.Minute {
		s.t.Errorf("%s: %+v, want a refusal for %s", when, r, refusedFor)
	}
	if used := s.account().Uploads[0].Used; used != r.Used || used < 5 {
		s.t.Errorf("%s: %d and %d are used", when, used, r.Used)
	}
}

// The windows of a JID when the clock goes forward and comes back, as README
// tells: what was granted in the time that never came counts until the clock
// gets there.
func TestWindowsWhenTheClockJumps(t *testing.T) {
	t.Parallel()
	s := start(t, 0, seldom, limited)
	s.expectGranted("at first", 5, time.Hour)
	s.SetClock(time.Hour + time.Minute)
	s.expectGranted("an hour later", 5, time.Hour)
	s.SetClock(day)
	s.expectGranted("a day later", 5, time.Hour)
	s.SetClock(0)
	s.expectGranted("back again", 0, day+time.Hour)
	s.restart()
	s.expectGranted("after a restart", 0, day+time.Hour)
	s.SetClock(-day)
	s.expectGranted("a day before", 0, 2*day+time.Hour)
	s.SetClock(day + time.Hour + time.Minute)
	s.expectGranted("when the clock has caught up", 5, time.Hour)
}

// In the hour that a clock comes back to, a limit may be granted once more, not
// twice.
func TestOneMoreGrantWhenTheClockIsBack(t *testing.T) {
	t.Parallel()
	s := start(t, 0, seldom, limited)
	s.expectGranted("at first", 5, time.Hour)
	s.SetClock(day)
	u := s.mustAsk(1, 1) // has the windows of the day before forgotten
	s.SetClock(0)
	n, _ := s.grant()
	if n > 4 { // the one of the day that never came counts
		t.Errorf("%d more are granted, want 4 at most", n)
	}
	s.must(s.send(u)) // it waits until the day comes
}

// What a JID has stored and reserved is exact, wherever the clock is.
func TestTotalsWhenTheClockJumps(t *testing.T) {
	t.Parallel()
	const free = 10 * kib
	s := start(t, 0, seldom, "allow example.com {\nmax_total_size 10KiB\n}", "max_storage 20KiB")
	s.mustStore(4*kib, 1)
	u := s.mustAsk(2*kib, 2)
	for _, jump := range []time.Duration{-day, -3650 * day} {
		s.SetClock(jump)
		if a := s.account(); a.StoredBytes != 4*kib || a.WaitingBytes != 2*kib {
			t.Errorf("with the clock set by %s: %+v, want 4 KiB and 2 KiB", jump, a)
		}
		_, err := s.ask(t.Context(), free-6*kib+1, 3)
		s.expectCode("a slot for more than is left", err, http.StatusPaymentRequired)
	}
	s.must(s.send(u))
	s.SetClock(keep - time.Hour)
	if a, stats := s.account(), s.stats(); a.StoredBytes != 6*kib || a.WaitingBytes != 0 || stats.StoredBytes != 6*kib || stats.WaitingBytes != 0 {
		t.Errorf("%+v and %+v, want 6 KiB stored", a, stats)
	}
}
