//go:build linux

package promises

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

var roomy = []string{limited, "min_free_space 8MiB", "cleanup_interval 1s"}

func TestFullDisk(t *testing.T) {
	t.Parallel()
	for name, tt := range map[string]struct {
		disks int
		full  func(slots, files string) string
	}{
		"of both stores": {1, func(slots, _ string) string { return slots }},
		"of slots":       {2, func(slots, _ string) string { return slots }},
		"of files":       {2, func(_, files string) string { return files }},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s, slots, files := onSmallDisks(t, tt.disks)
			s.Start(s.site(append(roomy, "allow short.example.org {\nkeep 1s\n}")...))
			s.survivesFullDisk(t, tt.full(slots, files))
		})
	}
}

func (s *service) survivesFullDisk(t *testing.T, disk string) {
	pid := s.PID()
	stored, waiting := s.mustStore(4*mib, 1), s.mustAsk(mib, 2)
	inFlight := s.hold(s.mustAsk(mib, 3), 100*kib)
	short, err := s.ask("user@short.example.org", mib, 4)
	if err != nil {
		t.Fatal(err)
	}

	// The disk fills to its last byte while users are at work.
	stop := s.work()
	fill(t, disk, 0)
	rig.Await(t, "slots to be refused", func() bool {
		_, err := s.ask(user, 1, 5)
		return status(err) == http.StatusInsufficientStorage
	})
	stop()
	fill(t, disk, 0)
	if free := freeSpace(t, disk); free != 0 {
		t.Errorf("%d bytes are free: this test shows nothing", free)
	}
	_, err = s.ask(user, 1, 5)
	s.expectRefused(err, http.StatusInsufficientStorage)
	s.expectRefused(s.send(waiting), http.StatusInsufficientStorage)
	s.expectRefused(s.send(short), http.StatusInsufficientStorage)
	s.expectServed(stored)
	s.expectNotServed(waiting)
	if err := inFlight.finish(); err != nil {
		s.expectRefused(err, http.StatusInsufficientStorage)
	}

	makeRoom(t, disk)
	if err := s.send(waiting); err != nil {
		t.Errorf("when there is space again: %v", err)
	}
	if s.served(inFlight.upload) != nil {
		if err := s.send(inFlight.upload); err != nil {
			t.Errorf("an upload that found the disk full, again: %v", err)
		}
	}
	s.expectServed(stored, waiting, inFlight.upload, s.mustStore(mib, 6))

	// What expires while the disk is full makes room by itself.
	if err := s.send(short); err != nil {
		t.Fatal(err)
	}
	fill(t, disk, 0)
	rig.Await(t, "an expired file to be removed", func() bool { return s.tree()[short.fileName()] == 0 })
	s.expectServed(stored)
	if s.PID() != pid {
		t.Error("Caddy was started anew")
	}

	fill(t, disk, 0)
	s.Stop()
	s.startsWhenThereIsRoom(t, disk, stored)
}

// startsWhenThereIsRoom starts Caddy while the disk is full: it refuses uploads,
// or says what it lacks. It works when there is room.
func (s *service) startsWhenThereIsRoom(t *testing.T, disk string, stored upload) {
	t.Helper()
	fill(t, disk, 0)
	sites := s.site(roomy...)
	before := len(s.Logs())
	s.CloseIdle()
	if err := s.TryStart(sites); err == nil {
		_, err := s.ask(user, 1, 5)
		s.expectRefused(err, http.StatusInsufficientStorage)
		s.expectServed(stored)
		s.Stop()
	} else {
		said := err.Error()
		for _, e := range s.Logs()[before:] {
			said += "\n" + e.Message
		}
		for _, want := range []string{"no space left", disk, "make room"} {
			if !strings.Contains(said, want) {
				t.Errorf("Caddy did not start on a full disk and said, without %q: %s", want, said)
			}
		}
	}
	makeRoom(t, disk)
	s.CloseIdle()
	s.Start(sites)
	s.expectServed(stored, s.mustStore(mib, 7))
}

// Uploads alone, of any number at once, never take what min_free_space keeps.
func TestUploadsLeaveMinFreeSpace(t *testing.T) {
	t.Parallel()
	s, disk, _ := onSmallDisks(t, 1)
	s.Start(s.site(roomy...))
	stop := s.work()
	rig.Await(t, "the disk to be full", func() bool {
		_, err := s.ask(user, mib, 1)
		return status(err) == http.StatusInsufficientStorage
	})
	stop()
	if free := freeSpace(t, disk); free < 7*mib { // Badger's own files take some
		t.Errorf("%d KiB are free, want about the 8 MiB of min_free_space", free/kib)
	}
}

