package storetest

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// Pair is a store of slots and the store of their files.
type Pair struct {
	Slots store.Slots
	Files store.Files
}

// OpenPair opens an empty pair of stores. Calling reopen ends both, whatever is
// under way, as the death of their process would, and opens them again.
type OpenPair func(t *testing.T) (p Pair, reopen func() Pair)

// content is what the uploads of these tests hold.
var content = bytes.Repeat([]byte("content "), 1000)

// life is one upload from its slot to its removal, in steps between which its
// process may die.
type life struct {
	slot    store.Slot
	attempt string
	upload  store.Upload
}

func newLife() *life {
	slot := NewSlot("a@example.com", int64(len(content)), 0)
	return &life{slot: slot, attempt: store.NewAttempt()}
}

func (l *life) ref() store.FileRef {
	return store.FileRef{ID: l.slot.ID, Name: l.slot.URLName, Attempt: l.attempt}
}

// step is one of them, and what a clean-up after a crash behind it must leave.
type step struct {
	name string
	do   func(t *testing.T, p Pair, l *life) error
	// usable: the slot takes another upload. stored: the file is served.
	usable, stored bool
}

var steps = []step{
	{"the slot is reserved", func(t *testing.T, p Pair, l *life) error {
		return p.Slots.Reserve(t.Context(), l.slot, free)
	}, true, false},
	{"the upload has begun", func(t *testing.T, p Pair, l *life) error {
		return second(p.Slots.Begin(t.Context(), l.slot.ID, Epoch))
	}, true, false},
	{"the file is created", func(t *testing.T, p Pair, l *life) (err error) {
		l.upload, err = p.Files.Create(t.Context(), l.ref(), l.slot.Size)
		return err
	}, true, false},
	{"half of it is written", func(_ *testing.T, _ Pair, l *life) error {
		return second(l.upload.Write(content[:len(content)/2]))
	}, true, false},
	{"all of it is written", func(_ *testing.T, _ Pair, l *life) error {
		return second(l.upload.Write(content[len(content)/2:]))
	}, true, false},
	{"the file is committed", func(t *testing.T, _ Pair, l *life) error {
		return l.upload.Commit(t.Context())
	}, true, false},
	{"the slot is committed", func(t *testing.T, p Pair, l *life) error {
		return second(p.Slots.Commit(t.Context(), l.slot.ID, store.Result{Attempt: l.attempt, At: Epoch, Expires: Epoch.Add(time.Hour)}))
	}, false, true},
	{"the file is published", func(t *testing.T, _ Pair, l *life) error {
		return l.upload.Publish(t.Context())
	}, false, true},
	{"the file is deleted", func(t *testing.T, p Pair, l *life) error {
		return p.Files.Delete(t.Context(), l.ref())
	}, false, false},
	{"the slot is deleted", func(t *testing.T, p Pair, l *life) error {
		return second(p.Slots.Delete(t.Context(), l.slot.ID, Epoch))
	}, false, false},
}

// Stores runs every test that a pair of stores must pass together.
func Stores(t *testing.T, open OpenPair) {
	for i, last := range steps {
		t.Run("a crash after "+last.name, func(t *testing.T) { crashAfter(t, open, steps[:i+1]) })
	}
	for i, last := range steps[:stepsToPublish] {
		t.Run("a removal after "+last.name, func(t *testing.T) { removeAfter(t, open, steps[:i+1], steps[i+1:stepsToPublish]) })
	}
	t.Run("of two racing uploads the winner's bytes are served", func(t *testing.T) { racingUploads(t, open) })
}

// stepsToPublish are those of a handler, without the removal.
const stepsToPublish = 8

