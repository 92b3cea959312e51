package badger

import (
	"container/list"
	"errors"
	"fmt"
	"runtime/debug"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// cachedFor is how long an account stays that nobody uses.
const cachedFor = 10 * time.Minute

// accounts holds the accounts that are in use. It belongs to the writer.
type accounts struct {
	// most is the weight that bounds the memory of all. One account may exceed
	// it alone.
	most   int
	byJID  map[string]*list.Element
	recent list.List // of *cachedAccount, the latest in front
	weight int
}

// mostClaims returns how many claims the accounts may hold: what fits into a
// sixteenth of the memory that Go may use, but about 40 MiB at least, and
// 240 MiB at most. Few servers ever need as much.
func mostClaims() int {
	const claim, least, most = 40, 1 << 20, 6 << 20
	return int(min(max(debug.SetMemoryLimit(-1)/16/claim, least), most))
}

type cachedAccount struct {
	jid string
	quota.Account
	weight int
	used   time.Time
}

func (a *accounts) get(jid string, now time.Time) *cachedAccount {
	e := a.byJID[jid]
	if e == nil {
		return nil
	}
	a.recent.MoveToFront(e)
	acct := e.Value.(*cachedAccount)
	acct.used = now
	return acct
}

func (a *accounts) put(acct *cachedAccount) {
	if a.byJID == nil {
		a.byJID = make(map[string]*list.Element)
	}
	a.byJID[acct.jid] = a.recent.PushFront(acct)
}

// weigh notes that the account may have grown.
func (a *accounts) weigh(acct *cachedAccount) {
	const base = 24 // an account of nothing takes as much as so many claims
	a.weight -= acct.weight
	acct.weight = base + acct.Len()
	a.weight += acct.weight
}

// evict forgets some accounts while there are too many. Which ones is left to
// chance: where more JIDs take turns than fit, the one that was not used for
// longest would be the next that is needed.
func (a *accounts) evict() {
	if a.weight <= a.most {
		return // as nearly always, and even to begin with a map takes time
	}
	for _, e := range a.byJID {
		if a.weight <= a.most || a.recent.Len() <= 1 {
			return
		}
		a.forget(e)
	}
}

// evictIdle forgets the accounts that nobody has used for a while.
func (a *accounts) evictIdle(now time.Time) {
	for last := a.recent.Back(); last != nil && now.Sub(last.Value.(*cachedAccount).used) > cachedFor; last = a.recent.Back() {
		a.forget(last)
	}
}

func (a *accounts) forget(e *list.Element) {
	acct := a.recent.Remove(e).(*cachedAccount)
	delete(a.byJID, acct.jid)
	a.weight -= acct.weight
}

// reset forgets all accounts.
func (a *accounts) reset() { *a = accounts{most: a.most} }

// load is an account on its way from the database to the writer.
type load struct {
	jid     string
	stored  sum
	journal []journalLine
	err     error
	// now and span are what the reading began with.
	now  time.Time
	span time.Duration
}

type journalLine struct {
	id string
	journal
}

// readAccount reads what was granted to a JID after since.
func (s *Slots) readAccount(jid string, since time.Time) (l load) {
	l.jid = jid
	l.err = s.guard.viewUntil(s.quit, func(txn *badger.Txn) error {
		var err error
		l.journal = nil
		if l.stored, err = getSum(txn, accountKey(jid)); err != nil {
			return fmt.Errorf("reading an account: %w", err)
		}
		prefix := journalKeys(jid)
		it := txn.NewIterator(badger.IteratorOptions{Prefix: prefix, PrefetchValues: false})
		defer it.Close()
		for it.Seek(append(prefix, store.TimePrefix(since)...)); it.Valid(); it.Next() {
			key := it.Item().Key()
			if len(key) != len(prefix)+keyIDLen {
				continue
			}
			line := journalLine{id: idOf(key)}
			if err := it.Item().Value(func(v []byte) (err error) {
				line.journal, err = decodeJournal(v)
				return err
			}); err != nil {
				return fmt.Errorf("reading the journal of an account: %w", err)
			}
			l.journal = append(l.journal, line)
		}
		return nil
	})
	return l
}

// account builds the account. Slots with uploads in flight hold what is theirs,
// also those from before the journal was read.
func (l load) account(flights map[string]*flight) *cachedAccount {
	a := &cachedAccount{jid: l.jid}
	a.RestoreStored(l.stored.n, l.stored.bytes)
	seen := 0
	for _, line := range l.journal {
		switch {
		case line.state != journalWaiting:
			a.RestoreGranted(line.Claim)
		case flights[line.id] != nil:
			a.RestoreInFlight(line.Claim)
			seen++
		default:
			a.RestoreWaiting(line.Claim) // lapses at the next use, if it has
		}
	}
	if seen < len(flights) {
		known := make(map[string]bool, len(l.journal))
		for _, line := range l.journal {
			known[line.id] = true
		}
		for id, f := range flights {
			if !known[id] {
				a.RestoreInFlight(f.claim)
			}
		}
	}
	return a
}

// getSum returns the sum under key, zero if there is none.
func getSum(txn *badger.Txn, key []byte) (s sum, err error) {
	item, err := txn.Get(key)
	if errors.Is(err, badger.ErrKeyNotFound) {
		return sum{}, nil
	}
	if err != nil {
		return sum{}, err
	}
	return sumOf(item)
}

// sumOf returns the sum that is an item's value.
func sumOf(item *badger.Item) (s sum, err error) {
	err = item.Value(func(v []byte) error {
		s, err = decodeSum(v)
		return err
	})
	return s, err
}
