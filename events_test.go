package xmppupload

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// subscriber gets events one by one.
type subscriber chan caddy.Event

func (s subscriber) Handle(_ context.Context, e caddy.Event) error {
	s <- e
	return nil
}

// subscribe gives the handler an events app, as Caddy does.
func subscribe(t *testing.T, h *Handler, event string) subscriber {
	t.Helper()
	app := new(caddyevents.App)
	if err := app.Provision(h.ctx); err != nil {
		t.Fatal(err)
	}
	s := make(subscriber)
	if err := app.On(event, s); err != nil {
		t.Fatal(err)
	}
	if err := app.Start(); err != nil {
		t.Fatal(err)
	}
	h.events = app
	return s
}

// next waits for an event.
func (s subscriber) next(t *testing.T) caddy.Event {
	t.Helper()
	select {
	case e := <-s:
		return e
	case <-time.After(time.Minute):
		t.Fatal("no event came")
		return caddy.Event{}
	}
}

func TestDataOfEvents(t *testing.T) {
	h := provisioned(t, everybody)
	s := subscribe(t, h, "")
	slot := store.Slot{ID: "id", JID: "me@example.com", Name: "ä b.txt", URLName: "a_b.txt", Size: 5, ContentType: "text/plain"}
	want := map[string]any{"id": "id", "jid": "me@example.com", "name": "ä b.txt", "size": int64(5), "content_type": "text/plain"}
	h.emitStored(slot)
	if e := s.next(t); e.Name() != "xmpp_upload.stored" || !maps.Equal(e.Data, want) {
		t.Errorf("%s %v", e.Name(), e.Data)
	}
	slot.Expires = time.Date(2030, 1, 2, 3, 4, 5, 0, time.FixedZone("", 3600))
	want["expires_at"] = "2030-01-02T02:04:05Z"
	h.emitStored(slot)
	if e := s.next(t); !maps.Equal(e.Data, want) {
		t.Errorf("%s %v", e.Name(), e.Data)
	}
	want["reason"] = "expired"
	h.emitRemoved(slot, cleanup.Expired)
	if e := s.next(t); e.Name() != "xmpp_upload.removed" || !maps.Equal(e.Data, want) {
		t.Errorf("%s %v", e.Name(), e.Data)
	}
}

// An event that nobody waits for costs nothing: it is not even put in line.
func TestEventsWithoutSubscribers(t *testing.T) {
	h := provisioned(t, everybody)
	s := subscribe(t, h, eventRemoved)
	h.emitStored(store.Slot{ID: "stored"})
	h.emitRemoved(store.Slot{ID: "removed"}, cleanup.Deleted)
	if e := s.next(t); e.Data["id"] != "removed" {
		t.Errorf("got %v", e.Data)
	}
}

// A subscriber that stands still loses events at some time, and holds nobody up.
func TestEventsAreLostRatherThanWaitedFor(t *testing.T) {
	h := provisioned(t, everybody)
	s := subscribe(t, h, eventStored)
	for range mostEvents + 100 {
		h.emitStored(store.Slot{ID: "early"})
	}
	s.next(t) // makes room
	s.next(t)
	h.emitStored(store.Slot{ID: "late"})
	early := 2
	for s.next(t).Data["id"] == "early" {
		early++
	}
	if early < mostEvents || early > mostEvents+1 { // one is in the subscriber's hands
		t.Errorf("%d events came before, want %d", early, mostEvents)
	}
}

// An event whose configuration is gone, with no other in its place, is dropped.
func TestEventsOfNobody(t *testing.T) {
	h := provisioned(t, everybody)
	s := subscribe(t, h, eventStored)
	h.unregister()
	h.emitStored(store.Slot{ID: "id"})
	select {
	case e := <-s:
		t.Errorf("got %v", e.Data)
	case <-time.After(10 * time.Millisecond):
	}
}
