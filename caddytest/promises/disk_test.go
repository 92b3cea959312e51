//go:build linux

package promises

import (
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// smallDisk is a file system of 96 MiB, for this test alone.
func smallDisk(t *testing.T) (dir string) {
	t.Helper()
	if os.Geteuid() != 0 {
		rig.Skip(t, "only root can mount a small file system")
	}
	dir = t.TempDir()
	if err := unix.Mount("tmpfs", dir, "tmpfs", 0, "size=96m"); err != nil {
		rig.Skip(t, "no small file system can be mounted: "+err.Error())
	}
	t.Cleanup(func() {
		if err := unix.Unmount(dir, unix.MNT_DETACH); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// fill leaves no more than this of the disk's space; of 0, not a byte.
func fill(t *testing.T, disk string, leave int64) {
	t.Helper()
	f, err := os.OpenFile(filler(disk), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for chunk := int64(mib); chunk > 0; {
		if free := freeSpace(t, disk) - leave; free < chunk && leave > 0 {
			return
		}
		_, err := f.Write(make([]byte, chunk))
		if err != nil && !errors.Is(err, unix.ENOSPC) {
			t.Fatal(err)
		}
		if err != nil {
			chunk /= 2
		}
	}
}

// settle waits until the database has nothing to write any more. Nothing helps
// against a program that takes the room while it is writing a table.
func settle(t *testing.T, disk string) {
	t.Helper()
	last, same := int64(-1), 0
	rig.Await(t, "a quiet disk", func() bool {
		free := freeSpace(t, disk)
		if same++; free != last {
			last, same = free, 0
		}
		return same > 50
	})
}

func filler(disk string) string { return filepath.Join(disk, "filler") }

func makeRoom(t *testing.T, disk string) {
	t.Helper()
	if err := os.Remove(filler(disk)); err != nil {
		t.Fatal(err)
	}
}

func freeSpace(t *testing.T, disk string) int64 {
	t.Helper()
	var st unix.Statfs_t
	if err := unix.Statfs(disk, &st); err != nil {
		t.Fatal(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// onSmallDisks is a service whose stores are on small disks: one for both, or
// one each.
func onSmallDisks(t *testing.T, disks int) (s *service, slotsDisk, filesDisk string) {
	t.Helper()
	slotsDisk = smallDisk(t)
	if filesDisk = slotsDisk; disks == 2 {
		filesDisk = smallDisk(t)
	}
	s = newService(t)
	s.slots, s.files = filepath.Join(slotsDisk, "slots"), filepath.Join(filesDisk, "files")
	return s, slotsDisk, filesDisk
}

// work has users ask, upload and download until it is stopped. They get what
// they ask for, or are told of the full disk.
func (s *service) work() (stop func()) {
	var ended atomic.Bool
	var users sync.WaitGroup
	for i := range 8 {
		users.Go(func() {
			for n := uint64(0); !ended.Load(); n++ {
				u, err := s.ask(user, 64*kib, uint64(i)<<32+n)
				if err == nil {
					err = s.send(u)
				}
				if err == nil {
					err = s.served(u)
				}
				if code := status(err); code != http.StatusOK && code != http.StatusInsufficientStorage {
					s.t.Errorf("while the disk fills: %v", err)
					return
				}
			}
		})
	}
	return func() { ended.Store(true); users.Wait() }
}

// manySlots has users take slots with long names until they are stopped.
func (s *service) manySlots() (stop func(), granted func() int64) {
	var ended atomic.Bool
	var slots atomic.Int64
	var users sync.WaitGroup
	for i := range 16 {
		users.Go(func() {
			for n := 0; !ended.Load(); n++ {
				ask := rig.Ask{JID: fmt.Sprintf("user%d@example.com", i), Name: longName(), Size: 1}
				_, err := s.Slot(s.t.Context(), ask)
				switch code := status(err); code {
				case http.StatusOK:
					slots.Add(1)
				case http.StatusInsufficientStorage:
				default:
					s.t.Errorf("while the disk fills: a slot was answered with %d", code)
					return
				}
			}
		})
	}
	return func() { ended.Store(true); users.Wait() }, slots.Load
}

// longName cannot be compressed.
func longName() string {
	var name strings.Builder
	for range 9 {
		name.WriteString(rand.Text())
	}
	return name.String()
}
