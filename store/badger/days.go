package badger

import (
	"context"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

const (
	day = 24 * time.Hour
	// daysKept has a margin for clocks that were set wrong.
	daysKept = store.DaysKept + 7
)

// Days implements store.Slots.
func (s *Slots) Days(ctx context.Context, from time.Time) (days []store.Day, err error) {
	err = s.guard.view(ctx, func(txn *badger.Txn) error {
		days = nil
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{dayPrefix}})
		defer it.Close()
		for it.Seek(dayKey(midnight(from))); it.Valid(); it.Next() {
			uploads, err := sumOf(it.Item())
			if err != nil {
				return err
			}
			start := time.Unix(secondOf(it.Item().Key()), 0).UTC()
			days = append(days, store.Day{Start: start, Uploads: uploads.n, Bytes: uploads.bytes})
		}
		return nil
	})
	return days, err
}

// midnight is when the day of t began, in UTC.
func midnight(t time.Time) time.Time { return t.UTC().Truncate(day) }

// count counts an upload on its day.
func (b *batch) count(at time.Time, bytes int64) {
	if b.days == nil {
		b.days = make(map[time.Time]sum)
	}
	start := midnight(at)
	b.days[start] = b.days[start].add(1, bytes)
}

// countAll adds to the uploads of a day. The first one of a day drops the days
// that are too old to be asked for.
func (b *batch) countAll(start time.Time, more sum) {
	known := b.latest.sum
	if !b.latest.start.Equal(start) {
		var err error
		if known, err = getSum(b.txn, dayKey(start)); err != nil {
			b.note(0, err)
			return
		}
	}
	if known == (sum{}) {
		b.forgetDays(start.Add(-daysKept * day))
	}
	b.latest = oneDay{start, known.add(more.n, more.bytes)}
	b.setSum(dayKey(start), b.latest.sum)
}

// oneDay is what was uploaded on a day.
type oneDay struct {
	start time.Time
	sum
}

// forgetDays drops the days before end.
func (b *batch) forgetDays(end time.Time) {
	it := b.txn.NewIterator(badger.IteratorOptions{Prefix: []byte{dayPrefix}})
	defer it.Close()
	for it.Rewind(); it.Valid() && secondOf(it.Item().Key()) < end.Unix(); it.Next() {
		b.delete(it.Item().KeyCopy(nil))
	}
}
