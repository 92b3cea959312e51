package admin_test

import (
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

func expectNames(t *testing.T, want ...string) {
	t.Helper()
	var names []string
	stores, err := admin.Open("")
	switch {
	case err == nil:
		names = stores.Names()
		release(t, stores)
	case !errors.Is(err, admin.ErrNoHandler):
		t.Error(err)
	}
	if !slices.Equal(names, want) {
		t.Errorf("the stores in use are %q, want %q", names, want)
	}
}

func TestStoresAreKnownWhileAHandlerUsesThem(t *testing.T) {
	dir := t.TempDir()
	a, b := filepath.Join(dir, "a"), filepath.Join(dir, "b")
	expectNames(t)
	first := serve(t, b, nil)
	expectNames(t, first.name)
	other := serve(t, a, nil)
	expectNames(t, other.name, first.name)
	second := serve(t, b, nil) // as a reload does
	first.leave()
	expectNames(t, other.name, first.name)
	second.leave()
	expectNames(t, other.name)
	other.leave()
	expectNames(t)
}

func TestAStoreThatNobodyUsesIsUnknown(t *testing.T) {
	if _, err := admin.Open(""); !errors.Is(err, admin.ErrNoHandler) {
		t.Errorf("without a handler: %v", err)
	}
	s := serve(t, t.TempDir(), nil)
	_, err := admin.Open("/elsewhere")
	if !errors.Is(err, admin.ErrUnknownStore) || !strings.Contains(err.Error(), s.name) {
		t.Errorf("an unknown store: %v, want an error that names those in use", err)
	}
}

// A call goes on though its handler is dropped, and whoever is last closes the
// stores.
func TestAHandlerMayGoWhileItsStoresAreHeld(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	id := s.reserve("me@example.com", time.Now())
	stores, err := admin.Open(s.name)
	if err != nil {
		t.Fatal(err)
	}
	s.leave()
	if u, err := stores.Upload(t.Context(), id); err != nil || u.ID != id {
		t.Errorf("Upload() = %+v, %v, after the handler has gone", u, err)
	}
	if _, err := badger.Open(s.name); err == nil {
		t.Error("the store was closed while it was held")
	}
	release(t, stores)
	anew, err := badger.Open(s.name)
	if err != nil {
		t.Fatalf("the store was not closed by its last holder: %v", err)
	}
	if err := anew.Close(); err != nil {
		t.Error(err)
	}
}

func TestRemovalsAreToldToTheNewestHandler(t *testing.T) {
	dir := t.TempDir()
	first := serve(t, dir, nil)
	second := serve(t, dir, nil)
	admin.Removed(first.name, store.Slot{}, cleanup.Deleted)
	second.leave()
	admin.Removed(first.name, store.Slot{}, cleanup.Expired)
	first.leave()
	admin.Removed(first.name, store.Slot{}, cleanup.Old)
	if !slices.Equal(second.removed, []cleanup.Reason{cleanup.Deleted}) || !slices.Equal(first.removed, []cleanup.Reason{cleanup.Expired}) {
		t.Errorf("the newest was told of %q, the one before of %q", second.removed, first.removed)
	}
}

func TestTheRuleOfSeveralHandlers(t *testing.T) {
	allow := func(index int) *admin.Rule { return &admin.Rule{Index: index, Pattern: "*"} }
	deny := func(index int) *admin.Rule { return &admin.Rule{Index: index, Pattern: "*", Deny: true} }
	for _, tc := range []struct {
		name  string
		rules []*admin.Rule // of handlers from the oldest to the newest
		want  *admin.Rule
	}{
		{"none", []*admin.Rule{nil, nil}, nil},
		{"the newest that allows", []*admin.Rule{allow(1), allow(2), deny(3), nil}, allow(2)},
		{"the newest that denies, if none allows", []*admin.Rule{deny(1), deny(2), nil}, deny(2)},
	} {
		t.Run("on one store/"+tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for _, rule := range tc.rules {
				serve(t, dir, rule)
			}
			expectRule(t, tc.want)
		})
	}
	for _, tc := range []struct {
		name  string
		rules []*admin.Rule // of handlers in the order of their stores' names
		want  *admin.Rule
	}{
		{"none", []*admin.Rule{nil, nil}, nil},
		{"the first that allows", []*admin.Rule{nil, deny(1), allow(2), allow(3)}, allow(2)},
		{"the first that denies, if none allows", []*admin.Rule{nil, deny(1), deny(2)}, deny(1)},
	} {
		t.Run("on several stores/"+tc.name, func(t *testing.T) {
			dir := t.TempDir()
			for i, rule := range tc.rules {
				serve(t, filepath.Join(dir, string(rune('a'+i))), rule)
			}
			expectRule(t, tc.want)
		})
	}
}

// expectRule expects that the rule is told, and that its handler is asked.
func expectRule(t *testing.T, want *admin.Rule) {
	t.Helper()
	stores := hold(t, "")
	rule, ok := stores.Rule("me@example.com")
	if ok != (want != nil) || ok && (rule.Index != want.Index || rule.Deny != want.Deny) {
		t.Errorf("Rule() = %+v, %t, want %+v", rule, ok, want)
	}
	user, err := stores.User(t.Context(), "me@example.com")
	if err != nil || (user.Rule == nil) != (want == nil) || want != nil && user.Rule.Index != want.Index {
		t.Errorf("User() has the rule %+v, %v, want %+v", user.Rule, err, want)
	}
	check, err := stores.Check(t.Context(), "me@example.com", 1)
	if err != nil || !check.Granted || (check.Rule == nil) != (want == nil) || want != nil && check.Rule.Index != want.Index {
		t.Errorf("Check() = %+v, %v, want the rule %+v", check, err, want)
	}
}

func TestCheckTellsAnErrorFromARefusal(t *testing.T) {
	s := serve(t, t.TempDir(), nil)
	stores := hold(t, s.name)
	s.refusal = &admin.Refusal{Code: "not_allowed"}
	if c, err := stores.Check(t.Context(), "me@example.com", 1); err != nil || c.Granted || c.Refusal == nil || c.Code != "not_allowed" {
		t.Errorf("Check() = %+v, %v, want a refusal", c, err)
	}
	s.refusal = store.ErrClosed
	if _, err := stores.Check(t.Context(), "me@example.com", 1); !errors.Is(err, store.ErrClosed) {
		t.Errorf("Check() returned %v, want the error of the store", err)
	}
}
