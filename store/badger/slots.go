package badger

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Reserve implements store.Slots.
func (s *Slots) Reserve(ctx context.Context, slot store.Slot, limits store.Limits) error {
	if !store.IsID(slot.ID) || slot.Size <= 0 || slot.JID == "" {
		return fmt.Errorf("a slot of %d bytes with the ID %q can't be reserved", slot.Size, slot.ID)
	}
	slot.State = store.Waiting
	// The job keeps these rather than the whole slot.
	id, jid, claim, record := slot.ID, slot.JID, slot.Claim(), encodeSlot(slot)
	return s.do(ctx, &job{
		jid: jid, now: claim.At, cost: len(record) + 2*len(jid) + 256, room: roomToReserve,
		apply: func(b *batch, a *cachedAccount) error {
			if err := b.check(a, claim.Size, limits, claim.At); err != nil {
				return err
			}
			a.RestoreWaiting(claim)
			b.set(slotKey(id), record)
			b.set(timeKey(expiryPrefix, claim.Deadline, id), nil)
			b.set(journalKey(jid, id), encodeJournal(journal{claim, journalWaiting}))
			b.wait(claim.Deadline, 1, claim.Size)
			b.waitFor(claim.Deadline.Sub(claim.At))
			return nil
		},
	})
}

// check returns why a slot of size bytes can't be reserved at now.
func (b *batch) check(a *cachedAccount, size int64, l store.Limits, now time.Time) error {
	a.Forget(now, b.span)
	if err := a.Check(size, l.Quota, now); err != nil {
		return err
	}
	return b.checkStorage(size, l, now)
}

// checkStorage holds the size against what all JIDs use.
func (b *batch) checkStorage(size int64, l store.Limits, now time.Time) error {
	b.mu.Lock()
	waiting := b.waiting.at(now)
	stored := b.storedTotal
	b.mu.Unlock()
	if used := stored.bytes + waiting.bytes; l.MaxStorage > 0 && size > l.MaxStorage-used {
		return fmt.Errorf("%w: %d of %d bytes of all users are taken", store.ErrNoSpace, used, l.MaxStorage)
	}
	if l.Room >= 0 && size > l.Room-waiting.bytes {
		return fmt.Errorf("%w: the disk has room for %d bytes, of which waiting slots hold %d", store.ErrNoSpace, l.Room, waiting.bytes)
	}
	return nil
}

// Check implements store.Slots. It takes the way of Reserve, up to its free
// space.
func (s *Slots) Check(ctx context.Context, jid string, size int64, limits store.Limits, now time.Time) error {
	return s.do(ctx, &job{
		jid: jid, now: now,
		apply: func(b *batch, a *cachedAccount) error { return b.check(a, size, limits, now) },
	})
}

// Begin implements store.Slots. It waits for its answer though ctx ends: who is
// gone without it could not give up what it was given.
func (s *Slots) Begin(ctx context.Context, id string, now time.Time) (store.Slot, error) {
	if err := ctx.Err(); err != nil {
		return store.Slot{}, err
	}
	return s.change(context.WithoutCancel(ctx), id, &job{
		now: now,
		applyTo: func(b *batch, a *cachedAccount, slot *store.Slot) error {
			if slot.State == store.Uploaded {
				return store.ErrUsed
			}
			if slot.ExpiredAt(now) {
				return store.ErrExpired
			}
			if f := b.flight(id); f != nil {
				f.uploads++
				return nil
			}
			if !a.Begin(slot.Claim(), now) {
				return store.ErrExpired // another clock said so, a moment ago
			}
			b.takeOff(*slot)
			return nil
		},
	})
}

// change does a job on a slot, and returns the slot as the job has left it.
func (s *Slots) change(ctx context.Context, id string, j *job) (store.Slot, error) {
	var err error
	if j.jid, err = s.owner(ctx, id); err != nil {
		return store.Slot{}, err
	}
	if j.cost > 0 {
		j.cost += 5 * len(j.jid) // so many keys and values may hold it
	}
	var slot store.Slot // the writer's, until do returns without an error
	j.apply = func(b *batch, a *cachedAccount) (err error) {
		if slot, err = b.slot(id); err != nil {
			return err
		}
		return j.applyTo(b, a, &slot)
	}
	if err := s.do(ctx, j); err != nil {
		return store.Slot{}, err
	}
	return slot, nil
}

// owner returns the JID of a slot.
func (s *Slots) owner(ctx context.Context, id string) (string, error) {
	if jid, ok := s.inFlight(id); ok {
		return jid, nil
	}
	slot, err := s.recorded(ctx, id)
	return slot.JID, err
}