// An upload that no longer fits is refused before its body, and its slot waits
// for better times.
func TestUploadLargerThanSpace(t *testing.T) {
	t.Parallel()
	s, disk, _ := onSmallDisks(t, 1)
	s.Start(s.site(roomy...))
	large := s.mustAsk(20*mib, 1)
	fill(t, disk, 20*mib)
	continued, err := s.putAfter100(large)
	if s.expectRefused(err, http.StatusInsufficientStorage); continued {
		t.Error("the body was wanted though it does not fit")
	}
	s.awaitTree()
	makeRoom(t, disk)
	if err := s.send(large); err != nil {
		t.Error(err)
	}
	s.expectServed(large)
}

// Killed on a full disk, and started there.
func TestKillOnFullDisk(t *testing.T) {
	t.Parallel()
	s, disk, _ := onSmallDisks(t, 1)
	s.Start(s.site(roomy...))
	stored := s.mustStore(mib, 1)
	stop := s.work()
	fill(t, disk, 0)
	stop()
	s.Kill()
	s.startsWhenThereIsRoom(t, disk, stored)
}

// The slots database writes tables by itself, in the background. It must not
// begin what the disk has no room for.
func TestManySlotsOnFullDisk(t *testing.T) {
	t.Parallel()
	s, disk, _ := onSmallDisks(t, 2)
	s.Start(s.site(roomy...))
	stored := s.mustStore(mib, 1)
	for range 3 {
		stop, granted := s.manySlots()
		rig.Await(t, "slots", func() bool { return granted() > 2000 || t.Failed() })
		fill(t, disk, 40*mib)
		refused := func() bool {
			_, err := s.ask(user, 1, 1)
			return status(err) == http.StatusInsufficientStorage || t.Failed()
		}
		rig.Await(t, "slots to be refused", refused)
		settle(t, disk)
		fill(t, disk, 0)
		rig.Await(t, "slots to be refused", refused)
		stop()
		if t.Failed() {
			return
		}
		s.expectServed(stored)
		makeRoom(t, disk)
	}
}

// Ending Caddy writes what the slots database has in memory, be the disk full.
func TestStopOnFullDisk(t *testing.T) {
	t.Parallel()
	s, disk, _ := onSmallDisks(t, 2)
	s.Start(s.site(roomy...))
	stored := s.mustStore(mib, 1)
	stop, granted := s.manySlots()
	rig.Await(t, "slots", func() bool { return granted() > 2000 || t.Failed() })
	stop()
	fill(t, disk, 0)
	s.Stop()
	s.startsWhenThereIsRoom(t, disk, stored)
}

// Slots alone, of any number, never take the last of the disk.
func TestSlotsLeaveRoomForTheDatabase(t *testing.T) {
	t.Parallel()
	s, disk, _ := onSmallDisks(t, 2)
	s.Start(s.site(limited, "min_free_space 0", "cleanup_interval 1s"))
	stored := s.mustStore(mib, 1)
	fill(t, disk, 40*mib) // so that it does not take long
	stop, granted := s.manySlots()
	rig.Await(t, "slots to be refused", func() bool {
		_, err := s.ask(user, 1, 1)
		return status(err) == http.StatusInsufficientStorage || t.Failed()
	})
	stop()
	t.Logf("%d slots, %d MiB free", granted(), freeSpace(t, disk)/mib)
	s.expectServed(stored)
	makeRoom(t, disk)
	s.restart()
	s.expectServed(stored)
}

// A reload on a full disk that drops the handler, and one that brings it back,
// end nothing that cannot be begun again.
func TestReloadOnFullDisk(t *testing.T) {
	t.Parallel()
	s, disk, _ := onSmallDisks(t, 1)
	with, without := s.site(roomy...), "http://"+s.Addr+" {\nrespond gone 410\n}\n"
	s.Start(with)
	stored := s.mustStore(mib, 1)
	fill(t, disk, 0)
	if err := s.Reload(without); err != nil {
		t.Fatal(err)
	}
	if err := s.Reload(with); err == nil {
		s.expectServed(stored)
		_, err := s.ask(user, 1, 2)
		s.expectRefused(err, http.StatusInsufficientStorage)
	} else if !strings.Contains(err.Error(), "no space left") {
		t.Error(err)
	}
	makeRoom(t, disk)
	if err := s.Reload(with); err != nil {
		t.Fatal(err)
	}
	s.expectServed(stored, s.mustStore(mib, 2))
}
