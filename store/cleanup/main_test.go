package cleanup_test

import (
	"bytes"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Libraries start these once and for good.
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
	)
}

// start is when all of a test began; clean-ups run at times after it.
var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

const (
	putTimeout = time.Minute
	keep       = time.Hour
	size       = 1000 // of every file
)

// pair is a pair of the embedded stores.
type pair struct {
	t     *testing.T
	dir   string
	slots *badger.Slots
	files *disk.Files
	// under holds the uploads that were begun, by the ID of their slot.
	under map[string]store.Upload
}

func newPair(t *testing.T) *pair {
	t.Helper()
	p := &pair{t: t, dir: t.TempDir(), under: make(map[string]store.Upload)}
	p.open()
	t.Cleanup(p.close)
	return p
}

func (p *pair) open() {
	p.t.Helper()
	var err error
	p.slots, err = badger.Open(filepath.Join(p.dir, "slots"))
	p.check(err)
	p.files, err = disk.Open(filepath.Join(p.dir, "files"), false)
	p.check(err)
}

func (p *pair) close() {
	p.t.Helper()
	p.check(p.slots.Close())
	p.check(p.files.Close())
}

// crash ends all uploads in flight, as the death of the process does.
func (p *pair) crash() {
	p.t.Helper()
	p.close()
	p.open()
}

func (p *pair) check(err error) {
	p.t.Helper()
	if err != nil {
		p.t.Fatal(err)
	}
}

// The steps of an upload.
type step int

const (
	reserved step = iota
	begun
	created
	written // all bytes on the disk
	committed
	published
)

// upload brings a slot that was reserved at a time as far as the step.
func (p *pair) upload(at time.Time, last step) store.Slot {
	p.t.Helper()
	return p.uploadTo(at, last, keep)
}

// uploadKept publishes a file that is kept as long.
func (p *pair) uploadKept(at time.Time, keep time.Duration) store.Slot {
	p.t.Helper()
	return p.uploadTo(at, published, keep)
}

func (p *pair) uploadTo(at time.Time, last step, keep time.Duration) store.Slot {
	p.t.Helper()
	ctx := p.t.Context()
	slot := store.Slot{
		ID: store.NewID(at), JID: "me@example.com", Name: "a.txt", URLName: "a.txt", Size: size,
		Reserved: at, Deadline: at.Add(putTimeout),
	}
	p.check(p.slots.Reserve(ctx, slot, store.Limits{Room: -1}))
	if last >= begun {
		_, err := p.slots.Begin(ctx, slot.ID, at)
		p.check(err)
	}
	if last < created {
		return slot
	}
	ref := slot.File()
	ref.Attempt = store.NewAttempt()
	file := p.write(ref, last >= written)
	p.under[slot.ID] = file
	if last >= committed {
		var err error
		slot, err = p.slots.Commit(ctx, slot.ID, store.Result{ContentType: "text/plain", Attempt: ref.Attempt, At: at, Expires: at.Add(keep)})
		p.check(err)
	}
	if last == published {
		p.check(file.Publish(ctx))
	}
	return slot
}

// write writes half of a file, or all of it.
func (p *pair) write(ref store.FileRef, whole bool) store.Upload {
	p.t.Helper()
	file, err := p.files.Create(p.t.Context(), ref, size)
	p.check(err)
	n := size / 2
	if whole {
		n = size
	}
	_, err = file.Write(bytes.Repeat([]byte("x"), n))
	p.check(err)
	if whole {
		p.check(file.Commit(p.t.Context()))
	}
	return file
}

// orphan publishes a file that no slot names, and returns its path.
func (p *pair) orphan() string {
	p.t.Helper()
	ref := store.FileRef{ID: store.NewID(start), Name: "a.txt", Attempt: store.NewAttempt()}
	p.check(p.write(ref, true).Publish(p.t.Context()))
	return p.files.Path(ref)
}

func (p *pair) cleaner() *cleanup.Cleaner {
	return &cleanup.Cleaner{Slots: p.slots, Files: p.files}
}

// removals notes what a hook is told.
type removals struct {
	mu  sync.Mutex
	all map[string][]cleanup.Reason // by ID
}

func (r *removals) note(slot store.Slot, reason cleanup.Reason) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.all == nil {
		r.all = make(map[string][]cleanup.Reason)
	}
	r.all[slot.ID] = append(r.all[slot.ID], reason)
}

// expect expects that of each slot one removal was told, with this reason.
func (r *removals) expect(t *testing.T, want map[string]cleanup.Reason) {
	t.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	for id, reason := range want {
		if !slices.Equal(r.all[id], []cleanup.Reason{reason}) {
			t.Errorf("told of the removal of %s: %q, want %q once", id, r.all[id], reason)
		}
	}
	if len(r.all) != len(want) {
		t.Errorf("told of %d removals, want %d", len(r.all), len(want))
	}
}

// counts returns how many slots and how many files there are, whatever their
// state.
func (p *pair) counts() (slots, files int) {
	p.t.Helper()
	page, err := p.slots.List(p.t.Context(), store.Query{Limit: 1 << 20})
	p.check(err)
	for after := ""; ; {
		list, next, err := p.files.List(p.t.Context(), after, 1000)
		p.check(err)
		if files += len(list); next == "" {
			return len(page.Slots), files
		}
		after = next
	}
}

func (p *pair) expectCounts(slots, files int) {
	p.t.Helper()
	if s, f := p.counts(); s != slots || f != files {
		p.t.Errorf("%d slots and %d files are there, want %d and %d", s, f, slots, files)
	}
}

// used returns the bytes that the JID of all slots has stored, and those that
// its slots hold.
func (p *pair) used(now time.Time) (stored, waiting int64) {
	p.t.Helper()
	u, err := p.slots.Usage(p.t.Context(), "me@example.com", quota.Limits{}, now)
	p.check(err)
	return u.StoredBytes, u.WaitingBytes
}
