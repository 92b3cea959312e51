package cleanup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// condition is how a file stands to the slots, or a slot to the files.
type condition int

const (
	// kept: it belongs to an upload, or somebody is about to remove it.
	kept condition = iota
	// unpublished: a crash has kept a committed upload from publication.
	unpublished
	// unfinished: nobody goes on with the upload.
	unfinished
	// orphaned: no slot names it.
	orphaned
	// missing: the slot names a file that is not there.
	missing
	// damaged: the file of the slot has another size.
	damaged
)

// judgeFile looks at the slot after the file was listed: a file that nobody was
// writing then has its slot by now, or never will.
func (c *Cleaner) judgeFile(ctx context.Context, f store.FileInfo) (condition, store.Slot, error) {
	slot, err := c.Slots.Get(ctx, f.ID)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return kept, slot, err
	}
	uploaded := err == nil && slot.State == store.Uploaded
	switch {
	case uploaded && f.Published && f.Name == slot.URLName:
		return kept, slot, nil
	case f.Published:
		return orphaned, slot, nil
	case uploaded && f.Attempt == slot.Attempt && f.Size == slot.Size:
		return unpublished, slot, nil
	case uploaded && f.Attempt == slot.Attempt:
		return kept, slot, nil // its size is wrong, which its slot will tell
	}
	return unfinished, slot, nil
}

// stray is a file that is not as it should be.
type stray struct {
	store.FileInfo
	is   condition
	slot store.Slot
}

// strays calls deal with each file that is not as it should be.
func (r *run) strays(ctx context.Context, did func(files int), deal func(stray) error) error {
	var cursor string // of the page at hand
	list := func(after string) ([]store.FileInfo, string, error) {
		cursor = after
		return r.Files.List(ctx, after, lookedAtAtOnce)
	}
	return walk(ctx, r.Cleaner, "listing files", list, func(files []store.FileInfo, fail func(error)) {
		did(len(files))
		var found []stray
		for _, f := range files {
			is, slot, err := r.judgeFile(ctx, f)
			fail(err)
			if is != kept {
				found = append(found, stray{f, is, slot})
			}
		}
		found, err := r.stillThere(ctx, found, cursor)
		fail(err)
		for _, s := range found {
			fail(deal(s))
		}
	})
}

// stillThere returns those files of a page that are there when all removals that
// had begun have ended: a slot may go before its file.
func (c *Cleaner) stillThere(ctx context.Context, found []stray, cursor string) ([]stray, error) {
	if len(found) == 0 {
		return nil, nil
	}
	c.awaitRemovals()
	again, _, err := c.Files.List(ctx, cursor, 2*lookedAtAtOnce) // new ones may have come in between
	return slices.DeleteFunc(found, func(s stray) bool { return !slices.Contains(again, s.FileInfo) }), err
}

// mendFiles finds files that no slot names, and uploads that were committed but
// not published.
func (r *run) mendFiles(ctx context.Context, did func(int)) error {
	return r.strays(ctx, did, func(s stray) error {
		mended, err := r.mendFile(ctx, s)
		if mended {
			r.report.count(s.is)
		}
		return err
	})
}

// mendFile deals with a stray file, and reports whether it did.
func (r *run) mendFile(ctx context.Context, s stray) (bool, error) {
	var err error
	switch {
	case s.is == unpublished:
		err = r.Files.Publish(ctx, s.slot.File())
	case s.is == unfinished:
		err = r.Files.Discard(ctx, s.FileRef)
	case r.totals.StoredFiles == 0:
		r.refused = ErrNoSlots
		return false, nil
	default:
		err = r.Files.Delete(ctx, s.FileRef)
	}
	if errors.Is(err, store.ErrNotFound) {
		return false, nil // somebody else was quicker
	}
	if err != nil {
		return false, fmt.Errorf("mending %s: %w", s.Path, err)
	}
	return true, nil
}

// count notes that a file of this condition was mended.
func (r *Report) count(was condition) {
	switch was {
	case unpublished:
		r.Published++
	case unfinished:
		r.Discarded++
	case orphaned:
		r.Orphaned++
	case kept, missing, damaged: // nothing that is done to files
	}
}

// mendSlots finds uploads whose file is gone. What they held of a quota returns.
func (r *run) mendSlots(ctx context.Context, did func(int)) error {
	if err := r.checkFiles(ctx); err != nil {
		return err
	}
	list := r.uploaded(ctx, time.Time{}, lookedAtAtOnce)
	return walk(ctx, r.Cleaner, "listing slots", list, func(slots []store.Slot, fail func(error)) {
		did(len(slots))
		for _, slot := range slots {
			is, err := r.judgeSlot(ctx, slot)
			fail(err)
			if is != missing {
				continue
			}
			removed, err := r.removeSlot(ctx, slot, Missing)
			fail(err)
			if removed {
				r.report.Missing++
			}
		}
	})
}

// judgeSlot looks at the file of an upload. If it is not there, it looks again
// at the slot, for both may be about to go.
func (c *Cleaner) judgeSlot(ctx context.Context, slot store.Slot) (condition, error) {
	f, err := c.Files.Open(ctx, slot.File())
	switch {
	case err == nil && f.Size() != slot.Size:
		return damaged, f.Close()
	case err == nil:
		return kept, f.Close()
	case !errors.Is(err, store.ErrNotFound):
		return kept, fmt.Errorf("opening the file of slot %s: %w", slot.ID, err)
	}
	c.awaitRemovals()
	switch _, err = c.Slots.Get(ctx, slot.ID); {
	case errors.Is(err, store.ErrNotFound):
		return kept, nil
	case err != nil:
		return kept, err
	}
	return missing, nil
}

// removeSlot removes an upload that is of no use, and reports whether it was the
// one to do so.
func (r *run) removeSlot(ctx context.Context, slot store.Slot, reason Reason) (bool, error) {
	_, err := r.remove(ctx, slot, r.now, reason)
	if errors.Is(err, store.ErrNotFound) {
		return false, nil
	}
	return err == nil, err
}

// checkFiles returns ErrNoFiles if there should be many files and none is there.
func (r *run) checkFiles(ctx context.Context) error {
	// Those that have expired are gone by now.
	totals, err := r.Slots.Totals(ctx, r.now)
	if err != nil || totals.StoredFiles <= manyMissing {
		return err
	}
	for after := ""; ; {
		files, next, err := r.Files.List(ctx, after, 1)
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
