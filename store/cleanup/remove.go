package cleanup

import (
	"context"
	"errors"
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

// Progress is told how much of the work is done. The total may be an estimate.
type Progress func(done, total int64)

// Options choose what a clean-up on demand removes.
type Options struct {
	// Slots removes unused slots whose time has ended.
	Slots bool
	// Files removes uploads whose time has ended.
	Files bool
	// OlderThan, if more than zero, removes uploads too that were stored longer
	// ago, whether their time has ended or not.
	OlderThan time.Duration
}

// Remove removes the slot of this ID and its file, file first, whatever its
// state. It returns the slot as it was in the end, or store.ErrNotFound. An
// upload in flight to it will fail.
func (s *Service) Remove(ctx context.Context, id string, reason Reason) (store.Slot, error) {
	return store.Slot{}, errors.ErrUnsupported
}

// CleanUp cleans up now, beside what the service does by itself.
func (s *Service) CleanUp(ctx context.Context, o Options, progress Progress) (Report, error) {
	return Report{}, errors.ErrUnsupported
}
