//go:build linux

package faults

import (
	"errors"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// The disk under the slots refuses writes for a while: the kernel forgets what
// it could not write, and a later flush succeeds without it. What gets 201 after
// that survives a power cut nevertheless.
func TestUploadsAfterAFailedFlushSurvive(t *testing.T) {
	m := newMachine(t, "ext4")
	files := t.TempDir()
	s := newService(t, linked(t, m.disk, files))
	s.shardsThere()
	s.start()
	for range 4 {
		s.mustSend(s.mustAsk(kib))
	}
	unix.Sync()

	m.refuseWrites()
	failed := 0
	for range 100 {
		u := s.mustAsk(kib)
		if err := s.send(u); err == nil {
			s.nowStored(u)
		} else if failed++; status(err) != http.StatusInternalServerError && status(err) != http.StatusInsufficientStorage {
			t.Fatal(err)
		}
	}
	m.takeWrites()
	before := len(s.stored)
	rig.Await(t, "an upload after the disk takes writes again", func() bool {
		u := s.mustAsk(kib)
		err := s.send(u)
		if err == nil {
			s.nowStored(u)
		}
		return err == nil
	})
	for range 10 {
		s.mustSend(s.mustAsk(kib))
	}
	t.Logf("%d uploads failed; %d got 201 before, %d after it", failed, before, len(s.stored)-before)
	if failed == 0 {
		t.Fatal("no flush has failed")
	}

	disk := m.cut()
	copied := t.TempDir()
	if output, err := exec.Command("cp", "-a", files+"/.", copied).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, output)
	}
	after := newService(t, linked(t, disk, copied))
	after.start()
	lost := 0
	for _, u := range after.adopt(s.stored) {
		if err := after.served(u); err != nil {
			lost++
		}
	}
	if lost > 0 {
		t.Errorf("%d of %d uploads that got 201 are lost", lost, len(s.stored))
	}
}

// linked returns a directory for stores whose slots are on one disk and whose
// files are in another directory.
func linked(t *testing.T, disk, files string) string {
	t.Helper()
	dir := t.TempDir()
	slots := filepath.Join(disk, "slots")
	err := os.MkdirAll(slots, 0o700)
	err = errors.Join(err, os.Symlink(slots, filepath.Join(dir, "slots")), os.Symlink(files, filepath.Join(dir, "files")))
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// refuseWrites makes writes to the disk fail where it has none yet: there is no
// room for its image to grow.
func (m *machine) refuseWrites() {
	m.t.Helper()
	unix.Sync()
	f, err := os.Create(m.filler())
	if err != nil {
		m.t.Fatal(err)
	}
	defer f.Close()
	for chunk := int64(64 << 20); chunk >= 4<<10; {
		info, err := f.Stat()
		if err != nil {
			m.t.Fatal(err)
		}
		if unix.Fallocate(int(f.Fd()), 0, info.Size(), chunk) != nil {
			chunk /= 2
		}
	}
}

func (m *machine) takeWrites() {
	m.t.Helper()
	if err := os.Remove(m.filler()); err != nil {
		m.t.Fatal(err)
	}
	unix.Sync()
}

func (m *machine) filler() string { return filepath.Join(m.outer, "filler") }
