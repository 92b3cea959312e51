package cleanup_test

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// path is where the slot's published file lies.
func (p *pair) path(slot store.Slot) string {
	return filepath.Join(p.dir, "files", filepath.FromSlash(p.files.Path(slot.File())))
}

// partPath is where its bytes lie before.
func (p *pair) partPath(slot store.Slot) string {
	p.t.Helper()
	parts, err := filepath.Glob(filepath.Join(filepath.Dir(p.path(slot)), "."+slot.ID+".*.part"))
	p.check(err)
	if len(parts) != 1 {
		p.t.Fatalf("parts of %s: %q", slot.ID, parts)
	}
	return parts[0]
}

// rel is what a listing calls the file at the path.
func (p *pair) rel(path string) string {
	p.t.Helper()
	rel, err := filepath.Rel(filepath.Join(p.dir, "files"), path)
	p.check(err)
	return filepath.ToSlash(rel)
}

func (p *pair) makeFile(path string) {
	p.t.Helper()
	p.check(os.MkdirAll(filepath.Dir(path), 0o755))
	p.check(os.WriteFile(path, []byte("x"), 0o600))
}

// damage is done to a pair that has one upload besides. It returns what is to be
// found and how many slots and files are left of it by a repair.
type damage func(p *pair) (found cleanup.Verification, slots, files int)

var damages = []struct {
	name string
	do   damage
}{
	{"none", func(p *pair) (cleanup.Verification, int, int) {
		p.upload(start, reserved)
		p.upload(start, published)
		return cleanup.Verification{Slots: 1, Files: 1}, 2, 1
	}},
	{"a file was removed", func(p *pair) (cleanup.Verification, int, int) {
		slot := p.upload(start, published)
		p.check(os.Remove(p.path(slot)))
		return cleanup.Verification{Slots: 1, Missing: []string{slot.ID}, Repaired: 1}, 0, 0
	}},
	{"a directory has taken a file's place", func(p *pair) (cleanup.Verification, int, int) {
		slot := p.upload(start, published)
		p.check(os.Remove(p.path(slot)))
		p.check(os.Mkdir(p.path(slot), 0o755))
		return cleanup.Verification{Slots: 1, Missing: []string{slot.ID}, Repaired: 1}, 0, 0
	}},
	{"a file was cut off", func(p *pair) (cleanup.Verification, int, int) {
		slot := p.upload(start, published)
		p.check(os.Truncate(p.path(slot), size-1))
		return cleanup.Verification{Slots: 1, Files: 1, WrongSize: []string{slot.ID}, Repaired: 1}, 0, 0
	}},
	{"a file is empty", func(p *pair) (cleanup.Verification, int, int) {
		slot := p.upload(start, published)
		p.check(os.Truncate(p.path(slot), 0))
		return cleanup.Verification{Slots: 1, Files: 1, WrongSize: []string{slot.ID}, Repaired: 1}, 0, 0
	}},
	{"a file has grown", func(p *pair) (cleanup.Verification, int, int) {
		slot := p.upload(start, published)
		p.check(os.Truncate(p.path(slot), size+1))
		return cleanup.Verification{Slots: 1, Files: 1, WrongSize: []string{slot.ID}, Repaired: 1}, 0, 0
	}},
	{"a file without a slot", func(p *pair) (cleanup.Verification, int, int) {
		return cleanup.Verification{Files: 1, Orphaned: []string{p.orphan()}, Repaired: 1}, 0, 0
	}},
	{"a file of a slot that waits", func(p *pair) (cleanup.Verification, int, int) {
		slot := p.upload(start, reserved)
		p.makeFile(p.path(slot))
		return cleanup.Verification{Files: 1, Orphaned: []string{p.files.Path(slot.File())}, Repaired: 1}, 1, 0
	}},
	{"a copy beside a file", func(p *pair) (cleanup.Verification, int, int) {
		slot := p.upload(start, published)
		p.makeFile(p.path(slot) + ".bak")
		return cleanup.Verification{Slots: 1, Files: 2, Orphaned: []string{p.files.Path(slot.File()) + ".bak"}, Repaired: 1}, 1, 1
	}},
	{"part of an upload that died", func(p *pair) (cleanup.Verification, int, int) {
		slot := p.upload(start, created)
		part := p.rel(p.partPath(slot))
		p.crash()
		return cleanup.Verification{Files: 1, Orphaned: []string{part}, Repaired: 1}, 1, 0
	}},
	{"another part of an upload", func(p *pair) (cleanup.Verification, int, int) {
		slot := p.upload(start, published)
		p.write(store.FileRef{ID: slot.ID, Name: slot.URLName, Attempt: store.NewAttempt()}, true)
		part := p.rel(p.partPath(slot))
		p.crash()
		return cleanup.Verification{Slots: 1, Files: 2, Orphaned: []string{part}, Repaired: 1}, 1, 1
	}},
	{"a committed upload that died", func(p *pair) (cleanup.Verification, int, int) {
		p.upload(start, committed)
		p.crash()
		return cleanup.Verification{Slots: 1, Files: 1}, 1, 1 // whoever opens it publishes it
	}},
	{"a committed upload that died and was cut off", func(p *pair) (cleanup.Verification, int, int) {
		slot := p.upload(start, committed)
		p.check(os.Truncate(p.partPath(slot), size-1))
		p.crash()
		return cleanup.Verification{Slots: 1, Files: 1, WrongSize: []string{slot.ID}, Repaired: 1}, 0, 0
	}},
	{"a committed upload that died and whose part is gone", func(p *pair) (cleanup.Verification, int, int) {
		slot := p.upload(start, committed)
		p.check(os.Remove(p.partPath(slot)))
		p.crash()
		return cleanup.Verification{Slots: 1, Missing: []string{slot.ID}, Repaired: 1}, 0, 0
	}},
	{"an expired upload that is there still", func(p *pair) (cleanup.Verification, int, int) {
		p.upload(start.Add(-late), published)
		return cleanup.Verification{Slots: 1, Files: 1}, 1, 1
	}},
	{"what is not ours", func(p *pair) (cleanup.Verification, int, int) {
		slot := p.upload(start, published)
		p.makeFile(p.path(slot) + "~")
		p.makeFile(filepath.Join(filepath.Dir(p.path(slot)), "README"))
		p.makeFile(filepath.Join(p.dir, "files", "lost+found", "a"))
		p.makeFile(filepath.Join(p.dir, "files", "no", filepath.Base(p.path(slot))))
		p.check(os.Symlink("/etc/passwd", filepath.Join(filepath.Dir(p.path(slot)), store.NewID(start)+"-a.txt")))
		return cleanup.Verification{Slots: 1, Files: 1}, 1, 1
	}},
}

