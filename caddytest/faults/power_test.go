//go:build linux

package faults

import (
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const uploaders = 6

// The power is cut again and again, at moments that the seed decides, while
// users upload and the database begins new logs. XMPP_UPLOAD_SEED repeats a
// seed.
func TestNothingIsLostByPowerCut(t *testing.T) {
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			m := newMachine(t, kind)
			rnd := rand.New(rand.NewPCG(seed(t), 0))
			s := newService(t, m.disk)
			s.start()
			load := s.load(rnd.Uint64(), true)
			for range 4 {
				load.await(1 + rnd.IntN(150))
				before := load.stored()
				disk := m.cut()
				after := newService(t, disk)
				after.start()
				after.recall(after.adopt(before), after.adopt(load.asked()))
				after.checkAll()
				t.Logf("%d uploads had got 201 before the cut; %d were there after it", len(before), len(after.stored))
				after.Stop()
				if t.Failed() {
					break
				}
			}
			load.stop()
			s.Stop()
		})
	}
}

// Without the waiting for the disk, the same cuts lose uploads: so the test
// above sees what it is for.
func TestPowerCutLosesWhatIsNotSynced(t *testing.T) {
	requireSentry(t)
	for _, kind := range []string{"ext4", "xfs"} {
		t.Run(kind, func(t *testing.T) {
			m := newMachine(t, kind)
			s := newService(t, m.disk)
			post(t, m.disk, syncCalls).watch(func(call) verdict { return verdict{pretend: true} })
			s.start()
			load := s.load(seed(t), false)
			load.await(100)
			before := load.stored()
			disk := m.cut()
			load.stop()
			s.Stop()
			lost := 0
			for _, u := range before {
				info, err := os.Stat(filepath.Join(disk, "files", u.id()[:2], u.fileName()))
				if err != nil || info.Size() != u.size {
					lost++
				}
			}
			if t.Logf("%d of %d uploads are lost", lost, len(before)); lost == 0 {
				t.Error("nothing is lost without a sync: this way of cutting the power shows nothing")
			}
		})
	}
}

func seed(t *testing.T) uint64 {
	seed := uint64(time.Now().UnixNano())
	if set, err := strconv.ParseUint(os.Getenv("XMPP_UPLOAD_SEED"), 10, 64); err == nil {
		seed = set
	}
	t.Logf("XMPP_UPLOAD_SEED=%d", seed)
	return seed
}

// load is users at work.
type load struct {
	*service
	ended   atomic.Bool
	workers sync.WaitGroup

	mu       sync.Mutex
	answered int      // since await
	slots    []upload // that were granted
	done     []upload // that got 201
}

// load has users upload; if logs is set, others fill the database's logs.
func (s *service) load(seed uint64, logs bool) *load {
	l := &load{service: s}
	s.t.Cleanup(l.stop)
	for i := range uploaders {
		l.workers.Go(func() { l.upload(rand.New(rand.NewPCG(seed, uint64(i)))) })
	}
	if logs {
		l.workers.Go(func() { s.fillLogs(l.ended.Load) })
	}
	return l
}

// upload uploads files of any size, small ones as likely as large ones, to slots
// of which some stay unused.
func (l *load) upload(rnd *rand.Rand) {
	for !l.ended.Load() {
		u := upload{size: 1 + rnd.Int64N(4*mib>>rnd.IntN(20)), seed: rnd.Uint64()}
		slot, err := l.Slot(l.t.Context(), rig.Ask{JID: user, Name: "file.dat", Size: u.size})
		if l.failed(err) {
			return
		}
		u.Slot = slot
		l.mu.Lock()
		l.slots = append(l.slots, u)
		l.mu.Unlock()
		if rnd.IntN(8) == 0 {
			continue
		}
		if l.failed(l.send(u)) {
			return
		}
		l.mu.Lock()
		l.done = append(l.done, u)
		l.answered++
		l.mu.Unlock()
	}
}

func (l *load) failed(err error) bool {
	if err != nil && l.t.Context().Err() == nil {
		l.t.Errorf("under load: %v", err)
	}
	return err != nil
}

// await returns after so many more uploads.
func (l *load) await(n int) {
	l.t.Helper()
	l.mu.Lock()
	l.answered = 0
	l.mu.Unlock()
	deadline := time.Now().Add(rig.Patience)
	for {
		l.mu.Lock()
		answered := l.answered
		l.mu.Unlock()
		if answered >= n {
			return
		}
		if l.t.Failed() || time.Now().After(deadline) {
			l.t.Fatalf("the load has stopped after %d uploads", answered)
		}
		time.Sleep(time.Millisecond)
	}
}

func (l *load) stored() []upload {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.done)
}

func (l *load) asked() []upload {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.slots)
}

func (l *load) stop() {
	l.ended.Store(true)
	l.workers.Wait()
}

// adopt returns uploads to another service as they are to be found here.
func (s *service) adopt(uploads []upload) []upload {
	for i, u := range uploads {
		path := u.Slot.Put[strings.Index(u.Slot.Put, u.id())-1:]
		uploads[i].Slot = rig.Slot{Put: "http://" + s.Addr + path, Get: "http://" + s.Addr + path}
	}
	return uploads
}

// recall makes the book of a service after a power cut: what had got 201 must be
// there. Of the other slots, some are lost; an upload to one that is not may be
// there as a whole.
func (s *service) recall(stored, asked []upload) {
	s.t.Helper()
	s.removeFill()
	s.seed = 1 << 32 // other contents than those before
	s.stored = stored
	there := make(map[string]bool)
	for after := ""; ; {
		var page admin.List
		if err := s.admin(http.MethodGet, "uploads?limit=1000&jid="+user+after, &page); err != nil {
			s.t.Fatal(err)
		}
		for _, u := range page.Uploads {
			there[u.ID] = true
		}
		if page.Next == "" {
			break
		}
		after = "&after=" + page.Next
	}
	known := make(map[string]bool)
	for _, u := range stored {
		known[u.id()] = true
	}
	for _, u := range asked {
		if there[u.id()] && !known[u.id()] {
			s.waiting = append(s.waiting, u)
		}
		delete(there, u.id())
	}
	for id := range there { // granted, and the answer was on its way
		var done admin.Removal
		if err := s.admin(http.MethodDelete, "uploads/"+id, &done); err != nil {
			s.t.Error(err)
		}
	}
}
