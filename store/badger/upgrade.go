package badger

import (
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// upgrade brings a database of format 1 to the present one. It takes the
// writer's place before that has begun. The new format is written last, when
// all else is on the disk: an upgrade that was interrupted is done again.
func (s *Slots) upgrade() error {
	logger().Info("upgrading the slots database", zap.String("directory", s.dir), zap.Int("format", formatVersion))
	u := upgrader{s.newBatch()}
	defer func() { u.txn.Discard() }()
	err := s.guard.glance(func(txn *badger.Txn) error {
		for _, step := range []func(*badger.Txn) error{u.dropAll, u.indexUsers, u.countDays} {
			if err := step(txn); err != nil {
				return err
			}
		}
		return u.commit()
	})
	if err != nil {
		return fmt.Errorf("upgrading the database: %w", err)
	}
	if err := s.log.sync(); err != nil {
		return err
	}
	u.set([]byte{formatPrefix}, encodeFormat(s.maxWait))
	if err := u.commit(); err != nil {
		return fmt.Errorf("upgrading the database: %w", err)
	}
	return s.log.sync()
}

// upgrader makes many changes in batches of bounded size.
type upgrader struct{ *batch }

// dropAll drops what an interrupted upgrade has left: it may be out of date.
func (u *upgrader) dropAll(txn *badger.Txn) error {
	for _, prefix := range []byte{usersPrefix, dayPrefix} {
		if err := each(txn, prefix, func(item *badger.Item) error {
			u.delete(item.KeyCopy(nil))
			return u.commitIfBig()
		}); err != nil {
			return err
		}
	}
	return nil
}

// indexUsers makes the index of users from their accounts.
func (u *upgrader) indexUsers(txn *badger.Txn) error {
	return each(txn, accountPrefix, func(item *badger.Item) error {
		stored, err := sumOf(item)
		if err != nil {
			return fmt.Errorf("reading an account: %w", err)
		}
		u.set(userKey(stored.bytes, string(item.Key()[1:])), encodeSum(stored))
		return u.commitIfBig()
	})
}

// countDays counts the uploads that are still there.
func (u *upgrader) countDays(txn *badger.Txn) error {
	days := make(map[time.Time]sum)
	if err := each(txn, slotPrefix, func(item *badger.Item) error {
		return item.Value(func(v []byte) error {
			if recordedState(v) != store.Uploaded {
				return nil
			}
			slot, err := decodeSlot(idOf(item.Key()), v)
			start := midnight(slot.Uploaded)
			days[start] = days[start].add(1, slot.Size)
			return err
		})
	}); err != nil {
		return err
	}
	for start, uploads := range days {
		u.setSum(dayKey(start), uploads)
		if err := u.commitIfBig(); err != nil {
			return err
		}
	}
	return nil
}

// each calls f with each item under a prefix.
func each(txn *badger.Txn, prefix byte, f func(*badger.Item) error) error {
	it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{prefix}})
	defer it.Close()
	for it.Rewind(); it.Valid(); it.Next() {
		if err := f(it.Item()); err != nil {
			return err
		}
	}
	return nil
}

func (u *upgrader) commitIfBig() error {
	if u.wrote < batchBytes {
		return nil
	}
	return u.commit()
}

// commit commits the batch, if the disk has room for it, and begins another.
func (u *upgrader) commit() error {
	free, err := u.free.Measure()
	if need := u.roomFor(roomToCommit); err != nil || free < need {
		return u.noRoom(free, need, err)
	}
	if u.log.written > nearlyFull {
		if err := u.probeNow(); err != nil {
			return err
		}
	}
	err = u.finish()
	u.txn.Discard()
	u.batch = u.newBatch()
	return err
}
