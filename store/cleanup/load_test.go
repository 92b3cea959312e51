package cleanup_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// TestNothingOfWhatGoesOnIsFoundOrHarmed verifies and cleans up, again and
// again, while uploads of all kinds come and go. There is one real damage.
func TestNothingOfWhatGoesOnIsFoundOrHarmed(t *testing.T) {
	p := newPair(t)
	missing := p.upload(start, published)
	p.remove(missing)
	var told removals
	c := p.cleaner()
	c.Removed = told.note
	var stored sync.Map // *store.Slot by ID, of uploads that must stay
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var load sync.WaitGroup
	for range 4 {
		load.Go(func() {
			for ctx.Err() == nil {
				if err := comeAndGo(t.Context(), c, &stored); err != nil {
					t.Error(err)
				}
			}
		})
	}
	for round := range 40 {
		got, err := c.Verify(t.Context(), time.Now(), false, nil)
		if err != nil || !slices.Equal(got.Missing, []string{missing.ID}) || len(got.Orphaned)+len(got.WrongSize) > 0 {
			t.Errorf("round %d: Verify() = %+v, %v", round, got, err)
		}
	}
	for round := range 20 {
		got, err := c.Verify(t.Context(), time.Now(), true, nil)
		if round == 0 {
			got.Repaired--
			got.Missing = nil
		}
		if err != nil || len(got.Missing)+len(got.Orphaned)+len(got.WrongSize) > 0 || got.Repaired != 0 {
			t.Errorf("round %d: Verify() with repair = %+v, %v", round, got, err)
		}
		if r, err := c.Run(t.Context(), time.Now()); r != (cleanup.Report{}) || err != nil {
			t.Errorf("round %d: Run() = %+v, %v", round, r, err)
		}
	}
	cancel()
	load.Wait()
	n := 0
	stored.Range(func(_, slot any) bool {
		n++
		p.expectStored(slot.(store.Slot))
		return true
	})
	p.expectCounts(n, n)
	p.expectAccounts()
}

func (p *pair) expectStored(slot store.Slot) {
	p.t.Helper()
	file, err := p.files.Open(p.t.Context(), slot.File())
	if err != nil {
		p.t.Errorf("file of %s: %v", slot.ID, err)
		return
	}
	if file.Size() != size {
		p.t.Errorf("file of %s has %d bytes", slot.ID, file.Size())
	}
	p.check(file.Close())
}

// comeAndGo begins an upload, which is given up, removed while it goes on or when
// it is stored, or stays.
func comeAndGo(ctx context.Context, c *cleanup.Cleaner, stored *sync.Map) error {
	now := time.Now()
	slot := store.Slot{
		ID: store.NewID(now), JID: "me@example.com", Name: "a.txt", URLName: "a.txt", Size: size,
		Reserved: now, Deadline: now.Add(putTimeout),
	}
	if err := c.Slots.Reserve(ctx, slot, store.Limits{Room: -1}); err != nil {
		return fmt.Errorf("Reserve: %w", err)
	}
	var removal sync.WaitGroup
	defer removal.Wait()
	removed := rand.IntN(2) == 0
	var removeErr error
	if removed {
		removal.Go(func() { _, removeErr = c.Remove(ctx, slot.ID, now, cleanup.Deleted) })
	}
	done, err := uploadOne(ctx, c, slot.ID)
	removal.Wait()
	switch {
	case removeErr != nil:
		return fmt.Errorf("Remove: %w", removeErr)
	case removed && (err == nil || errors.Is(err, store.ErrNotFound) || errors.Is(err, errGivenUp)):
		return nil
	case err == nil && rand.IntN(4) == 0:
		stored.Store(slot.ID, done)
		return nil
	case err != nil && !errors.Is(err, errGivenUp):
		return err
	}
	_, err = c.Remove(ctx, slot.ID, now, cleanup.Deleted)
	return err
}

var errGivenUp = errors.New("client is gone")

// uploadOne uploads as a handler does.
func uploadOne(ctx context.Context, c *cleanup.Cleaner, id string) (slot store.Slot, err error) {
	slot.ID = id
	begun, err := c.Slots.Begin(ctx, id, time.Now())
	if err != nil {
		return slot, fmt.Errorf("Begin: %w", err)
	}
	slot = begun
	defer func() { err = errors.Join(err, c.Slots.GiveUp(ctx, id, time.Now())) }()
	ref := slot.File()
	ref.Attempt = store.NewAttempt()
	file, err := c.Files.Create(ctx, ref, size)
	if err != nil {
		return slot, fmt.Errorf("Create: %w", err)
	}
	defer func() { err = errors.Join(err, file.Abort()) }()
	if _, err := file.Write(make([]byte, size)); err != nil {
		return slot, fmt.Errorf("Write: %w", err)
	}
	if rand.IntN(4) == 0 {
		return slot, errGivenUp
	}
	if err := file.Commit(ctx); err != nil {
		return slot, fmt.Errorf("Commit: %w", err)
	}
	done, err := c.Slots.Commit(ctx, id, store.Result{Attempt: ref.Attempt, At: time.Now()})
	if err != nil {
		return slot, fmt.Errorf("Slots.Commit: %w", err)
	}
	return done, file.Publish(ctx)
}
