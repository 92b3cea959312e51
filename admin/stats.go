package admin

import (
	"context"
	"io"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Stats returns sums over all stores.
func (s *Stores) Stats(ctx context.Context, now time.Time) (Stats, error) {
	today := now.UTC().Truncate(24 * time.Hour)
	first := today.AddDate(0, 0, 1-store.DaysKept)
	sum := Stats{Days: emptyDays(first)}
	for _, p := range s.all {
		for _, add := range []func() error{
			func() error { return p.addTotals(ctx, now, &sum) },
			func() error { return p.addExpired(ctx, now, &sum) },
			func() error { return p.addFree(ctx, &sum.FreeBytes) },
			func() error { return p.addDays(ctx, first, sum.Days) },
		} {
			if err := add(); err != nil {
				return Stats{}, err
			}
		}
	}
	return sum, nil
}

func (p *pair) addTotals(ctx context.Context, now time.Time, sum *Stats) error {
	t, err := p.slots().Totals(ctx, now)
	sum.StoredFiles += t.StoredFiles
	sum.StoredBytes += t.StoredBytes
	sum.WaitingSlots += t.WaitingSlots
	sum.WaitingBytes += t.WaitingBytes
	return err
}

// addExpired counts what clean-up has not removed yet, which is little.
func (p *pair) addExpired(ctx context.Context, now time.Time, sum *Stats) error {
	for after := ""; ; {
		slots, next, err := p.slots().Expired(ctx, now, after, 1000)
		if err != nil {
			return err
		}
		for _, slot := range slots {
			if slot.State == store.Uploaded {
				sum.ExpiredFiles++
			}
		}
		if after = next; next == "" {
			return nil
		}
	}
}

func (p *pair) addFree(ctx context.Context, least *FreeBytes) error {
	slots, err := p.slots().Free(ctx)
	if err != nil {
		return err
	}
	files, err := p.files().Free(ctx)
	least.Slots, least.Files = lesser(least.Slots, slots), lesser(least.Files, files)
	return err
}

// lesser returns the lesser of two bounds; nil and what is negative are none.
func lesser(bound *int64, free int64) *int64 {
	if free < 0 || bound != nil && *bound <= free {
		return bound
	}
	return &free
}

func emptyDays(first time.Time) []Day {
	days := make([]Day, store.DaysKept)
	for i := range days {
		days[i].Day = first.AddDate(0, 0, i).Format(time.DateOnly)
	}
	return days
}

func (p *pair) addDays(ctx context.Context, first time.Time, days []Day) error {
	counted, err := p.slots().Days(ctx, first)
	for _, d := range counted {
		if i := int(d.Start.Sub(first) / (24 * time.Hour)); i >= 0 && i < len(days) {
			days[i].Uploads += d.Uploads
			days[i].Bytes += d.Bytes
		}
	}
	return err
}

// Backup writes a copy of the slots of the one store that is held, or returns
// ErrSeveralStores. What takes it back is the store's own.
func (s *Stores) Backup(ctx context.Context, w io.Writer) error {
	if len(s.all) > 1 {
		return severalStores(s.Names())
	}
	return s.all[0].slots().Backup(ctx, w)
}
