package rig

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

// Stored is an upload, or a slot, that is there before Caddy starts.
type Stored struct {
	JID, Name, Type string
	// Size of the file in bytes; all of them are x.
	Size int
	// At is when the slot was given out and used.
	At time.Time
	// Keep is how long the file is served; 0 is 30 days.
	Keep time.Duration
	// Unused leaves it at the slot, with 6 minutes for its upload.
	Unused bool
}

// Seed fills the stores at dir/slots and dir/files, while no Caddy runs there,
// and returns the slots in the order of the uploads.
func Seed(t testing.TB, dir string, uploads ...Stored) []store.Slot {
	t.Helper()
	slots, err := badger.Open(filepath.Join(dir, "slots"))
	if err != nil {
		t.Fatal(err)
	}
	files, err := disk.Open(filepath.Join(dir, "files"), false)
	if err != nil {
		t.Fatal(errors.Join(err, slots.Close()))
	}
	made := make([]store.Slot, len(uploads))
	var group errgroup.Group
	group.SetLimit(256)
	for _, indexes := range byJID(uploads) {
		group.Go(func() (err error) {
			for _, i := range indexes {
				if made[i], err = seed(t.Context(), slots, files, uploads[i]); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := errors.Join(group.Wait(), slots.Close(), files.Close()); err != nil {
		t.Fatal(err)
	}
	return made
}

// byJID returns the indexes of the uploads of each JID, the oldest first, since
// no account goes back in time.
func byJID(uploads []Stored) map[string][]int {
	groups := make(map[string][]int)
	for i, u := range uploads {
		groups[u.JID] = append(groups[u.JID], i)
	}
	for _, indexes := range groups {
		slices.SortStableFunc(indexes, func(a, b int) int { return uploads[a].At.Compare(uploads[b].At) })
	}
	return groups
}

func seed(ctx context.Context, slots store.Slots, files store.Files, u Stored) (store.Slot, error) {
	slot := store.Slot{
		ID: store.NewID(u.At), JID: u.JID, Name: u.Name, URLName: store.URLName(u.Name), Size: int64(u.Size),
		ContentType: u.Type, Reserved: u.At, Deadline: u.At.Add(6 * time.Minute),
	}
	if err := slots.Reserve(ctx, slot, store.Limits{Room: -1}); err != nil || u.Unused {
		return slot, err
	}
	if _, err := slots.Begin(ctx, slot.ID, u.At); err != nil {
		return slot, err
	}
	ref := slot.File()
	ref.Attempt = store.NewAttempt()
	file, err := files.Create(ctx, ref, slot.Size)
	if err != nil {
		return slot, err
	}
	if err := fill(file, slot.Size); err != nil {
		return slot, errors.Join(err, file.Abort())
	}
	if err := file.Commit(ctx); err != nil {
		return slot, errors.Join(err, file.Abort())
	}
	keep := u.Keep
	if keep == 0 {
		keep = 30 * 24 * time.Hour
	}
	slot, err = slots.Commit(ctx, slot.ID, store.Result{ContentType: u.Type, Attempt: ref.Attempt, At: u.At, Expires: u.At.Add(keep)})
	if err != nil {
		return slot, errors.Join(err, file.Abort())
	}
	return slot, file.Publish(ctx)
}

func fill(file store.Upload, size int64) error {
	chunk := make([]byte, min(size, 64<<10))
	for i := range chunk {
		chunk[i] = 'x'
	}
	for size > 0 {
		n, err := file.Write(chunk[:min(size, int64(len(chunk)))])
		if err != nil {
			return err
		}
		size -= int64(n)
	}
	return nil
}
