package admin_test

import (
	"context"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

// site is a handler in service, as far as operators know it.
type site struct {
	t          *testing.T
	name       string
	service    *store.Ref[*cleanup.Service]
	unregister func()
	rule       *admin.Rule
	refusal    error
	removed    []cleanup.Reason
}

// serve puts a handler over the stores in dir into service, until the end of
// the test or leave.
func serve(t *testing.T, dir string, rule *admin.Rule) *site {
	t.Helper()
	slots, files := &badger.Module{Path: filepath.Join(dir, "slots")}, &disk.Module{Path: filepath.Join(dir, "files")}
	for _, m := range []caddy.Provisioner{slots, files} {
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
	}
	service, err := cleanup.Acquire(slots, files, cleanup.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	s := &site{t: t, name: slots.Key(), service: service, rule: rule}
	s.unregister = admin.Register(s.name, s)
	t.Cleanup(s.leave)
	return s
}

// leave takes the handler out of service.
func (s *site) leave() {
	s.unregister()
	if err := s.service.Release(); err != nil {
		s.t.Error(err)
	}
}

func (s *site) Service() *store.Ref[*cleanup.Service] { return s.service.Hold() }

func (s *site) Rule(string) (admin.Rule, bool) {
	if s.rule == nil {
		return admin.Rule{}, false
	}
	return *s.rule, true
}

func (s *site) Check(context.Context, string, int64) error { return s.refusal }

func (s *site) Removed(_ store.Slot, reason cleanup.Reason) { s.removed = append(s.removed, reason) }

// reserve takes a slot as if it were the time at.
func (s *site) reserve(jid string, at time.Time) string {
	s.t.Helper()
	id := store.NewID(at)
	err := s.service.Value.Slots().Reserve(s.t.Context(), store.Slot{
		ID: id, JID: jid, Name: "a.txt", URLName: "a.txt", Size: 1, Reserved: at, Deadline: time.Now().Add(time.Hour),
	}, store.Limits{Room: -1})
	if err != nil {
		s.t.Fatal(err)
	}
	return id
}

// hold opens the stores for a request.
func hold(t *testing.T, name string) *admin.Stores {
	t.Helper()
	stores, err := admin.Open(name)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { release(t, stores) })
	return stores
}

func release(t *testing.T, stores *admin.Stores) {
	t.Helper()
	if err := stores.Release(); err != nil {
		t.Error(err)
	}
}