// removeAfter removes an upload of which some steps are done. Those that are
// left find it gone, sooner or later, and a clean-up finds nothing to do.
func removeAfter(t *testing.T, open OpenPair, done, left []step) {
	p, reopen := open(t)
	other := reserve(t, p.Slots, NewSlot("b@example.com", int64(len(content)), 0))
	if err := put(t, p, other.ID, store.NewAttempt(), content); err != nil {
		t.Fatal(err)
	}
	l := newLife()
	for _, s := range done {
		if err := s.do(t, p, l); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	cleaner := cleanup.Cleaner{Slots: p.Slots, Files: p.Files}
	if slot, err := cleaner.Remove(t.Context(), l.slot.ID, Epoch, cleanup.Deleted); err != nil || slot.ID != l.slot.ID {
		t.Fatalf("Remove() = %+v, %v", slot, err)
	}
	var failed error
	for _, s := range left {
		if failed = s.do(t, p, l); failed != nil {
			break
		}
	}
	if len(left) > 0 && !errors.Is(failed, store.ErrNotFound) {
		t.Errorf("the upload to a removed slot ended with %v", failed)
	}
	if l.upload != nil {
		if err := l.upload.Abort(); err != nil {
			t.Error(err)
		}
	}
	for range 2 {
		expectTotals(t, p.Slots, Epoch.Add(time.Second), store.Totals{StoredFiles: 1, StoredBytes: other.Size})
		expectFiles(t, p, true)
		cleaner = cleanup.Cleaner{Slots: p.Slots, Files: p.Files}
		if r, err := cleaner.Run(t.Context(), Epoch.Add(time.Second)); r != (cleanup.Report{}) || err != nil {
			t.Errorf("Run() = %+v, %v, want nothing to do", r, err)
		}
		p = reopen()
	}
}

func crashAfter(t *testing.T, open OpenPair, steps []step) {
	p, reopen := open(t)
	l := newLife()
	for _, s := range steps {
		if err := s.do(t, p, l); err != nil {
			t.Fatalf("%s: %v", s.name, err)
		}
	}
	p = reopen()
	last := steps[len(steps)-1]

	// Before clean-up and after it, nothing else than this is seen.
	for range 2 {
		if got, err := read(t, p, l.slot.ID); last.stored != (err == nil) || err == nil && !bytes.Equal(got, content) {
			t.Fatalf("%d bytes are served, %v; want the file: %v", len(got), err, last.stored)
		}
		cleaner := cleanup.Cleaner{Slots: p.Slots, Files: p.Files}
		if _, err := cleaner.Run(t.Context(), Epoch.Add(time.Second)); err != nil {
			t.Fatal(err)
		}
	}
	expectFiles(t, p, last.stored)
	var want store.Totals
	switch {
	case last.stored:
		want = store.Totals{StoredFiles: 1, StoredBytes: l.slot.Size}
	case last.usable:
		want = store.Totals{WaitingSlots: 1, WaitingBytes: l.slot.Size}
	}
	expectTotals(t, p.Slots, Epoch.Add(time.Second), want)
	u := usage(t, p.Slots, l.slot.JID, quota.Limits{}, Epoch.Add(time.Second))
	if u.StoredBytes != want.StoredBytes || u.WaitingBytes != want.WaitingBytes {
		t.Errorf("usage is %+v, want %+v", u, want)
	}
	if last.usable {
		if err := put(t, p, l.slot.ID, store.NewAttempt(), content); err != nil {
			t.Errorf("the slot is of no use any more: %v", err)
		}
	}
}

// expectFiles lists the files: all of them must be published.
func expectFiles(t *testing.T, p Pair, one bool) {
	t.Helper()
	files, _, err := p.Files.List(t.Context(), "", 10)
	if err != nil {
		t.Fatal(err)
	}
	if one != (len(files) == 1) || one && !files[0].Published {
		t.Errorf("files are %+v, want a published one: %v", files, one)
	}
}

// read returns what a download of the slot would.
func read(t *testing.T, p Pair, id string) ([]byte, error) {
	t.Helper()
	slot, err := p.Slots.Get(t.Context(), id)
	if err == nil && slot.State != store.Uploaded {
		err = store.ErrNotFound
	}
	if err != nil {
		return nil, err
	}
	f, err := p.Files.Open(t.Context(), slot.File())
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return io.ReadAll(f)
}

// put uploads as a handler would.
func put(t *testing.T, p Pair, id, attempt string, body []byte) (err error) {
	t.Helper()
	slot, err := p.Slots.Begin(t.Context(), id, Epoch)
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, p.Slots.GiveUp(t.Context(), id, Epoch))
		}
	}()
	ref := slot.File()
	ref.Attempt = attempt
	up, err := p.Files.Create(t.Context(), ref, slot.Size)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, up.Abort()) }()
	if _, err := up.Write(body); err != nil {
		return err
	}
	if err := up.Commit(t.Context()); err != nil {
		return err
	}
	if _, err := p.Slots.Commit(t.Context(), id, store.Result{Attempt: attempt, At: Epoch}); err != nil {
		return err
	}
	return up.Publish(t.Context())
}

func racingUploads(t *testing.T, open OpenPair) {
	p, reopen := open(t)
	winners := make(map[string]byte)
	for round := range 20 {
		slot := reserve(t, p.Slots, NewSlot(fmt.Sprint(round, "@example.com"), 1000, 0))
		errs := race(8, func(i int) error {
			return put(t, p, slot.ID, store.NewAttempt(), bytes.Repeat([]byte{byte(i)}, 1000))
		})
		won := 0
		for i, err := range errs {
			if err == nil {
				won++
				winners[slot.ID] = byte(i) //nolint:gosec // one of eight
			} else if !errors.Is(err, store.ErrUsed) {
				t.Fatal(err)
			}
		}
		if won != 1 {
			t.Fatalf("%d uploads to one slot succeeded", won)
		}
	}
	p = reopen()
	for id, winner := range winners {
		if got, err := read(t, p, id); err != nil || !bytes.Equal(got, bytes.Repeat([]byte{winner}, 1000)) {
			t.Errorf("the winner's bytes are not served: %v", err)
		}
	}
	expectTotals(t, p.Slots, Epoch, store.Totals{StoredFiles: 20, StoredBytes: 20_000})
}
