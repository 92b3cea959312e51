package badger

import (
	"bytes"
	"container/heap"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Get implements store.Slots.
func (s *Slots) Get(ctx context.Context, id string) (store.Slot, error) {
	slot, err := s.recorded(ctx, id)
	if err == nil && slot.State == store.Waiting {
		_, slot.InFlight = s.inFlight(id)
	}
	return slot, err
}

// recorded returns the slot as it is recorded.
func (s *Slots) recorded(ctx context.Context, id string) (slot store.Slot, err error) {
	err = s.guard.view(ctx, func(txn *badger.Txn) error {
		slot, err = getSlot(txn, id)
		return err
	})
	return slot, err
}

const defaultPage = 100

// List implements store.Slots.
func (s *Slots) List(ctx context.Context, q store.Query) (store.Page, error) {
	if q.After != "" && !store.IsID(q.After) {
		return store.Page{}, fmt.Errorf("%w: %q", store.ErrCursor, q.After)
	}
	if q.Limit <= 0 {
		q.Limit = defaultPage
	}
	blank := listing{Query: q, begin: begin(q), text: strings.ToLower(q.Text), flying: s.inFlightNow()}
	if !q.From.IsZero() {
		blank.end = store.TimePrefix(q.From)
	}
	var l listing
	err := s.guard.view(ctx, func(txn *badger.Txn) error {
		l = blank
		l.txn = txn
		keys := []byte{slotPrefix}
		if q.JID != "" {
			keys = journalKeys(q.JID)
		}
		switch {
		case q.State == store.Expired:
			return l.expired(ctx, keys)
		case q.State == store.Waiting && !q.Now.IsZero():
			return l.waiting(ctx, keys, s.longestWait())
		}
		return l.walk(ctx, keys, l.end)
	})
	if err != nil {
		return store.Page{}, err
	}
	return l.page, nil
}

// begin is where a listing begins, downwards: what it lists lies before that.
func begin(q store.Query) string {
	at := "\xff"
	if !q.To.IsZero() {
		at = store.TimePrefix(q.To) + at
	}
	if q.After != "" {
		at = min(at, store.TimeOrdered(q.After))
	}
	return at
}

// listing makes a page. IDs are compared with their time first.
type listing struct {
	store.Query
	txn *badger.Txn
	// begin and end are the bounds: end <= ID < begin.
	begin, end string
	// text is Query.Text in lower case.
	text   string
	flying map[string]bool
	page   store.Page
	full   bool
}

// walk lists the slots of a range of keys, those of slots or of a journal, down
// to end.
func (l *listing) walk(ctx context.Context, prefix []byte, end string) error {
	it := l.txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
	defer it.Close()
	for it.Seek(append(prefix, l.begin...)); it.Valid() && !l.full; it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		key := it.Item().Key()
		if len(key) != len(prefix)+keyIDLen {
			continue // of another JID
		}
		switch at := string(key[len(prefix):]); {
		case at >= l.begin:
			continue
		case at < end:
			return nil
		}
		slot, err := l.read(it.Item(), idOf(key))
		if err != nil {
			return err
		}
		l.take(slot)
	}
	return nil
}

// read returns the slot of a key, or an empty one that need not be looked at: it
// has another state, or was removed and is in the journal only.
func (l *listing) read(item *badger.Item, id string) (slot store.Slot, err error) {
	if item.Key()[0] == journalPrefix {
		return l.get(id)
	}
	err = item.Value(func(v []byte) error {
		if l.State == store.Waiting || l.State == store.Uploaded {
			if recordedState(v) != l.State {
				return nil
			}
		}
		slot, err = decodeSlot(id, v)
		return err
	})
	return slot, err
}

// get returns a slot, or an empty one if it is not there.
func (l *listing) get(id string) (store.Slot, error) {
	slot, err := getSlot(l.txn, id)
	if errors.Is(err, store.ErrNotFound) {
		return store.Slot{}, nil
	}
	return slot, err
}

// take adds the slot to the page if it belongs there.
func (l *listing) take(slot store.Slot) {
	slot.InFlight = slot.State == store.Waiting && l.flying[slot.ID]
	if !l.matches(slot) {
		return
	}
	if l.full = len(l.page.Slots) == l.Limit; l.full {
		l.page.Next = l.page.Slots[l.Limit-1].ID
		return
	}
	l.page.Slots = append(l.page.Slots, slot)
}

