// Package cleanup removes what has expired, or what an operator wants to be
// removed, and mends what a crash left behind, for any pair of stores. It works
// slowly on purpose: uploads go first.
package cleanup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Report counts what a clean-up did. What several clean-ups find at once is
// counted by the one that removed it; of Discarded and Orphaned files, which
// have no slot that could tell, it may be counted by each.
type Report struct {
	// Slots that were not used and have expired, removed.
	Slots int64
	// Files are uploads that were removed with their slots, and Bytes the sum
	// of their sizes.
	Files, Bytes int64
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

// Options choose what a clean-up does.
type Options struct {
	// Slots removes unused slots whose time has ended, and slots whose file is
	// gone.
	Slots bool
	// Files removes uploads whose time has ended, files without a slot, and
	// what unfinished uploads have left.
	Files bool
	// OlderThan, if more than zero, has Files remove uploads too that were
	// stored longer ago, whether their time has ended or not.
	OlderThan time.Duration
}

// everything is what a clean-up that nobody asked for does.
var everything = Options{Slots: true, Files: true}

// Cleaner cleans up one pair of stores. All its methods can run at once.
type Cleaner struct {
	Slots store.Slots
	Files store.Files
	// Pause, if not nil, is called after some work that took busy time. It
	// waits to leave the disk to others, and returns an error to stop.
	Pause func(ctx context.Context, busy time.Duration) error
	// Removed, if not nil, is called after the file of an uploaded slot, and
	// the slot, were removed: once for each, maybe several at a time.
	Removed func(slot store.Slot, reason Reason)

	// removals is held for reading while a slot and its file are removed: who
	// holds it alone never sees one of them without the other for that reason.
	removals sync.RWMutex
}

// Run does all that can be cleaned up at now.
func (c *Cleaner) Run(ctx context.Context, now time.Time) (Report, error) {
	return c.CleanUp(ctx, now, everything, nil)
}

// CleanUp removes what the options choose, then mends, then forgets what no
// window can reach. What fails does not keep the others from their work. If ctx
// ends it stops soon, and returns what it did and the error of ctx.
func (c *Cleaner) CleanUp(ctx context.Context, now time.Time, o Options, progress Progress) (r Report, err error) {
	totals, err := c.Slots.Totals(ctx, now)
	if err != nil {
		return r, fmt.Errorf("counting slots: %w", err)
	}
	run := run{Cleaner: c, now: now, options: o, totals: totals, report: &r}
	var steps []step
	if o.Slots || o.Files {
		steps = append(steps, step{totals.StoredFiles, run.removeExpired})
	}
	if o.Files && o.OlderThan > 0 {
		steps = append(steps, step{totals.StoredFiles, run.removeOld})
	}
	if o.Files {
		steps = append(steps, step{totals.StoredFiles, run.mendFiles})
	}
	if o.Slots {
		steps = append(steps, step{totals.StoredFiles, run.mendSlots})
	}
	steps = append(steps, step{0, run.forget})
	err = perform(ctx, steps, progress)
	return r, errors.Join(err, run.refused)
}

// run is one clean-up.
type run struct {
	*Cleaner
	now     time.Time
	options Options
	totals  store.Totals // as it began
	report  *Report
	// refused is ErrNoSlots or ErrNoFiles if something was not removed for it.
	refused error
}

// removeExpired removes expired slots and files.
func (r *run) removeExpired(ctx context.Context, did func(int)) error {
	atOnce := removedAtOnce
	list := func(after string) ([]store.Slot, string, error) {
		return r.Slots.Expired(ctx, r.now, after, gently(atOnce))
	}
	return walk(ctx, r.Cleaner, "looking for expired slots", list, func(slots []store.Slot, fail func(error)) {
		did(len(slots))
		atOnce = unusedAtOnce
		if slices.ContainsFunc(slots, func(slot store.Slot) bool { return slot.State == store.Uploaded }) {
			atOnce = removedAtOnce
		}
		r.removeAll(ctx, slices.DeleteFunc(slots, func(slot store.Slot) bool {
			return slot.State == store.Uploaded && !r.options.Files || slot.State != store.Uploaded && !r.options.Slots
		}), Expired, fail)
	})
}

// removeOld removes uploads that were stored longer ago than the options say.
// Their slots are older still.
func (r *run) removeOld(ctx context.Context, did func(int)) error {
	oldest := r.now.Add(-r.options.OlderThan)
	list := func(after string) ([]store.Slot, string, error) {
		return r.uploaded(ctx, oldest, gently(removedAtOnce))(after)
	}
	return walk(ctx, r.Cleaner, "looking for old uploads", list, func(slots []store.Slot, fail func(error)) {
		did(len(slots))
		r.removeAll(ctx, slices.DeleteFunc(slots, func(slot store.Slot) bool {
			return !slot.Uploaded.Before(oldest)
		}), Old, fail)
	})
}

// removeAll removes the slots and their files, all at a time, and counts what
// nobody else has removed before.
func (r *run) removeAll(ctx context.Context, slots []store.Slot, reason Reason, fail func(error)) {
	var group sync.WaitGroup
	gone, errs := make([]store.Slot, len(slots)), make([]error, len(slots))
	for i, slot := range slots {
		group.Go(func() { gone[i], errs[i] = r.remove(ctx, slot, r.now, reason) })
	}
	group.Wait()
	for i, slot := range gone {
		switch {
		case errors.Is(errs[i], store.ErrNotFound): // somebody else was quicker
			continue
		case slot.State == store.Uploaded:
			r.report.Files++
			r.report.Bytes += slot.Size
		case slot.State == store.Waiting:
			r.report.Slots++
		}
		fail(errs[i])
	}
}

func (r *run) forget(ctx context.Context, _ func(int)) error { return r.Slots.Forget(ctx, r.now) }
