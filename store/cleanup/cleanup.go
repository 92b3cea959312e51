// Package cleanup removes what has expired and mends what a crash left behind,
// for any pair of stores. It works slowly on purpose: uploads go first.
package cleanup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Report counts what a clean-up did.
type Report struct {
	// Slots and Files that had expired and were removed, and the Bytes of the
	// files.
	Slots, Files, Bytes int64
	// Discarded are unfinished uploads that nobody goes on with.
	Discarded int64
	// Orphaned are files without a slot, removed.
	Orphaned int64
	// Missing are slots whose file is gone, removed: their quota returns.
	Missing int64
	// Published are complete uploads that a crash had kept from publication.
	Published int64
}

// Errors of a state in which mending would destroy more than it helps.
var (
	// ErrNoSlots: there are files, but no slot is uploaded at all.
	ErrNoSlots = errors.New("files are there, but no slot is: nothing was removed; is the slots directory the right one?")
	// ErrNoFiles: there are slots, but no file is there at all.
	ErrNoFiles = errors.New("slots are there, but no file is: nothing was removed; is the files directory the right one, and its disk mounted?")
)

// manyMissing is how many files may be missing, with none there, before this is
// taken for a wrong directory rather than for removal by hand.
const manyMissing = 32

// Cleaner cleans up one pair of stores.
type Cleaner struct {
	Slots store.Slots
	Files store.Files
	// Pause, if not nil, is called after some work that took busy time. It
	// waits to leave the disk to others, and returns an error to stop.
	Pause func(ctx context.Context, busy time.Duration) error
}

// page is how much is done between two pauses.
const page = 64

// Run removes what has expired at now, then mends, then forgets. One that fails
// does not keep the others from their work.
func (c *Cleaner) Run(ctx context.Context, now time.Time) (Report, error) {
	var r Report
	err := errors.Join(
		c.Expire(ctx, now, &r),
		c.MendFiles(ctx, now, &r),
		c.MendSlots(ctx, now, &r),
		c.Slots.Forget(ctx, now),
	)
	return r, err
}

// Expire removes expired slots and files. The file goes first: should the
// process die in between, the slot still tells of it.
func (c *Cleaner) Expire(ctx context.Context, now time.Time, r *Report) error {
	var failed error
	for after := ""; ; {
		begun := time.Now()
		slots, next, err := c.Slots.Expired(ctx, now, after, page)
		if err != nil {
			return fmt.Errorf("looking for expired slots: %w", err)
		}
		for _, slot := range slots {
			if err := c.expire(ctx, slot, now, r); err != nil {
				failed = err // others may be removable
			}
		}
		if next == "" {
			return failed
		}
		if after = next; c.pause(ctx, begun) != nil {
			return ctx.Err()
		}
	}
}

func (c *Cleaner) expire(ctx context.Context, slot store.Slot, now time.Time, r *Report) error {
	if slot.State == store.Uploaded {
		if err := c.Files.Delete(ctx, slot.File()); err != nil {
			return fmt.Errorf("removing the file of slot %s: %w", slot.ID, err)
		}
		r.Files++
		r.Bytes += slot.Size
	}
	if _, err := c.Slots.Delete(ctx, slot.ID, now); err != nil && !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("removing slot %s: %w", slot.ID, err)
	}
	r.Slots++
	return nil
}

// MendFiles finds files that no slot names, and uploads that were committed but
// not published.
func (c *Cleaner) MendFiles(ctx context.Context, now time.Time, r *Report) error {
	totals, err := c.Slots.Totals(ctx, now)
	if err != nil {
		return err
	}
	var failed error
	for after := ""; ; {
		begun := time.Now()
		files, next, err := c.Files.List(ctx, after, page)
		if err != nil {
			return fmt.Errorf("listing files: %w", err)
		}
		for _, f := range files {
			if err := c.mendFile(ctx, f, totals.StoredFiles == 0, r); err != nil {
				failed = err
			}
		}
		if next == "" {
			return failed
		}
		if after = next; c.pause(ctx, begun) != nil {
			return ctx.Err()
		}
	}
}

// mendFile looks at the slot after the file was listed: a file that nobody was
// writing then has its slot by now, or never will.
func (c *Cleaner) mendFile(ctx context.Context, f store.FileInfo, noSlots bool, r *Report) (err error) {
	slot, err := c.Slots.Get(ctx, f.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	uploaded := err == nil && slot.State == store.Uploaded
	switch {
	case uploaded && !f.Published && f.Attempt == slot.Attempt:
		if err = c.Files.Publish(ctx, slot.File()); err == nil {
			r.Published++
		}
	case !f.Published:
		if err = c.Files.Discard(ctx, f.FileRef); err == nil {
			r.Discarded++
		}
	case uploaded && f.Name == slot.URLName:
		return nil
	case noSlots:
		return ErrNoSlots
	default:
		if err = c.Files.Delete(ctx, f.FileRef); err == nil {
			r.Orphaned++
		}
	}
	if errors.Is(err, store.ErrNotFound) {
		return nil // somebody else was quicker
	}
	return err
}

// MendSlots finds uploaded slots without a file. What they held of a quota
// returns.
func (c *Cleaner) MendSlots(ctx context.Context, now time.Time, r *Report) error {
	if err := c.checkFiles(ctx, now); err != nil {
		return err
	}
	var failed error
	for q := (store.Query{State: store.Uploaded, To: now, Limit: page}); ; {
		begun := time.Now()
		slots, err := c.Slots.List(ctx, q)
		if err != nil {
			return fmt.Errorf("listing slots: %w", err)
		}
		for _, slot := range slots.Slots {
			if err := c.mendSlot(ctx, slot, now, r); err != nil {
				failed = err
			}
		}
		if slots.Next == "" {
			return failed
		}
		if q.After = slots.Next; c.pause(ctx, begun) != nil {
			return ctx.Err()
		}
	}
}

// checkFiles returns ErrNoFiles if there should be many files and none is there.
func (c *Cleaner) checkFiles(ctx context.Context, now time.Time) error {
	totals, err := c.Slots.Totals(ctx, now)
	if err != nil || totals.StoredFiles <= manyMissing {
		return err
	}
	for after := ""; ; {
		files, next, err := c.Files.List(ctx, after, 1)
		switch {
		case err != nil:
			return fmt.Errorf("listing files: %w", err)
		case len(files) > 0:
			return nil
		case next == "":
			return ErrNoFiles
		}
		after = next
	}
}

func (c *Cleaner) mendSlot(ctx context.Context, slot store.Slot, now time.Time, r *Report) error {
	f, err := c.Files.Open(ctx, slot.File())
	if err == nil {
		return f.Close()
	}
	if !errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("opening the file of slot %s: %w", slot.ID, err)
	}
	switch _, err := c.Slots.Delete(ctx, slot.ID, now); {
	case errors.Is(err, store.ErrNotFound):
		return nil // it was removed together with its file, a moment ago
	case err != nil:
		return fmt.Errorf("removing slot %s, whose file is gone: %w", slot.ID, err)
	}
	r.Missing++
	return nil
}

func (c *Cleaner) pause(ctx context.Context, begun time.Time) error {
	if c.Pause == nil {
		return ctx.Err()
	}
	return c.Pause(ctx, time.Since(begun))
}

// Throttle is a Pause that works for a quarter of the time at most.
func Throttle(ctx context.Context, busy time.Duration) error {
	return sleep(ctx, min(3*busy, time.Second))
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
