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
			book := &book{}
			for _, moment := range []func(*load){
				func(l *load) { l.await(1 + rnd.IntN(100)) },
				func(l *load) { l.awaitNew("*.mem") },
				func(l *load) { l.awaitNew("*.sst") },
				func(l *load) { l.await(1 + rnd.IntN(100)) },
			} {
				load := s.load(book, rnd.Uint64(), true)
				moment(load)
				before := book.stored()
				disk := m.cut()
				load.stop()
				after := newService(t, disk)
				after.start()
				after.recall(after.adopt(before), after.adopt(book.asked()))
				after.checkAll()
				after.Stop()
				t.Logf("%d uploads had got 201 before the cut", len(before))
				if t.Failed() {
					return
				}
			}
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
			book := &book{}
			load := s.load(book, seed(t), false)
			load.await(100)
			before := book.stored()
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

// book is what users were told.
type book struct {
	mu    sync.Mutex
	slots []upload // that were granted
	done  []upload // that got 201
}

func (b *book) grant(u upload) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.slots = append(b.slots, u)
}

func (b *book) store(u upload) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.done = append(b.done, u)
}

func (b *book) stored() []upload {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.done)
}

func (b *book) asked() []upload {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Clone(b.slots)
}

// load is users at work.
type load struct {
	*service
	*book
	begun   int // uploads that got 201 before
	ended   atomic.Bool
	workers sync.WaitGroup
}

// load has users upload; if logs is set, others fill the database's logs.
func (s *service) load(b *book, seed uint64, logs bool) *load {
	l := &load{service: s, book: b, begun: len(b.stored())}
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
		u := upload{size: 1 + rnd.Int64N(2*mib>>rnd.IntN(20)), seed: rnd.Uint64()}
		slot, err := l.Slot(l.t.Context(), rig.Ask{JID: user, Name: "file.dat", Size: u.size})
		if l.failed(err) {
			return
		}
		u.Slot = slot
		l.grant(u)
		if rnd.IntN(8) == 0 {
			continue
		}
		if l.failed(l.send(u)) {
			return
		}
		l.store(u)
	}
}

func (l *load) failed(err error) bool {
	if err != nil && l.t.Context().Err() == nil {
		l.t.Errorf("under load: %v", err)
	}
	return err != nil
}

// await returns after so many uploads.
func (l *load) await(n int) {
	l.t.Helper()
	deadline := time.Now().Add(rig.Patience)
	for len(l.book.stored()) < l.begun+n {
		if l.t.Failed() || time.Now().After(deadline) {
			l.t.Fatal("the load has stopped")
		}
		time.Sleep(time.Millisecond)
	}
}

// awaitNew returns when the database makes another log, or another table.
func (l *load) awaitNew(pattern string) {
	l.t.Helper()
	newest := func() string {
		names, err := filepath.Glob(filepath.Join(l.slotsDir(), pattern))
		if err != nil {
			l.t.Fatal(err)
		}
		return slices.Max(append(names, ""))
	}
	last := newest()
	deadline := time.Now().Add(rig.Patience)
	for newest() == last {
		if l.t.Failed() || time.Now().After(deadline) {
			l.t.Fatalf("the load makes no new %s", pattern)
		}
		time.Sleep(100 * time.Microsecond)
	}
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
	s.afterCut = true
	there := make(map[string]bool)
	for _, id := range s.list("") {
		there[id] = true
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
		if err := s.API(http.MethodDelete, "uploads/"+id, &done); err != nil {
			s.t.Error(err)
		}
	}
}
