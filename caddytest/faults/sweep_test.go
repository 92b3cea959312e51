//go:build linux

package faults

import (
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// verdicts is what each call meets.
var verdicts = []verdict{
	{errno: unix.ENOSPC}, {errno: unix.EIO}, {errno: unix.EDQUOT}, {errno: unix.EROFS}, {kill: true},
}

// operation is what is under way when a fault comes.
type operation struct {
	name string
	// setUp prepares one of it, do does it.
	setUp, do func(*service)
}

var operations = []operation{
	{"a slot", func(*service) {}, func(s *service) {
		if u, err := s.ask(user, 10*kib); err == nil {
			s.waiting = append(s.waiting, u)
		}
	}},
	{"an upload", func(s *service) { s.mustAsk(10 * kib) }, func(s *service) { s.try(s.waiting[0]) }},
	{"a large upload", func(s *service) { s.mustAsk(2*mib + 1) }, func(s *service) { s.try(s.waiting[0]) }},
	{"a removal", func(s *service) { s.mustSend(s.mustAsk(10 * kib)) }, func(s *service) { s.remove(len(s.stored) - 1) }},
	{"a clean-up", (*service).disorder, func(s *service) {
		var done struct{}
		_ = s.API(http.MethodPost, "cleanup", &done)
	}},
	{"a repair", (*service).disorder, func(s *service) {
		var done struct{}
		_ = s.API(http.MethodPost, "verify?repair=true", &done)
	}},
}

// try uploads, with a fault on the way.
func (s *service) try(u upload) {
	s.t.Helper()
	switch err := s.send(u); status(err) {
	case http.StatusOK:
		s.nowStored(u)
	case 0, http.StatusInternalServerError, http.StatusInsufficientStorage:
	default:
		s.t.Errorf("the answer to a fault is %v", err)
	}
}

// remove removes a stored upload, with a fault on the way: then its file is
// served or gone.
func (s *service) remove(i int) {
	u := s.stored[i]
	s.stored = slices.Delete(s.stored, i, i+1)
	s.gone += u.size
	var done struct{}
	if s.API(http.MethodDelete, "uploads/"+u.id(), &done) != nil {
		s.doubtful = append(s.doubtful, u)
	}
}

// disorder leaves what a crash or a hand might have left: a part file, a file
// without a slot, and a slot without its file.
func (s *service) disorder() {
	s.t.Helper()
	must := func(err error) {
		if err != nil {
			s.t.Fatal(err)
		}
	}
	one, other := s.mustAsk(10*kib), s.mustAsk(10*kib)
	s.mustSend(one)
	s.mustSend(other)
	path := func(u upload) string { return filepath.Join(s.filesDir(), u.id()[:2], u.fileName()) }
	must(os.Remove(path(one)))
	s.stored = append(s.stored[:len(s.stored)-2], other)
	s.gone += one.size
	dir := filepath.Dir(path(other))
	id := other.id()[:2] + store.NewID(time.Now())[2:]
	must(os.WriteFile(filepath.Join(dir, id+"-orphan.dat"), []byte("orphan"), 0o644))
	must(os.WriteFile(filepath.Join(dir, "."+id+"."+store.NewAttempt()+".part"), []byte("part"), 0o644))
	s.halfGone = 1
}

// Each call of each operation that touches the stores fails once, or is the
// last of its process.
func TestEachCallFailsOnce(t *testing.T) {
	requireSentry(t)
	for _, shards := range []bool{false, true} {
		for _, op := range operations {
			name := op.name
			if shards {
				name += " to a directory that is there"
			}
			if shards && op.name != "an upload" {
				continue
			}
			t.Run(name, func(t *testing.T) { sweep(t, op, shards) })
		}
	}
}

func sweep(t *testing.T, op operation, shards bool) {
	s := newService(t, "")
	watcher := post(t, s.stores, diskCalls)
	if shards {
		s.shardsThere()
	}
	s.start()
	s.mustSend(s.mustAskFor(bystander, kib))
	s.check()

	op.setUp(s)
	calls := watcher.record(func() { op.do(s) })
	s.check()
	tried, hits := 0, 0
	for nth := range calls {
		if repeats(calls, nth) {
			continue
		}
		tried++
		for _, v := range verdicts {
			op.setUp(s)
			stop := watcher.strike(nth, anyCall, v)
			op.do(s)
			struck, ok := stop()
			if !ok {
				continue // its directory was open already
			}
			hits++
			if v.kill {
				s.Kill()
				s.start()
			}
			if s.check(); t.Failed() {
				t.Fatalf("after %s of call %d: %s", v, nth, struck)
			}
		}
	}
	if t.Logf("%d calls, %d of them unlike their neighbours, %d faults", len(calls), tried, hits); hits < min(tried, 10) { // a body may come in fewer pieces
		t.Error("too few faults have struck")
	}
	s.checkAll()
}

// repeats reports whether the call is one of a run of equal ones, neither the
// first nor the last of them.
func repeats(calls []call, i int) bool {
	return i > 0 && i < len(calls)-1 && calls[i].String() == calls[i-1].String() && calls[i].String() == calls[i+1].String()
}

// Uploads that finish together share a flush; when it fails, or is the end, it
// is so for all of them.
func TestSharedFlushFails(t *testing.T) {
	requireSentry(t)
	s := newService(t, "")
	watcher := post(t, s.stores, diskCalls)
	s.start()
	s.mustSend(s.mustAskFor(bystander, kib))
	for _, v := range verdicts {
		struck := false
		for range 50 {
			for range 8 {
				s.mustAsk(10 * kib)
			}
			stop := watcher.strike(0, func(c call) bool { return c.name == "syncfs" }, v)
			s.tryAll()
			if _, struck = stop(); struck {
				break
			}
		}
		if !struck {
			rig.Skip(t, "uploads share flushes on ext4 and XFS")
		}
		if v.kill {
			s.Kill()
			s.start()
		}
		if s.check(); t.Failed() {
			t.Fatalf("after %s of a shared flush", v)
		}
	}
	s.checkAll()
}

// tryAll uploads to all waiting slots at once.
func (s *service) tryAll() {
	errs := make([]error, len(s.waiting))
	var group sync.WaitGroup
	for i, u := range s.waiting {
		group.Go(func() { errs[i] = s.send(u) })
	}
	group.Wait()
	for i, u := range slices.Clone(s.waiting) {
		if errs[i] == nil {
			s.nowStored(u)
		}
	}
}
