package badger

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Expired implements store.Slots. Its cursor is the key of the index at which to
// go on.
func (s *Slots) Expired(ctx context.Context, now time.Time, after string, limit int) (slots []store.Slot, next string, err error) {
	start := []byte{expiryPrefix}
	if after != "" {
		if start, err = parseCursor(after, expiryPrefix); err != nil {
			return nil, "", err
		}
	}
	flying := s.inFlightNow()
	err = s.guard.view(ctx, func(txn *badger.Txn) error {
		slots, next = nil, ""
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{expiryPrefix}})
		defer it.Close()
		for it.Seek(start); it.Valid() && !timeOf(it.Item().Key()).After(now); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if len(slots) == limit {
				next = cursor(it.Item().Key())
				return nil
			}
			slot, err := getSlot(txn, idOf(it.Item().Key()))
			if errors.Is(err, store.ErrNotFound) {
				continue
			}
			if err != nil {
				return err
			}
			if slot.State == store.Uploaded || !flying[slot.ID] {
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

// cursor makes a cursor of the key of an index.
func cursor(key []byte) string { return base64.RawURLEncoding.EncodeToString(key) }

// parseCursor undoes cursor, for keys that hold a time or a number behind their
// prefix, and then something.
func parseCursor(s string, prefix byte) ([]byte, error) {
	key, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil || len(key) <= 9 || key[0] != prefix {
		return nil, fmt.Errorf("%w: %q", store.ErrCursor, s)
	}
	return key, nil
}

// Forget implements store.Slots.
func (s *Slots) Forget(ctx context.Context, now time.Time) error {
	if err := s.call(ctx, func() { s.accounts.evictIdle(now) }); err != nil {
		return err
	}
	for {
		keys, jids, err := s.forgettable(ctx, now)
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
func (s *Slots) forgettable(ctx context.Context, now time.Time) (keys [][]byte, jids []string, err error) {
	const some = 256
	err = s.guard.view(ctx, func(txn *badger.Txn) error {
		keys, jids = nil, nil
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
