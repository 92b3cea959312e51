package cleanup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Reason is why an upload was removed.
type Reason string

// The reasons for removal.
const (
	// Expired: its time has ended.
	Expired Reason = "expired"
	// Old: an operator's clean-up asked for what was stored so long ago.
	Old Reason = "old"
	// Deleted: an operator deleted it, or all of its JID.
	Deleted Reason = "deleted"
	// Missing: its file was gone.
	Missing Reason = "missing"
	// Damaged: its file had another size than its slot.
	Damaged Reason = "damaged"
)

// Remove removes the slot of this ID and its file, file first, whatever its
// state. It returns the slot as it was in the end, or store.ErrNotFound. An
// upload in flight to it will fail.
func (c *Cleaner) Remove(ctx context.Context, id string, now time.Time, reason Reason) (store.Slot, error) {
	slot, err := c.Slots.Get(ctx, id)
	if err != nil {
		return store.Slot{}, err
	}
	return c.remove(ctx, slot, now, reason)
}

// remove removes a slot that was seen a moment ago, and its file. It returns the
// slot as it was in the end, or store.ErrNotFound. What was begun is brought to
// its end, whatever becomes of ctx.
func (c *Cleaner) remove(ctx context.Context, slot store.Slot, now time.Time, reason Reason) (store.Slot, error) {
	if err := ctx.Err(); err != nil {
		return store.Slot{}, err
	}
	last, err := c.removeBoth(context.WithoutCancel(ctx), slot, now)
	if last.State == store.Uploaded && c.Removed != nil {
		c.Removed(last, reason)
	}
	return last, err
}

// removeBoth removes the file first: should the process die in between, the slot
// still tells of it. Of an upload that is committed meanwhile the file goes last,
// as nobody knew it before.
func (c *Cleaner) removeBoth(ctx context.Context, slot store.Slot, now time.Time) (store.Slot, error) {
	c.removals.RLock()
	defer c.removals.RUnlock()
	if slot.State == store.Uploaded {
		if err := c.removeFile(ctx, slot); err != nil {
			return store.Slot{}, err
		}
	}
	last, err := c.Slots.Delete(ctx, slot.ID, now)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return store.Slot{}, err
	case err != nil:
		return store.Slot{}, fmt.Errorf("removing slot %s: %w", slot.ID, err)
	case last.State == store.Uploaded && slot.State != store.Uploaded:
		err = c.removeFile(ctx, last)
	}
	return last, err
}

func (c *Cleaner) removeFile(ctx context.Context, slot store.Slot) error {
	if err := c.Files.Delete(ctx, slot.File()); err != nil {
		return fmt.Errorf("removing the file of slot %s: %w", slot.ID, err)
	}
	return nil
}

// awaitRemovals returns when all removals that had begun have ended.
func (c *Cleaner) awaitRemovals() {
	c.removals.Lock()
	defer c.removals.Unlock()
}
