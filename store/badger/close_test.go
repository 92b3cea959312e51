package badger_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/storetest"
)

// closeSoon closes the store, and fails if that takes long.
func closeSoon(t *testing.T, s *badger.Slots) error {
	t.Helper()
	closed := make(chan error, 1)
	go func() { closed <- s.Close() }()
	select {
	case err := <-closed:
		return err
	case <-time.After(20 * time.Second):
		t.Fatal("closing the store does not end")
		return nil
	}
}

// Badger writes a table when it is closed, and tries that for ever.
func TestAStoreWhoseDirectoryIsGoneCanBeClosed(t *testing.T) {
	parent := t.TempDir()
	dir, elsewhere := filepath.Join(parent, "slots"), filepath.Join(parent, "elsewhere")
	s, err := badger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	slot := storetest.NewSlot("a@example.com", 10, 0)
	if err := s.Reserve(t.Context(), slot, store.Limits{Room: -1}); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(dir, elsewhere); err != nil {
		t.Fatal(err)
	}
	if err := closeSoon(t, s); err == nil || !strings.Contains(err.Error(), dir) {
		t.Errorf("closing it says %v, and not that %s is gone", err, dir)
	}
	expectGone := func(what string) {
		t.Helper()
		if s, err := badger.Open(dir); err == nil {
			t.Fatalf("%s can be opened: %v", what, s.Close())
		} else if !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), "put it back") {
			t.Errorf("opening %s says %q", what, err)
		}
	}
	expectGone("what is gone")
	if _, err := os.Stat(dir); err == nil {
		t.Error("another directory was made in its place")
	}
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	expectGone("another directory in its place")
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(elsewhere, dir); err != nil {
		t.Fatal(err)
	}
	if _, err := open(t, dir).Get(t.Context(), slot.ID); err != nil {
		t.Errorf("the slot, once the directory is back: %v", err)
	}
}

// What kept the database from being closed may keep the next one from going on
// with it, until it is well again.
func TestADirectoryWithNoRoomForFilesIsLeftAndTakenOver(t *testing.T) {
	dir := t.TempDir()
	s, err := badger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	slot := storetest.NewSlot("a@example.com", 10, 0)
	if err := s.Reserve(t.Context(), slot, store.Limits{Room: -1}); err != nil {
		t.Fatal(err)
	}
	inTheWay := []string{filepath.Join(dir, "probe"), tablePath(dir, 1), filepath.Join(dir, "00009.mem")}
	for _, name := range inTheWay[:2] {
		if err := os.Mkdir(name, 0o700); err != nil {
			t.Fatal(err)
		}
	}
	if err := closeSoon(t, s); err != nil {
		t.Errorf("closing it: %v", err)
	}
	if err := os.Mkdir(inTheWay[2], 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := badger.Open(dir); err == nil || !strings.Contains(err.Error(), inTheWay[2]) {
		t.Errorf("opening it says %v, and not that %s is no log", err, inTheWay[2])
	}
	for _, name := range inTheWay {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := open(t, dir).Get(t.Context(), slot.ID); err != nil {
		t.Errorf("the slot, once nothing is in the way: %v", err)
	}
}
