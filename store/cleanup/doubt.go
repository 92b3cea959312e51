package cleanup

import (
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
)

const (
	// farAhead is how far a clock is set forward at once by mistake only, or
	// after a sleep of the machine.
	farAhead = time.Hour
	// reconsidered is how long a mistake may take to be found.
	reconsidered = time.Hour
)

// doubt watches the wall clock by the monotonic one. A clock that was set far
// forward may come back, and files that were removed would not.
type doubt struct {
	last  time.Time
	since time.Time // zero: there is none
}

// trusted reports whether the clock may be believed at now: it was not set far
// forward since the last call, or that is a while ago, or it came back.
func (d *doubt) trusted(now time.Time) bool {
	if !d.last.IsZero() {
		jump := now.Round(0).Sub(d.last.Round(0)) - now.Sub(d.last)
		switch {
		case jump > farAhead:
			d.since = now
			caddy.Log().Named("http.handlers.xmpp_upload").Warn("the clock was set forward; clean-up leaves files alone for now",
				zap.Duration("by", jump), zap.Duration("for", reconsidered))
		case jump < -farAhead:
			d.since = time.Time{}
		}
	}
	d.last = now
	return d.since.IsZero() || now.Sub(d.since) >= reconsidered
}