func (l *listing) matches(slot store.Slot) bool {
	state := slot.State
	if !l.Now.IsZero() {
		state = slot.StateAt(l.Now)
	}
	return slot.ID != "" &&
		(l.JID == "" || slot.JID == l.JID) &&
		(l.State == 0 || state == l.State) &&
		(l.To.IsZero() || slot.Reserved.Before(l.To)) &&
		(l.From.IsZero() || !slot.Reserved.Before(l.From)) &&
		(l.text == "" || strings.Contains(strings.ToLower(slot.JID), l.text) || strings.Contains(strings.ToLower(slot.Name), l.text))
}

// waiting lists the slots that wait: they were reserved within longest, or have
// uploads in flight.
func (l *listing) waiting(ctx context.Context, keys []byte, longest time.Duration) error {
	border := max(l.end, store.TimePrefix(l.Now.Add(-longest)))
	if err := l.walk(ctx, keys, border); err != nil {
		return err
	}
	var older []string
	for id := range maps.Keys(l.flying) {
		if at := store.TimeOrdered(id); at < border && at < l.begin && at >= l.end {
			older = append(older, at)
		}
	}
	return l.takeAll(older)
}

// takeAll adds slots to the page, the newest first.
func (l *listing) takeAll(ats []string) error {
	slices.Sort(ats)
	for _, at := range slices.Backward(ats) {
		if l.full {
			return nil
		}
		slot, err := l.get(store.FromTimeOrdered(at))
		if err != nil {
			return err
		}
		l.take(slot)
	}
	return nil
}

// mostOfOthers is how many expired slots of others are read to find those of a
// JID, before it is better to read all of the JID's.
const mostOfOthers = 4096

// expired lists what has expired and was not removed yet: it goes through the
// index of that, and remembers as many of the newest as the page can hold.
func (l *listing) expired(ctx context.Context, keys []byte) error {
	it := l.txn.NewIterator(badger.IteratorOptions{Prefix: []byte{expiryPrefix}})
	defer it.Close()
	var newest oldestFirst
	read := 0
	for it.Rewind(); it.Valid() && !timeOf(it.Item().Key()).After(l.Now); it.Next() {
		if err := ctx.Err(); err != nil {
			return err
		}
		if read++; l.JID != "" && read > mostOfOthers {
			return l.walk(ctx, keys, l.end)
		}
		key := it.Item().Key()
		at := key[len(key)-keyIDLen:]
		if string(at) >= l.begin || string(at) < l.end || len(newest) > l.Limit && bytes.Compare(at, newest[0]) < 0 {
			continue
		}
		if ok, err := l.wants(idOf(key)); err != nil {
			return err
		} else if !ok {
			continue
		}
		heap.Push(&newest, bytes.Clone(at))
		if len(newest) > l.Limit+1 {
			heap.Pop(&newest)
		}
	}
	ats := make([]string, 0, len(newest))
	for _, at := range newest {
		ats = append(ats, string(at))
	}
	return l.takeAll(ats)
}

// wants reports whether an expired slot belongs on the page. Where nothing more
// was asked for, its record need not be read.
func (l *listing) wants(id string) (bool, error) {
	if l.JID == "" && l.text == "" && l.From.IsZero() && l.To.IsZero() {
		return !l.flying[id], nil
	}
	slot, err := l.get(id)
	if err != nil {
		return false, err
	}
	slot.InFlight = l.flying[id]
	return l.matches(slot), nil
}

// oldestFirst is a heap of IDs, their times first.
type oldestFirst [][]byte

func (o oldestFirst) Len() int           { return len(o) }
func (o oldestFirst) Less(i, j int) bool { return bytes.Compare(o[i], o[j]) < 0 }
func (o oldestFirst) Swap(i, j int)      { o[i], o[j] = o[j], o[i] }
func (o *oldestFirst) Push(x any)        { *o = append(*o, x.([]byte)) }
func (o *oldestFirst) Pop() any {
	last := len(*o) - 1
	x := (*o)[last]
	*o = (*o)[:last]
	return x
}