func TestVerify(t *testing.T) {
	for _, tc := range damages {
		t.Run(tc.name, func(t *testing.T) { verifyAll(t, tc.do) })
	}
}

func TestVerifyFindsAllOfAMixtureOfDamages(t *testing.T) {
	for seed := range uint64(5) {
		random := rand.New(rand.NewPCG(seed, 0))
		mixture := make([]damage, 20)
		for i := range mixture {
			mixture[i] = damages[random.IntN(len(damages))].do
		}
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) { verifyAll(t, mixture...) })
	}
}

// verifyAll finds and repairs damages, with restarts in between.
func verifyAll(t *testing.T, damages ...damage) {
	p := newPair(t)
	p.upload(start, published)
	var want cleanup.Verification
	slots, files := 1, 1
	for _, do := range damages {
		found, s, f := do(p)
		want.Slots, want.Files, want.Repaired = want.Slots+found.Slots, want.Files+found.Files, want.Repaired+found.Repaired
		want.Missing = append(want.Missing, found.Missing...)
		want.Orphaned = append(want.Orphaned, found.Orphaned...)
		want.WrongSize = append(want.WrongSize, found.WrongSize...)
		slots, files = slots+s, files+f
	}
	p.verify(want, false)
	p.crash()
	p.verify(want, false)
	p.verify(want, true)
	p.expectCounts(slots, files)
	p.expectAccounts()
	p.crash()
	p.expectAccounts()
	p.verify(cleanup.Verification{Slots: want.Slots - int64(len(want.Missing)+len(want.WrongSize)), Files: int64(files - 1)}, false)
	p.expectCounts(slots, files)
}

// verify expects what is to be found besides one upload. A repair tells of each
// removed upload.
func (p *pair) verify(want cleanup.Verification, repair bool) {
	p.t.Helper()
	var told removals
	reasons := make(map[string]cleanup.Reason)
	if repair {
		for _, id := range want.Missing {
			reasons[id] = cleanup.Missing
		}
		for _, id := range want.WrongSize {
			reasons[id] = cleanup.Damaged
		}
	}
	c := p.cleaner()
	c.Removed = told.note
	got, err := c.Verify(p.t.Context(), start.Add(time.Second), repair, nil)
	if err != nil {
		p.t.Errorf("Verify(%v) = %v", repair, err)
	}
	p.expectFound(got, want, repair)
	told.expect(p.t, reasons)
}

func (p *pair) expectFound(got, want cleanup.Verification, repair bool) {
	p.t.Helper()
	for _, list := range [][]string{got.Missing, got.Orphaned, got.WrongSize, want.Missing, want.Orphaned, want.WrongSize} {
		slices.Sort(list)
	}
	if !slices.Equal(got.Missing, want.Missing) || !slices.Equal(got.Orphaned, want.Orphaned) || !slices.Equal(got.WrongSize, want.WrongSize) {
		p.t.Errorf("Verify(%v) = %+v, want %+v", repair, got, want)
	}
	if got.Slots != want.Slots+1 || got.Files != want.Files+1 {
		p.t.Errorf("Verify(%v) looked at %d slots and %d files, want %d and %d besides one", repair, got.Slots, got.Files, want.Slots, want.Files)
	}
	if repair && got.Repaired != want.Repaired || !repair && got.Repaired != 0 {
		p.t.Errorf("Verify(%v) repaired %d, want %d", repair, got.Repaired, want.Repaired)
	}
}

