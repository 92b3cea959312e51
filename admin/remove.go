package admin

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"golang.org/x/sync/errgroup"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// logger is that of the handlers. The stores outlive configurations, and so it
// is asked for each time.
func logger() *zap.Logger { return caddy.Log().Named("http.handlers.xmpp_upload") }

// Delete removes one upload, file first, or returns store.ErrNotFound. An upload
// in flight fails, a download in progress goes on to its end.
func (s *Stores) Delete(ctx context.Context, id string) (Removal, error) {
	if !store.IsID(id) {
		return Removal{}, store.ErrNotFound
	}
	for _, p := range s.all {
		slot, err := p.service.Value.Remove(ctx, id, cleanup.Deleted)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return Removal{}, err
		}
		var r Removal
		r.add(slot)
		tell("upload deleted", slot.JID, r, zap.String("id", id), zap.String("store", p.name))
		return r, nil
	}
	return Removal{}, store.ErrNotFound
}

// Purge removes all uploads and slots of the bare JID; windows remember the
// uploads. If it fails it goes on with what can be removed, and returns what was.
func (s *Stores) Purge(ctx context.Context, jid string) (Removal, error) {
	var sum Removal
	var failed error
	for _, p := range s.all {
		r, err := p.purge(ctx, jid)
		sum.plus(r)
		failed = errors.Join(failed, err)
	}
	tell("uploads of a JID purged", jid, sum, zap.Strings("stores", s.Names()), zap.Error(failed))
	return sum, failed
}

// purge lists again after it has removed something, for what came meanwhile.
func (p *pair) purge(ctx context.Context, jid string) (sum Removal, err error) {
	for {
		r, err := p.purgeListed(ctx, jid)
		sum.plus(r)
		if err != nil || r == (Removal{}) {
			return sum, err
		}
	}
}

// purgeListed goes through the listing once, and leaves the disk to others as a
// clean-up does.
func (p *pair) purgeListed(ctx context.Context, jid string) (sum Removal, failed error) {
	for q := (store.Query{JID: jid, Limit: 256}); ; {
		begun := time.Now()
		page, err := p.slots().List(ctx, q)
		if err != nil {
			return sum, errors.Join(failed, err)
		}
		r, err := p.removeAll(ctx, page.Slots)
		sum.plus(r)
		if err != nil {
			failed = err // others may be removable
		}
		if page.Next == "" {
			return sum, failed
		}
		q.After = page.Next
		if err := cleanup.Throttle(ctx, time.Since(begun)); err != nil {
			return sum, err
		}
	}
}

// removeAll removes a few at a time, so that the store can take them together.
func (p *pair) removeAll(ctx context.Context, slots []store.Slot) (Removal, error) {
	var mu sync.Mutex
	var sum Removal
	var group errgroup.Group
	group.SetLimit(16)
	for _, slot := range slots {
		group.Go(func() error {
			removed, err := p.service.Value.Remove(ctx, slot.ID, cleanup.Deleted)
			if errors.Is(err, store.ErrNotFound) {
				return nil // somebody else was quicker
			}
			if err != nil {
				return err
			}
			mu.Lock()
			defer mu.Unlock()
			sum.add(removed)
			return nil
		})
	}
	err := group.Wait()
	return sum, err
}

// add counts a slot that was removed, with its file if it had one.
func (r *Removal) add(slot store.Slot) {
	if slot.State == store.Uploaded {
		r.Files++
		r.Bytes += slot.Size
	} else {
		r.Slots++
	}
}

func (r *Removal) plus(other Removal) {
	r.Slots += other.Slots
	r.Files += other.Files
	r.Bytes += other.Bytes
}

// tell writes the one line that tells of a removal. Whose it was is told at
// debug level only.
func tell(message, jid string, r Removal, fields ...zap.Field) {
	line := logger().Check(zapcore.InfoLevel, message)
	if line == nil {
		return
	}
	fields = append(fields, zap.Int64("slots", r.Slots), zap.Int64("files", r.Files), zap.Int64("bytes", r.Bytes))
	if logger().Core().Enabled(zapcore.DebugLevel) {
		fields = append(fields, zap.String("jid", jid))
	}
	line.Write(fields...)
}
