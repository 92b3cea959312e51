package badger_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/storetest"
)

// open opens a store, and closes it after the test.
func open(t testing.TB, dir string) *badger.Slots {
	t.Helper()
	s, err := badger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestErrorsOfOpeningNameTheDirectoryAndTheRemedy(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	used := t.TempDir()
	open(t, used)
	for name, tc := range map[string]struct {
		dir  string
		want []string
	}{
		"a file":                {file, []string{file, "not a directory"}},
		"below a file":          {filepath.Join(file, "slots"), []string{file, "not a directory"}},
		"open in another place": {used, []string{used, "in use by another process", "caddy reload"}},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := badger.Open(tc.dir)
			if err == nil {
				t.Fatal("opened")
			}
			for _, want := range tc.want {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("%q does not mention %q", err, want)
				}
			}
		})
	}
}

func TestModuleReadsItsPath(t *testing.T) {
	t.Setenv("SLOTS", "/srv/slots")
	for name, tc := range map[string]struct{ caddyfile, path, err string }{
		"a path":        {"badger /var/slots", "/var/slots", ""},
		"the default":   {"badger", filepath.Join(caddy.AppDataDir(), "xmpp-upload", "slots"), ""},
		"a placeholder": {"badger {env.SLOTS}/a", "/srv/slots/a", ""},
		"an unset one":  {"badger {env.UNSET_FOR_TESTS}/a", "", "UNSET_FOR_TESTS"},
		"two paths":     {"badger /a /b", "", "takes one path"},
		"a block":       {"badger /a {\n\tmode 0600\n}", "", "has no options"},
	} {
		t.Run(name, func(t *testing.T) {
			m := new(badger.Module)
			err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(tc.caddyfile))
			if err == nil {
				err = m.Provision(caddy.Context{})
			}
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Fatalf("got %v, want an error with %q", err, tc.err)
				}
				return
			}
			if err != nil || m.Key() != tc.path {
				t.Errorf("directory %q, %v; want %q", m.Key(), err, tc.path)
			}
		})
	}
}

func TestModulesOfOneDirectoryShareItsDatabase(t *testing.T) {
	dir := t.TempDir()
	a, b := &badger.Module{Path: dir}, &badger.Module{Path: dir + "/."}
	for _, m := range []*badger.Module{a, b} {
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
	}
	first, err := a.AcquireSlots()
	if err != nil {
		t.Fatal(err)
	}
	second, err := b.AcquireSlots()
	if err != nil {
		t.Fatal(err)
	}
	if first.Value != second.Value || a.Key() != b.Key() {
		t.Error("two databases in one directory")
	}
	for _, ref := range []*store.Ref[store.Slots]{first, second} {
		if err := ref.Release(); err != nil {
			t.Error(err)
		}
	}
	open(t, dir) // nobody holds it any more
}

// TestManyAccountsCrowdOutEachOther makes accounts leave memory and come back,
// one of them while uploads are in flight.
func TestManyAccountsCrowdOutEachOther(t *testing.T) {
	s := open(t, t.TempDir())
	limits := quota.Limits{Uploads: []quota.Window{{Limit: 1 << 30, Per: time.Hour}}}
	if err := s.Remember(t.Context(), time.Hour); err != nil {
		t.Fatal(err)
	}
	const users, slots = 48_000, 1
	flying := storetest.NewSlot("0@example.com", 5, 0)
	if err := s.Reserve(t.Context(), flying, store.Limits{Quota: limits, Room: -1}); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(t.Context(), flying.ID, storetest.Epoch); err != nil {
		t.Fatal(err)
	}
	reserve := func(from int) {
		for i := from; i < users*slots; i += 8 {
			slot := storetest.NewSlot(fmt.Sprint(i%users, "@example.com"), 1, time.Duration(i))
			if err := s.Reserve(t.Context(), slot, store.Limits{Quota: limits, Room: -1}); err != nil {
				t.Error(err)
				return
			}
		}
	}
	done := make(chan struct{})
	for from := range 8 {
		go func() { reserve(from); done <- struct{}{} }()
	}
	for range 8 {
		<-done
	}
	late := flying.Deadline.Add(time.Second)
	for i := range 50 {
		u, err := s.Usage(t.Context(), fmt.Sprint(i, "@example.com"), limits, storetest.Epoch.Add(time.Second))
		want := int64(slots)
		if i == 0 {
			want++
		}
		if err != nil || u.WaitingSlots != want || u.Uploads[0].Used != want {
			t.Fatalf("user %d: %+v, %v; want %d slots", i, u, err, want)
		}
	}
	if u, err := s.Usage(t.Context(), "0@example.com", limits, late); err != nil || u.WaitingBytes != 5 {
		t.Errorf("the upload in flight holds %+v, %v; want 5 bytes", u, err)
	}
}

// BenchmarkReserve shows that a slot costs the same whatever the history of its
// JID: the ratio of the two ns/op is what counts.
func BenchmarkReserve(b *testing.B) {
	s := open(b, b.TempDir())
	if err := s.Remember(b.Context(), time.Hour); err != nil {
		b.Fatal(err)
	}
	limits := store.Limits{Room: -1, Quota: quota.Limits{
		MaxTotalSize: 1 << 40,
		Bytes:        []quota.Window{{Limit: 1 << 40, Per: time.Hour}},
		Uploads:      []quota.Window{{Limit: 1 << 40, Per: time.Hour}},
	}}
	reserve := func(jid string, n int, d time.Duration) error {
		for i := range n {
			if err := s.Reserve(b.Context(), storetest.NewSlot(jid, 1, d+time.Duration(i)), limits); err != nil {
				return err
			}
		}
		return nil
	}
	histories := map[string]int{"10": 10, "100000": 100_000}
	for jid, n := range histories {
		done := make(chan error)
		for range 10 {
			go func() { done <- reserve(jid, n/10, 0) }()
		}
		for range 10 {
			if err := <-done; err != nil {
				b.Fatal(err)
			}
		}
	}
	for jid := range histories {
		b.Run("history="+jid, func(b *testing.B) {
			if err := reserve(jid, b.N, time.Second); err != nil {
				b.Fatal(err)
			}
		})
	}
}
