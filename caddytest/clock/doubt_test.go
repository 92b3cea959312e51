package clock

import (
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// A clock that goes ten years ahead for some clean-ups costs no file.
func TestCleanUpDoubtsAClockThatIsSetForward(t *testing.T) {
	t.Parallel()
	s := start(t, 0, often)
	u := s.mustStore(kib, 1)
	awaitCleanUp(s)
	s.SetClock(3650 * day)
	for range 2 {
		begun := lastCleanUp(s)
		rig.Await(t, "a clean-up", func() bool { return lastCleanUp(s).After(begun) })
	}
	if n := s.files(); n != 1 {
		t.Errorf("%d files are left, want 1", n)
	}
	warned := 0
	for _, e := range s.Logs() {
		if strings.Contains(e.Message, "the clock was set forward") {
			warned++
		}
	}
	if warned != 1 {
		t.Errorf("warned %d times", warned)
	}
	s.SetClock(0)
	s.expectServed("when the clock is back", u)
	// An operator who asks for it gets it.
	s.SetClock(keep + time.Minute)
	if done := s.cleanUp(); done.Files != 1 {
		t.Errorf("a clean-up on demand did %+v", done)
	}
}