// GiveUp implements store.Slots.
func (s *Slots) GiveUp(ctx context.Context, id string, now time.Time) error {
	_, err := s.change(ctx, id, &job{
		now: now,
		applyTo: func(b *batch, a *cachedAccount, slot *store.Slot) error {
			f := b.flight(id)
			if f == nil {
				return nil
			}
			if f.uploads--; f.uploads > 0 {
				return nil
			}
			b.land(id)
			a.GiveUp(f.claim, now)
			return nil
		},
	})
	if errors.Is(err, store.ErrNotFound) {
		return nil // whoever removed the slot has ended its uploads
	}
	return err
}

// Commit implements store.Slots.
func (s *Slots) Commit(ctx context.Context, id string, r store.Result) (store.Slot, error) {
	return s.change(ctx, id, &job{
		now: r.At, cost: 1024, room: roomToCommit, durable: true,
		applyTo: func(b *batch, a *cachedAccount, slot *store.Slot) error {
			if slot.State == store.Uploaded {
				return store.ErrUsed
			}
			if !b.land(id) {
				return fmt.Errorf("no upload to slot %s is in flight", id)
			}
			a.Commit(slot.Claim())
			b.wait(slot.Deadline, -1, -slot.Size)
			b.store(a, 1, slot.Size)
			b.count(r.At, slot.Size)
			b.delete(timeKey(expiryPrefix, slot.Deadline, id))

			slot.State, slot.ContentType, slot.Attempt = store.Uploaded, r.ContentType, r.Attempt
			slot.Uploaded, slot.Expires = r.At, r.Expires
			b.set(slotKey(id), encodeSlot(*slot))
			b.set(journalKey(slot.JID, id), encodeJournal(journal{slot.Claim(), journalGranted}))
			if !slot.Expires.IsZero() {
				b.set(timeKey(expiryPrefix, slot.Expires, id), nil)
			}
			return nil
		},
	})
}

// Delete implements store.Slots.
func (s *Slots) Delete(ctx context.Context, id string, now time.Time) (store.Slot, error) {
	return s.change(ctx, id, &job{
		now: now, cost: 512, room: roomToCommit,
		applyTo: func(b *batch, a *cachedAccount, slot *store.Slot) error {
			if slot.State == store.Uploaded {
				b.removeUploaded(a, *slot, now)
			} else {
				b.removeWaiting(a, *slot)
			}
			b.delete(slotKey(id))
			return nil
		},
	})
}

func (b *batch) removeWaiting(a *cachedAccount, slot store.Slot) {
	a.Cancel(slot.Claim(), b.land(slot.ID))
	b.wait(slot.Deadline, -1, -slot.Size)
	b.delete(timeKey(expiryPrefix, slot.Deadline, slot.ID))
	b.delete(journalKey(slot.JID, slot.ID))
}

// removeUploaded leaves the line in the journal while a window can reach it.
func (b *batch) removeUploaded(a *cachedAccount, slot store.Slot, now time.Time) {
	a.Remove(slot.Size)
	b.store(a, -1, -slot.Size)
	if !slot.Expires.IsZero() {
		b.delete(timeKey(expiryPrefix, slot.Expires, slot.ID))
	}
	if end := slot.Reserved.Add(b.span); now.Before(end) {
		b.set(timeKey(memoryPrefix, end, slot.ID), []byte(slot.JID))
	} else {
		b.delete(journalKey(slot.JID, slot.ID))
	}
}

// Usage implements store.Slots.
func (s *Slots) Usage(ctx context.Context, jid string, l quota.Limits, now time.Time) (quota.Usage, error) {
	var u quota.Usage // the writer's, until do returns without an error
	err := s.do(ctx, &job{
		jid: jid, now: now,
		apply: func(_ *batch, a *cachedAccount) error {
			u = a.Usage(l, now)
			return nil
		},
	})
	if err != nil {
		return quota.Usage{}, err
	}
	return u, nil
}

// Totals implements store.Slots.
func (s *Slots) Totals(ctx context.Context, now time.Time) (store.Totals, error) {
	if err := s.guard.whole(ctx.Done()); err != nil {
		return store.Totals{}, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	waiting := s.waiting.at(now)
	return store.Totals{
		StoredFiles: s.storedTotal.n, StoredBytes: s.storedTotal.bytes,
		WaitingSlots: waiting.n, WaitingBytes: waiting.bytes,
	}, nil
}