// expectAccounts expects the account of the JID and the totals to be what the
// slots add up to.
func (p *pair) expectAccounts() {
	p.t.Helper()
	page, err := p.slots.List(p.t.Context(), store.Query{Limit: 1000})
	p.check(err)
	var want store.Totals
	for _, slot := range page.Slots {
		if slot.State == store.Uploaded {
			want.StoredFiles++
			want.StoredBytes += slot.Size
		} else {
			want.WaitingSlots++
			want.WaitingBytes += slot.Size
		}
	}
	if got, err := p.slots.Totals(p.t.Context(), start.Add(time.Second)); err != nil || got != want {
		p.t.Errorf("totals are %+v, %v, want %+v", got, err, want)
	}
	if stored, waiting := p.used(start.Add(time.Second)); stored != want.StoredBytes || waiting != want.WaitingBytes {
		p.t.Errorf("%d bytes stored and %d waiting, want %d and %d", stored, waiting, want.StoredBytes, want.WaitingBytes)
	}
}

func TestARepairPublishesWhatACrashKeptFromIt(t *testing.T) {
	p := newPair(t)
	p.upload(start, published)
	slot := p.upload(start, committed)
	p.crash()
	p.verify(cleanup.Verification{Slots: 1, Files: 1, Repaired: 1}, true)
	if _, err := os.Stat(p.path(slot)); err != nil {
		t.Error(err)
	}
	p.verify(cleanup.Verification{Slots: 1, Files: 1}, true)
}

func TestVerifyDoesNotTouchUploadsInProgress(t *testing.T) {
	for _, last := range []step{reserved, begun, created, written, committed} {
		p := newPair(t)
		p.upload(start, published)
		slot := p.upload(start, last)
		got, err := p.cleaner().Verify(t.Context(), start.Add(late), true, nil)
		if err != nil || len(got.Missing)+len(got.Orphaned)+len(got.WrongSize) > 0 || got.Repaired != 0 {
			t.Errorf("Verify() during step %d = %+v, %v", last, got, err)
		}
		if file := p.under[slot.ID]; last == committed {
			p.check(file.Publish(t.Context()))
			p.expectCounts(2, 2)
		}
	}
}

func TestARepairThatSeesNoFilesRemovesNothing(t *testing.T) {
	p := newPair(t)
	p.missing(33)
	for _, repair := range []bool{false, true} {
		got, err := p.cleaner().Verify(t.Context(), start.Add(putTimeout), repair, nil)
		if len(got.Missing) != 33 || got.Repaired != 0 || errors.Is(err, cleanup.ErrNoFiles) != repair || !repair && err != nil {
			t.Errorf("Verify(%v) = %+v, %v", repair, got, err)
		}
	}
	p.expectCounts(33, 0)
}

func TestARepairThatSeesNoSlotsRemovesNothing(t *testing.T) {
	p := newPair(t)
	p.orphan()
	p.orphan()
	for _, repair := range []bool{false, true} {
		got, err := p.cleaner().Verify(t.Context(), start.Add(putTimeout), repair, nil)
		if len(got.Orphaned) != 2 || got.Repaired != 0 || errors.Is(err, cleanup.ErrNoSlots) != repair || !repair && err != nil {
			t.Errorf("Verify(%v) = %+v, %v", repair, got, err)
		}
	}
	p.expectCounts(0, 2)
}

func TestVerifyNamesAFileThatCannotBeOpened(t *testing.T) {
	p := newPair(t)
	missing := p.upload(start, published)
	bad := p.upload(start, published)
	p.remove(missing)
	c := p.cleaner()
	c.Files = &troubled{Files: p.files, fails: func(ref store.FileRef) bool { return ref.ID == bad.ID }}
	for _, repair := range []bool{false, true} {
		got, err := c.Verify(t.Context(), start.Add(putTimeout), repair, nil)
		if !errors.Is(err, errTrouble) || !slices.Equal(got.Missing, []string{missing.ID}) || len(got.WrongSize) > 0 {
			t.Errorf("Verify(%v) = %+v, %v", repair, got, err)
		}
	}
	p.expectCounts(1, 1)
}

func TestProgressOfAVerification(t *testing.T) {
	p := newPair(t)
	for range 100 {
		p.upload(start, published)
		p.orphan()
		p.orphan()
		p.orphan()
	}
	for range 2 {
		told := &progress{t: t}
		if _, err := p.cleaner().Verify(t.Context(), start.Add(putTimeout), true, told.tell); err != nil {
			t.Fatal(err)
		}
		told.expectEnd()
	}
}

func TestACanceledVerificationStops(t *testing.T) {
	p := newPair(t)
	for range 300 {
		p.upload(start, published)
	}
	ctx, cancel := context.WithCancel(t.Context())
	got, err := p.cleaner().Verify(ctx, start.Add(putTimeout), true, func(done, _ int64) { cancel() })
	if !errors.Is(err, context.Canceled) || got.Files == 0 || got.Slots > 0 || len(got.Missing) > 0 {
		t.Errorf("Verify() = %+v, %v", got, err)
	}
	p.expectCounts(300, 300)
}
