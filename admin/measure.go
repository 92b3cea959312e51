package admin

import (
	"context"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Measure returns the part of Stats that costs the same whatever is stored, so
// that it can be asked for often.
func (s *Stores) Measure(ctx context.Context, now time.Time) (store.Totals, FreeBytes, error) {
	var sum Stats
	for _, p := range s.all {
		if err := p.addTotals(ctx, now, &sum); err != nil {
			return store.Totals{}, FreeBytes{}, err
		}
		if err := p.addFree(ctx, &sum.FreeBytes); err != nil {
			return store.Totals{}, FreeBytes{}, err
		}
	}
	return store.Totals{
		StoredFiles: sum.StoredFiles, StoredBytes: sum.StoredBytes,
		WaitingSlots: sum.WaitingSlots, WaitingBytes: sum.WaitingBytes,
	}, sum.FreeBytes, nil
}
