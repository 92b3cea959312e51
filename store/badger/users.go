package badger

import (
	"context"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Users implements store.Slots. Its cursor is the key of the index at which to
// go on.
func (s *Slots) Users(ctx context.Context, after string, limit int) (users []store.User, next string, err error) {
	start := []byte{usersPrefix}
	if after != "" {
		if start, err = parseCursor(after, usersPrefix); err != nil {
			return nil, "", err
		}
	}
	if limit <= 0 {
		limit = defaultPage
	}
	err = s.guard.view(ctx, func(txn *badger.Txn) error {
		users, next = nil, ""
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{usersPrefix}})
		defer it.Close()
		for it.Seek(start); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			if len(users) == limit {
				next = cursor(it.Item().Key())
				return nil
			}
			stored, err := sumOf(it.Item())
			if err != nil {
				return err
			}
			users = append(users, store.User{JID: userOf(it.Item().Key()), StoredFiles: stored.n, StoredBytes: stored.bytes})
		}
		return nil
	})
	if err != nil {
		return nil, "", err
	}
	return users, next, nil
}

// setStored writes what a JID has stored, to its account and to the index of
// users.
func (b *batch) setStored(jid string, before, stored sum) {
	b.setSum(accountKey(jid), stored)
	if before.n > 0 && before.bytes != stored.bytes {
		b.delete(userKey(before.bytes, jid))
	}
	if stored.n > 0 {
		b.set(userKey(stored.bytes, jid), encodeSum(stored))
	}
}
