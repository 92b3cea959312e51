//go:build linux

package badger_test

import (
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/storetest"
)

// smallDisk mounts a file system of its own, of the given MiB.
func smallDisk(t *testing.T, mib string) string {
	t.Helper()
	dir := t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size="+mib+"m"); err != nil {
		if os.Getenv("XMPP_UPLOAD_E2E") == "required" {
			t.Fatal(err)
		}
		t.Skipf("SKIP: a full disk needs a file system of its own, and mounting one needs root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill leaves no room, and returns a function that gives it back.
func fill(t *testing.T, dir string) (empty func()) {
	t.Helper()
	name := filepath.Join(dir, "filler")
	f, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	block := make([]byte, 64<<10)
	for err == nil {
		_, err = f.Write(block)
	}
	if !errors.Is(err, unix.ENOSPC) {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := os.Remove(name); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAFullDiskRefusesAndLosesNothing(t *testing.T) {
	disk := smallDisk(t, "96")
	dir := filepath.Join(disk, "slots")
	open := func() *badger.Slots {
		s, err := badger.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		return s
	}
	s := open()
	limits := store.Limits{Room: -1}
	before := storetest.NewSlot("a@example.com", 10, 0)
	if err := s.Reserve(t.Context(), before, limits); err != nil {
		t.Fatal(err)
	}

	empty := fill(t, disk)
	if err := s.Reserve(t.Context(), storetest.NewSlot("a@example.com", 10, 1), limits); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("reserve on a full disk: %v", err)
	}
	if _, err := s.Begin(t.Context(), before.ID, storetest.Epoch); err != nil {
		t.Errorf("begin writes nothing, yet: %v", err)
	}
	if _, err := s.Commit(t.Context(), before.ID, store.Result{At: storetest.Epoch}); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("commit on a full disk: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := badger.Open(dir); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("open on a full disk: %v", err)
	}

	empty()
	s = open()
	if _, err := s.Get(t.Context(), before.ID); err != nil {
		t.Errorf("the slot from before: %v", err)
	}
	if err := s.Reserve(t.Context(), storetest.NewSlot("a@example.com", 10, time.Second), limits); err != nil {
		t.Errorf("reserve with room again: %v", err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
}
