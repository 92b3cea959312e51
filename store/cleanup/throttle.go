package cleanup

import (
	"context"
	"sync/atomic"
	"time"
)

const (
	// removedAtOnce is how many uploads are removed between two pauses, together
	// so that the store can share trips to the disk among them. More of them take
	// hardly less time.
	removedAtOnce = 8
	// unusedAtOnce is the same where no files are among them.
	unusedAtOnce = 32
	// whileServed divides these while users are served: who asks for a slot waits
	// for what has begun.
	whileServed = 4
)

// served is when a user was served last, in nanoseconds since 1970.
var served atomic.Int64

// Serving notes that a user is being served, so that Throttle makes way.
func Serving() { served.Store(time.Now().UnixNano()) }

// makeWayFor is how long after a request more may be expected.
const makeWayFor = 100 * time.Millisecond

func serving() bool {
	ago := time.Since(time.Unix(0, served.Load()))
	return 0 <= ago && ago < makeWayFor
}

// gently returns how many of n to do at once.
func gently(n int) int {
	if serving() {
		return n / whileServed
	}
	return n
}

// Throttle is a Pause that works for half of the time, and for a tenth at most
// while users are served: on two cores that takes less than a tenth from uploads
// and slots.
func Throttle(ctx context.Context, busy time.Duration) error {
	rest := busy
	if serving() {
		rest = 9 * busy
	}
	return sleep(ctx, min(rest, time.Second))
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}
