package cleanup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// lookedAtAtOnce is how many slots or files are looked at between two pauses.
const lookedAtAtOnce = 256

// Progress is told how much of the work is done. Neither number ever falls. The
// total is an estimate, and reached in the end; nothing is told if it is zero.
type Progress func(done, total int64)

// step is a part of a clean-up.
type step struct {
	// work is how much there is to do, about.
	work int64
	// do calls did when it has done some of it.
	do func(ctx context.Context, did func(int)) error
}

// perform does the steps, in order. One that fails does not keep the others from
// their work; the end of ctx does.
func perform(ctx context.Context, steps []step, progress Progress) error {
	var failed error
	var total, before int64
	for _, s := range steps {
		total += s.work
	}
	tell := func(done int64) {
		if progress != nil && total > 0 {
			progress(done, total)
		}
	}
	for _, s := range steps {
		var done int64
		failed = errors.Join(failed, s.do(ctx, func(n int) {
			done = min(done+int64(n), s.work)
			tell(before + done)
		}))
		if err := ctx.Err(); err != nil {
			return err
		}
		before += s.work
		tell(before)
	}
	return failed
}

// walk calls do with each page of a listing, and pauses in between. What fails
// does not keep the rest from its turn.
func walk[T any](ctx context.Context, c *Cleaner, doing string, list func(after string) ([]T, string, error), do func(page []T, fail func(error))) error {
	var failed failures
	for after := ""; ; {
		begun := time.Now()
		page, next, err := list(after)
		if err != nil {
			failed.add(fmt.Errorf("%s: %w", doing, err))
			return failed.err()
		}
		do(page, failed.add)
		if next == "" {
			return failed.err()
		}
		if err := c.pause(ctx, begun); err != nil {
			return err
		}
		after = next
	}
}

// failures are many errors, of which some are told.
type failures struct {
	told   []error
	untold int
}

// add notes an error, unless it is nil.
func (f *failures) add(err error) {
	const tell = 10
	switch {
	case err == nil:
	case len(f.told) < tell:
		f.told = append(f.told, err)
	default:
		f.untold++
	}
}

func (f *failures) err() error {
	err := errors.Join(f.told...)
	if f.untold > 0 {
		err = fmt.Errorf("%w\nand %d more", err, f.untold)
	}
	return err
}

// uploaded lists the uploads whose slots were reserved before a time; if that is
// zero, all of them, also those of a time from which the clock was set back.
func (c *Cleaner) uploaded(ctx context.Context, before time.Time, limit int) func(string) ([]store.Slot, string, error) {
	return func(after string) ([]store.Slot, string, error) {
		p, err := c.Slots.List(ctx, store.Query{State: store.Uploaded, To: before, After: after, Limit: limit})
		return p.Slots, p.Next, err
	}
}

func (c *Cleaner) pause(ctx context.Context, begun time.Time) error {
	if c.Pause == nil {
		return ctx.Err()
	}
	return c.Pause(ctx, time.Since(begun))
}
