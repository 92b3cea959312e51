package badger

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Get implements store.Slots.
func (s *Slots) Get(_ context.Context, id string) (slot store.Slot, err error) {
	err = s.db.View(func(txn *badger.Txn) error {
		slot, err = getSlot(txn, id)
		return err
	})
	return slot, err
}

const defaultPage = 100

// List implements store.Slots. Its cursor is the ID of the last slot seen.
func (s *Slots) List(ctx context.Context, q store.Query) (page store.Page, err error) {
	if q.After != "" && !store.IsID(q.After) {
		return store.Page{}, fmt.Errorf("%q is no cursor", q.After)
	}
	if q.Limit <= 0 {
		q.Limit = defaultPage
	}
	prefix := []byte{slotPrefix}
	if q.JID != "" {
		prefix = journalKeys(q.JID)
	}
	text := strings.ToLower(q.Text)
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, Reverse: true})
		defer it.Close()
		for it.Seek(append(prefix, newest(q)...)); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			key := it.Item().Key()
			if len(key) != len(prefix)+keyIDLen {
				continue
			}
			id := idOf(key)
			if id == q.After {
				continue
			}
			slot, err := listed(txn, it.Item(), id)
			if err == nil && !q.From.IsZero() && slot.Reserved.Before(q.From) {
				return nil
			}
			switch {
			case q.JID != "" && err != nil: // removed, and in the journal only
				continue
			case err != nil:
				return err
			case !matches(slot, q, text):
				continue
			}
			if len(page.Slots) == q.Limit {
				page.Next = page.Slots[q.Limit-1].ID
				return nil
			}
			page.Slots = append(page.Slots, slot)
		}
		return nil
	})
	if err != nil {
		return store.Page{}, err
	}
	return page, nil
}

// listed returns the slot of a key in a listing: it is the item's value, unless
// the key is one of a journal.
func listed(txn *badger.Txn, item *badger.Item, id string) (slot store.Slot, err error) {
	if item.Key()[0] != slotPrefix {
		return getSlot(txn, id)
	}
	err = item.Value(func(v []byte) error {
		slot, err = decodeSlot(id, v)
		return err
	})
	return slot, err
}

// newest is where a listing begins, downwards.
func newest(q store.Query) string {
	switch {
	case q.After != "":
		return store.TimeOrdered(q.After)
	case !q.To.IsZero():
		return store.TimePrefix(q.To) + "\xff"
	}
	return "\xff"
}

func matches(slot store.Slot, q store.Query, text string) bool {
	return (q.State == 0 || slot.State == q.State) &&
		(q.To.IsZero() || slot.Reserved.Before(q.To)) &&
		(q.From.IsZero() || !slot.Reserved.Before(q.From)) &&
		(text == "" || strings.Contains(strings.ToLower(slot.JID), text) || strings.Contains(strings.ToLower(slot.Name), text))
}

// Expired implements store.Slots. Its cursor is a key of the index.
func (s *Slots) Expired(ctx context.Context, now time.Time, after string, limit int) (slots []store.Slot, next string, err error) {
	start, err := base64.RawURLEncoding.DecodeString(after)
	if err != nil {
		return nil, "", fmt.Errorf("%q is no cursor", after)
	}
	if after == "" {
		start = []byte{expiryPrefix}
	}
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{expiryPrefix}})
		defer it.Close()
		for it.Seek(start); it.Valid() && !timeOf(it.Item().Key()).After(now); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if len(slots) == limit {
				next = base64.RawURLEncoding.EncodeToString(it.Item().Key())
				return nil
			}
			slot, err := getSlot(txn, idOf(it.Item().Key()))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if slot.State == store.Uploaded || !s.inFlight(slot) {
				slots = append(slots, slot)
			}
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return slots, next, nil
}

func (s *Slots) inFlight(slot store.Slot) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.flights[slot.JID][slot.ID] != nil
}

// Forget implements store.Slots.
func (s *Slots) Forget(ctx context.Context, now time.Time) error {
	if err := s.call(ctx, func() { s.accounts.evictIdle(now) }); err != nil {
		return err
	}
	for {
		keys, jids, err := s.forgettable(now)
		if err != nil || len(keys) == 0 {
			return err
		}
		for i, key := range keys {
			if err := s.do(ctx, &job{
				jid: jids[i], now: now, cost: 256 + len(jids[i]), room: roomToCommit,
				apply: func(b *batch, _ *cachedAccount) error {
					b.delete(key)
					b.delete(journalKey(jids[i], idOf(key)))
					return nil
				},
			}); err != nil {
				return err
			}
		}
	}
}

// forgettable returns some memories whose time is over, and their JIDs.
func (s *Slots) forgettable(now time.Time) (keys [][]byte, jids []string, err error) {
	const some = 256
	err = s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{memoryPrefix}, PrefetchValues: true, PrefetchSize: some})
		defer it.Close()
		for it.Rewind(); it.Valid() && len(keys) < some && !timeOf(it.Item().Key()).After(now); it.Next() {
			jid, err := it.Item().ValueCopy(nil)
			if err != nil {
				return err
			}
			keys = append(keys, it.Item().KeyCopy(nil))
			jids = append(jids, string(jid))
		}
		return nil
	})
	return keys, jids, err
}
