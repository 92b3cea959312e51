//go:build linux

package badger_test

import (
	"bytes"
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

func TestAStoreCanBeClosedByAProcessWithTooManyOpenFiles(t *testing.T) {
	dir := t.TempDir()
	s, err := badger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	slot := storetest.NewSlot("a@example.com", 10, 0)
	if err := s.Reserve(t.Context(), slot, store.Limits{Room: -1}); err != nil {
		t.Fatal(err)
	}
	var normal unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_NOFILE, &normal); err != nil {
		t.Fatal(err)
	}
	limit := func(r unix.Rlimit) {
		t.Helper()
		if err := unix.Setrlimit(unix.RLIMIT_NOFILE, &r); err != nil {
			t.Fatal(err)
		}
	}
	limit(unix.Rlimit{Cur: 3, Max: normal.Max})
	defer limit(normal)
	if err := closeSoon(t, s); !errors.Is(err, unix.EMFILE) {
		t.Errorf("closing it: %v", err)
	}
	if _, err := badger.Open(dir); !errors.Is(err, unix.EMFILE) {
		t.Errorf("opening it: %v", err)
	}
	limit(normal)
	if _, err := open(t, dir).Get(t.Context(), slot.ID); err != nil {
		t.Errorf("the slot, with fewer open files: %v", err)
	}
}

func TestAFullDiskRefusesARestoreAndKeepsNothingOfIt(t *testing.T) {
	disk := smallDisk(t, "96")
	s := open(t, t.TempDir())
	if err := upload(t.Context(), s, storetest.NewSlot("a@example.com", 1, 0)); err != nil {
		t.Fatal(err)
	}
	whole := backup(t, s)
	dir := filepath.Join(disk, "slots")
	if err := os.WriteFile(filepath.Join(disk, "filler"), make([]byte, 60<<20), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := badger.Restore(dir, bytes.NewReader(whole)); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("restore with too little room: %v", err)
	}
	if names, _ := filepath.Glob(dir + "*"); len(names) > 0 {
		t.Errorf("%v is left", names)
	}
	if err := os.Remove(filepath.Join(disk, "filler")); err != nil {
		t.Fatal(err)
	}
	restore(t, dir, whole)
	if totals, err := open(t, dir).Totals(t.Context(), storetest.Epoch); err != nil || totals.StoredFiles != 1 {
		t.Errorf("restored with room: %+v, %v", totals, err)
	}
}
