package cleanup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Verification is what a comparison of slots and files has found. Uploads that
// are under way, being removed or made meanwhile are no part of it.
type Verification struct {
	// Slots of uploads, and Files, that were looked at.
	Slots, Files int64
	// Missing are the IDs of slots whose file is gone.
	Missing []string
	// Orphaned are the paths of files without a slot: of removed uploads, or of
	// unfinished ones that nobody goes on with.
	Orphaned []string
	// WrongSize are the IDs of slots whose file has another size.
	WrongSize []string
	// Repaired is how many of these were mended, and how many uploads were
	// published that a crash had kept from it.
	Repaired int64
}

// Verify compares slots with files at now; see Service.Verify.
func (c *Cleaner) Verify(ctx context.Context, now time.Time, repair bool, progress Progress) (found Verification, err error) {
	totals, err := c.Slots.Totals(ctx, now)
	if err != nil {
		return found, fmt.Errorf("counting slots: %w", err)
	}
	v := &verification{run: run{Cleaner: c, now: now, totals: totals}, repair: repair, found: &found}
	err = perform(ctx, []step{{totals.StoredFiles, v.files}, {totals.StoredFiles, v.slots}}, progress)
	return found, errors.Join(err, v.refused)
}

// verification is a Verify that is under way.
type verification struct {
	run
	repair bool
	found  *Verification
}

// files looks for files that belong to no slot.
func (v *verification) files(ctx context.Context, did func(int)) error {
	count := func(files int) {
		v.found.Files += int64(files)
		did(files)
	}
	return v.strays(ctx, count, func(s stray) error {
		if s.is != unpublished {
			v.found.Orphaned = append(v.found.Orphaned, s.Path)
		}
		if !v.repair {
			return nil
		}
		mended, err := v.mendFile(ctx, s)
		if mended {
			v.found.Repaired++
		}
		return err
	})
}

// slots looks for uploads whose file is gone or damaged.
func (v *verification) slots(ctx context.Context, did func(int)) error {
	list := v.uploaded(ctx, time.Time{}, lookedAtAtOnce)
	return walk(ctx, v.Cleaner, "listing slots", list, func(slots []store.Slot, fail func(error)) {
		did(len(slots))
		v.found.Slots += int64(len(slots))
		for _, slot := range slots {
			is, err := v.judgeSlot(ctx, slot)
			fail(err)
			fail(v.slot(ctx, slot, is))
		}
	})
}

// slot notes the slot if its file is not as it should be and, if it may, removes
// it: a part of a file is never served, and its quota returns.
func (v *verification) slot(ctx context.Context, slot store.Slot, is condition) error {
	reason := Missing
	switch is {
	case missing:
		v.found.Missing = append(v.found.Missing, slot.ID)
	case damaged:
		v.found.WrongSize = append(v.found.WrongSize, slot.ID)
		reason = Damaged
	default:
		return nil
	}
	if !v.repair {
		return nil
	}
	if v.totals.StoredFiles > manyMissing && v.found.Files == 0 {
		v.refused = ErrNoFiles
		return nil
	}
	removed, err := v.removeSlot(ctx, slot, reason)
	if removed {
		v.found.Repaired++
	}
	return err
}
