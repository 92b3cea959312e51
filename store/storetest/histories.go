package storetest

import (
	"fmt"
	"math/rand/v2"
	"slices"
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
			now := Epoch
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
		reserve(t, s, slot)
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
		slot, err := s.Commit(ctx, e.ID, store.Result{Attempt: store.NewAttempt(), At: now})
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

// listing pages through slots while others come and go.
func listing(t *testing.T, open OpenSlots) {
	s, _ := open(t)
	ctx := t.Context()
	var stay []string
	for i := range 30 {
		slot := NewSlot(fmt.Sprint("u", i%3, "@example.com"), 1, time.Duration(i)*time.Second)
		slot.Name = fmt.Sprint("Photo ", i, ".JPG")
		reserve(t, s, slot)
		if i%2 == 0 {
			stay = append(stay, slot.ID)
		}
	}
	slices.Reverse(stay)
	gone := pages(t, s, store.Query{Limit: 100})
	if len(gone) != 30 {
		t.Fatalf("%d slots listed, want 30", len(gone))
	}

	var seen []string
	q := store.Query{Limit: 4}
	for i := 0; ; i++ {
		page, err := s.List(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, slot := range page.Slots {
			seen = append(seen, slot.ID)
		}
		for _, id := range gone[min(4*i, 29):min(4*i+6, 30)] { // around the cursor
			if !slices.Contains(stay, id) {
				_, _ = s.Delete(ctx, id, Epoch)
			}
		}
		reserve(t, s, NewSlot("new@example.com", 1, time.Hour))
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	var stayed []string
	for _, id := range seen {
		if slices.Contains(stay, id) {
			stayed = append(stayed, id)
		}
	}
	if !slices.Equal(stayed, stay) {
		t.Errorf("of the slots that stayed the listing had\n%v, want\n%v", stayed, stay)
	}

	upload(t, s, mustGet(t, s, stay[0]), Epoch, 0)
	for name, tc := range map[string]struct {
		q    store.Query
		want int
	}{
		"all":               {store.Query{To: Epoch.Add(time.Minute)}, 15},
		"one JID":           {store.Query{JID: "u0@example.com"}, 5},
		"no such JID":       {store.Query{JID: "u@example.com"}, 0},
		"text of name":      {store.Query{Text: "photo 2"}, 6}, // 2, 20, 22 ... 28
		"text of JID":       {store.Query{Text: "U1@EXAMPLE"}, 5},
		"uploaded":          {store.Query{State: store.Uploaded}, 1},
		"from is inclusive": {store.Query{From: Epoch.Add(26 * time.Second), To: Epoch.Add(time.Minute)}, 2},
		"to is exclusive":   {store.Query{To: Epoch.Add(2 * time.Second)}, 1},
	} {
		tc.q.Limit = 2
		if got := pages(t, s, tc.q); len(got) != tc.want {
			t.Errorf("%s: %d slots, want %d", name, len(got), tc.want)
		}
	}
	if _, err := s.List(ctx, store.Query{After: "no cursor"}); err == nil {
		t.Error("a wrong cursor is no error")
	}
}

func mustGet(t *testing.T, s store.Slots, id string) store.Slot {
	t.Helper()
	slot, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

// pages returns the IDs of all pages.
func pages(t *testing.T, s store.Slots, q store.Query) (ids []string) {
	t.Helper()
	for {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, slot := range page.Slots {
			ids = append(ids, slot.ID)
		}
		if q.After = page.Next; q.After == "" {
			return ids
		}
	}
}
