package storetest

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// event is what the naive account of a history remembers of one slot.
type event struct {
	store.Slot
	inFlight, removed, cancelled bool
}

// histories makes random histories, with a death of the process now and then,
// and compares what the store says with a sum over all events.
func histories(t *testing.T, open OpenSlots) {
	limits := quota.Limits{
		Bytes:   []quota.Window{{Limit: 1 << 40, Per: 10 * time.Minute}},
		Uploads: []quota.Window{{Limit: 1 << 40, Per: time.Hour}},
	}
	for seed := range uint64(4) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			s, reopen := open(t)
			rnd := rand.New(rand.NewPCG(seed, seed)) //nolint:gosec // a test repeats itself
			var events []*event
			now := Epoch.Add(time.Hour) // a day ends meanwhile
			for step := range 600 {
				now = now.Add(time.Duration(rnd.IntN(20_000)) * time.Millisecond)
				switch step % 100 {
				case 0:
					remember(t, s, time.Hour)
				case 99:
					if err := s.Forget(t.Context(), now); err != nil {
						t.Fatal(err)
					}
					s = reopen()
					for _, e := range events {
						e.inFlight = false
					}
					remember(t, s, time.Hour)
				}
				events = change(t, s, rnd, events, now)
				if step%10 == 9 {
					compare(t, s, events, limits, now)
					compareViews(t, s, rnd, events, now)
				}
			}
		})
	}
}

// change makes one random change.
func change(t *testing.T, s store.Slots, rnd *rand.Rand, events []*event, now time.Time) []*event {
	t.Helper()
	ctx := t.Context()
	if len(events) == 0 || rnd.IntN(3) == 0 {
		jid := fmt.Sprint(rnd.IntN(3), "@example.com")
		slot := NewSlot(jid, 1+rnd.Int64N(100), now.Sub(Epoch))
		slot.Deadline = now.Add(time.Duration(1+rnd.IntN(600)) * time.Second)
		if !checkedReserve(t, s, slot, someLimits(rnd)) {
			return events
		}
		slot.State = store.Waiting
		return append(events, &event{Slot: slot})
	}
	e := events[len(events)-1-rnd.IntN(min(20, len(events)))]
	lapsed := e.State == store.Waiting && !e.inFlight && e.ExpiredAt(now)
	switch {
	case e.removed || e.cancelled:
	case rnd.IntN(5) == 0:
		if _, err := s.Delete(ctx, e.ID, now); err != nil {
			t.Fatal(err)
		}
		e.removed, e.cancelled, e.inFlight = true, e.State == store.Waiting, false
	case e.State == store.Waiting && !e.inFlight:
		_, err := s.Begin(ctx, e.ID, now)
		if (err != nil) != lapsed {
			t.Fatalf("begin: %v, the slot has lapsed: %v", err, lapsed)
		}
		e.inFlight = err == nil
	case e.inFlight && rnd.IntN(2) == 0:
		if err := s.GiveUp(ctx, e.ID, now); err != nil {
			t.Fatal(err)
		}
		e.inFlight = false
	case e.inFlight:
		r := store.Result{Attempt: store.NewAttempt(), At: now}
		if rnd.IntN(2) == 0 {
			r.Expires = now.Add(time.Duration(1+rnd.IntN(600)) * time.Second)
		}
		slot, err := s.Commit(ctx, e.ID, r)
		if err != nil {
			t.Fatal(err)
		}
		e.Slot, e.inFlight = slot, false
	}
	return events
}

// compare sums over all events and asks the store for the same.
func compare(t *testing.T, s store.Slots, events []*event, limits quota.Limits, now time.Time) {
	t.Helper()
	var totals store.Totals
	want := make(map[string]*quota.Usage)
	for _, e := range events {
		u := want[e.JID]
		if u == nil {
			u = &quota.Usage{
				Bytes:   []quota.WindowUsage{{Window: limits.Bytes[0]}},
				Uploads: []quota.WindowUsage{{Window: limits.Uploads[0]}},
			}
			want[e.JID] = u
		}
		lapsed := e.State == store.Waiting && !e.inFlight && e.ExpiredAt(now)
		switch {
		case e.cancelled || lapsed:
			continue
		case e.State == store.Waiting:
			u.WaitingSlots++
			u.WaitingBytes += e.Size
			totals.WaitingSlots++
			totals.WaitingBytes += e.Size
		case !e.removed:
			u.StoredFiles++
			u.StoredBytes += e.Size
			totals.StoredFiles++
			totals.StoredBytes += e.Size
		}
		if e.Reserved.After(now.Add(-limits.Bytes[0].Per)) {
			u.Bytes[0].Used += e.Size
		}
		if e.Reserved.After(now.Add(-limits.Uploads[0].Per)) {
			u.Uploads[0].Used++
		}
	}
	for jid, want := range want {
		got := usage(t, s, jid, limits, now)
		if fmt.Sprint(got) != fmt.Sprint(*want) {
			t.Fatalf("usage of %s is\n%+v, want\n%+v", jid, got, *want)
		}
	}
	got, err := s.Totals(t.Context(), now)
	if err != nil {
		t.Fatal(err)
	}
	// Totals let slots lapse within a second.
	late := got.WaitingSlots - totals.WaitingSlots
	if got.StoredFiles != totals.StoredFiles || got.StoredBytes != totals.StoredBytes || late < 0 || late > lapsing(events, now) {
		t.Fatalf("totals are %+v, want %+v", got, totals)
	}
}

// lapsing counts the slots that have lapsed in the second before now.
func lapsing(events []*event, now time.Time) (n int64) {
	for _, e := range events {
		if e.State == store.Waiting && !now.Before(e.Deadline) && now.Sub(e.Deadline) < time.Second {
			n++
		}
	}
	return n
}
