package xmppupload

import (
	"errors"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"go.uber.org/zap"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// The events that are emitted through Caddy's events app, with the data id, jid,
// name, size, content_type, expires_at (RFC 3339 in UTC; not there for a file
// that is kept forever) and, of a removed upload, reason.
const (
	eventStored  = "xmpp_upload.stored"
	eventRemoved = "xmpp_upload.removed"
)

// event tells what became of an upload to the named store.
type event struct {
	name   string
	store  string
	slot   store.Slot
	reason cleanup.Reason
}

// loadEvents finds the events app. Without one, as in a test, nothing is emitted.
func (h *Handler) loadEvents(ctx caddy.Context) error {
	h.ctx = ctx
	app, err := ctx.AppIfConfigured("events")
	if errors.Is(err, caddy.ErrNotConfigured) {
		return nil
	}
	if err != nil {
		return err
	}
	h.events = app.(*caddyevents.App)
	return nil
}

// emitStored tells subscribers that an upload was stored.
func (h *Handler) emitStored(slot store.Slot) {
	emit(event{name: eventStored, store: h.slotsModule.Key(), slot: slot})
}

// emitRemoved tells subscribers that an upload was removed.
func (h *Handler) emitRemoved(slot store.Slot, reason cleanup.Reason) {
	emit(event{name: eventRemoved, store: h.slotsModule.Key(), slot: slot, reason: reason})
}

// mostEvents is how many events may wait for their subscribers.
const mostEvents = 4096

// events wait here, since a subscriber may take its time, or panic: neither may
// harm an upload or stop a clean-up. One goroutine delivers them in order, as
// long as the process lives. They are lost if it ends, and when too many wait.
var events = struct {
	once  sync.Once
	queue chan event
}{queue: make(chan event, mostEvents)}

// emit has the event delivered, if anybody listens.
func emit(e event) {
	if h := speaker(e.store); h == nil || !h.events.ShouldEmit(e.name) {
		return
	}
	events.once.Do(func() { go deliverEvents() })
	select {
	case events.queue <- e:
	default:
		eventsLog().Error("an event is lost, since its subscribers are too slow", zap.String("event", e.name), zap.String("id", e.slot.ID))
	}
}

func deliverEvents() {
	for e := range events.queue {
		e.deliver()
	}
}

func (e event) deliver() {
	defer func() {
		if v := recover(); v != nil {
			eventsLog().Error("a subscriber panicked", zap.String("event", e.name), zap.String("id", e.slot.ID), zap.Any("error", v), zap.Stack("stack"))
		}
	}()
	if h := speaker(e.store); h != nil {
		h.events.Emit(h.ctx, e.name, e.data())
	}
}

func (e event) data() map[string]any {
	data := map[string]any{
		"id":           e.slot.ID,
		"jid":          e.slot.JID,
		"name":         e.slot.Name,
		"size":         e.slot.Size,
		"content_type": e.slot.ContentType,
	}
	if !e.slot.Expires.IsZero() {
		data["expires_at"] = e.slot.Expires.UTC().Format(time.RFC3339Nano)
	}
	if e.reason != "" {
		data["reason"] = string(e.reason)
	}
	return data
}

// speaker returns the handler whose configuration has the subscribers for the
// named store: the oldest that has not ended, or nil. An upload and a clean-up
// may outlive the configuration that they began under. While a new one is being
// loaded the old one still counts, since the subscribers of the new one may not
// be there yet, and perhaps never will.
func speaker(name string) *Handler {
	for _, s := range admin.Sites(name) {
		if s, ok := s.(site); ok && s.events != nil && s.ctx.Err() == nil {
			return s.Handler
		}
	}
	return nil
}

func eventsLog() *zap.Logger { return caddy.Log().Named("http.handlers.xmpp_upload") }
