package cleanup_test

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// A removal comes at any time of an upload, which then goes on as a handler does.
func TestRemove(t *testing.T) {
	for _, tc := range []struct {
		name string
		last step
		want store.State // of the slot that is returned
	}{
		{"a slot that waits", reserved, store.Waiting},
		{"an upload that has begun", begun, store.Waiting},
		{"an upload that is written", created, store.Waiting},
		{"an upload that is written to its end", written, store.Waiting},
		{"an upload that is committed", committed, store.Uploaded},
		{"an upload that is published", published, store.Uploaded},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPair(t)
			other := p.upload(start, published)
			slot := p.upload(start, tc.last)
			var told removals
			c := p.cleaner()
			c.Removed = told.note
			got, err := c.Remove(t.Context(), slot.ID, start, cleanup.Deleted)
			if err != nil || got.ID != slot.ID || got.JID != slot.JID || got.State != tc.want {
				t.Errorf("Remove() = %+v, %v", got, err)
			}
			if _, err := c.Remove(t.Context(), slot.ID, start, cleanup.Deleted); !errors.Is(err, store.ErrNotFound) {
				t.Errorf("a second Remove() = %v", err)
			}
			p.goOn(slot.ID, tc.last)
			if tc.want == store.Uploaded {
				told.expect(t, map[string]cleanup.Reason{slot.ID: cleanup.Deleted})
			} else {
				told.expect(t, nil)
			}
			p.expectCounts(1, 1)
			if stored, waiting := p.used(start); stored != other.Size || waiting != 0 {
				t.Errorf("%d bytes stored and %d waiting, want those of the other upload", stored, waiting)
			}
		})
	}
}

// goOn brings an upload to its end as a handler does that knows nothing of the
// removal of its slot. It must not succeed.
func (p *pair) goOn(id string, last step) {
	p.t.Helper()
	file := p.under[id]
	if last < created || last == published {
		return
	}
	if last == created {
		_, err := file.Write(bytes.Repeat([]byte("x"), size/2))
		p.check(err)
		p.check(file.Commit(p.t.Context()))
	}
	if last < committed {
		if _, err := p.slots.Commit(p.t.Context(), id, store.Result{Attempt: store.NewAttempt(), At: start}); !errors.Is(err, store.ErrNotFound) {
			p.t.Errorf("Commit to a removed slot: %v", err)
		}
		p.check(file.Abort())
		p.check(p.slots.GiveUp(p.t.Context(), id, start))
		return
	}
	if err := file.Publish(p.t.Context()); !errors.Is(err, store.ErrNotFound) {
		p.t.Errorf("Publish of a removed upload: %v", err)
	}
}

func TestARemovedUploadStaysInWindows(t *testing.T) {
	p := newPair(t)
	slot := p.upload(start, published)
	if _, err := p.cleaner().Remove(t.Context(), slot.ID, start, cleanup.Deleted); err != nil {
		t.Fatal(err)
	}
	limits := quota.Limits{Uploads: []quota.Window{{Limit: 5, Per: time.Hour}}}
	u, err := p.slots.Usage(t.Context(), slot.JID, limits, start)
	if err != nil || len(u.Uploads) != 1 || u.Uploads[0].Used != 1 {
		t.Errorf("usage is %+v, %v, want one upload in the window", u, err)
	}
}

func TestADownloadOfARemovedUploadGoesOn(t *testing.T) {
	p := newPair(t)
	slot := p.upload(start, published)
	file, err := p.files.Open(t.Context(), slot.File())
	p.check(err)
	defer file.Close()
	if _, err := p.cleaner().Remove(t.Context(), slot.ID, start, cleanup.Deleted); err != nil {
		t.Fatal(err)
	}
	if got, err := io.ReadAll(file); err != nil || len(got) != size {
		t.Errorf("read %d bytes, %v", len(got), err)
	}
}

// interrupted lets something happen before slots are deleted.
type interrupted struct {
	store.Slots
	before func(id string)
}

func (s *interrupted) Delete(ctx context.Context, id string, now time.Time) (store.Slot, error) {
	s.before(id)
	return s.Slots.Delete(ctx, id, now)
}

func TestAnUploadCommittedDuringItsRemovalGoesWithItsFile(t *testing.T) {
	for name, publish := range map[string]bool{"published": true, "not yet published": false} {
		t.Run(name, func(t *testing.T) {
			p := newPair(t)
			slot := p.upload(start, begun)
			var told removals
			c := p.cleaner()
			c.Removed = told.note
			var file store.Upload
			c.Slots = &interrupted{p.slots, func(id string) {
				ref := store.FileRef{ID: id, Name: slot.URLName, Attempt: store.NewAttempt()}
				file = p.write(ref, true)
				_, err := p.slots.Commit(t.Context(), id, store.Result{Attempt: ref.Attempt, At: start})
				p.check(err)
				if publish {
					p.check(file.Publish(t.Context()))
				}
			}}
			if got, err := c.Remove(t.Context(), slot.ID, start, cleanup.Deleted); err != nil || got.State != store.Uploaded {
				t.Errorf("Remove() = %+v, %v", got, err)
			}
			if !publish {
				if err := file.Publish(t.Context()); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("Publish() = %v", err)
				}
			}
			told.expect(t, map[string]cleanup.Reason{slot.ID: cleanup.Deleted})
			p.expectCounts(0, 0)
		})
	}
}

func TestOneOfSeveralRemovalsSucceeds(t *testing.T) {
	p := newPair(t)
	var told removals
	c := p.cleaner()
	c.Removed = told.note
	for range 20 {
		slot := p.upload(start, published)
		var removed int
		var mu sync.Mutex
		var group sync.WaitGroup
		for range 4 {
			group.Go(func() {
				_, err := c.Remove(t.Context(), slot.ID, start, cleanup.Deleted)
				if err != nil && !errors.Is(err, store.ErrNotFound) {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					removed++
				}
			})
		}
		group.Wait()
		if removed != 1 {
			t.Fatalf("%d removals succeeded", removed)
		}
	}
	if len(told.all) != 20 {
		t.Errorf("told of %d removals", len(told.all))
	}
	p.expectCounts(0, 0)
}

func TestWhatIsRemovedByHalfIsRemovedWhole(t *testing.T) {
	p := newPair(t)
	first, second := p.upload(start, published), p.upload(start, published)
	ctx, cancel := context.WithCancel(t.Context())
	c := p.cleaner()
	c.Slots = &interrupted{p.slots, func(string) { cancel() }}
	if _, err := c.Remove(ctx, first.ID, start, cleanup.Deleted); err != nil {
		t.Errorf("Remove() = %v, though half of it was done", err)
	}
	p.expectCounts(1, 1)
	c.Slots = p.slots
	if _, err := c.Remove(ctx, second.ID, start, cleanup.Deleted); !errors.Is(err, context.Canceled) {
		t.Errorf("Remove() = %v", err)
	}
	p.expectCounts(1, 1)
}

func TestASlotWhoseFileCannotBeRemovedStays(t *testing.T) {
	p := newPair(t)
	slot := p.upload(start, published)
	var told removals
	c := p.cleaner()
	c.Removed = told.note
	c.Files = &troubled{Files: p.files, fails: func(store.FileRef) bool { return true }}
	if _, err := c.Remove(t.Context(), slot.ID, start, cleanup.Deleted); !errors.Is(err, errTrouble) {
		t.Errorf("Remove() = %v", err)
	}
	told.expect(t, nil)
	p.expectCounts(1, 1)
}
