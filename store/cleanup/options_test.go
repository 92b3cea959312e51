package cleanup_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// mess is one of all that a clean-up may find at late.
type mess struct {
	waiting, unused, live, fresh, expired, missing store.Slot
}

const late = 2 * keep

// makeMess leaves besides these an orphan and what a dead upload has left.
func makeMess(p *pair) (m mess) {
	m.live = p.uploadKept(start, 10*keep)
	m.fresh = p.uploadKept(start.Add(late-putTimeout), keep)
	m.expired = p.upload(start, published)
	m.unused = p.upload(start, reserved)
	m.waiting = p.upload(start.Add(late), reserved)
	m.missing = p.upload(start.Add(late-putTimeout), published)
	p.remove(m.missing)
	p.orphan()
	p.upload(start.Add(late), written)
	p.crash()
	return m
}

func TestOptionsOfACleanUp(t *testing.T) {
	type reasons = map[string]cleanup.Reason
	for _, tc := range []struct {
		name         string
		options      cleanup.Options
		want         cleanup.Report
		told         func(mess) reasons
		slots, files int // that are left of 7 and 5
	}{
		{
			"nothing",
			cleanup.Options{},
			cleanup.Report{},
			func(mess) reasons { return nil }, 7, 5,
		},
		{
			"slots",
			cleanup.Options{Slots: true},
			cleanup.Report{Slots: 1, Missing: 1},
			func(m mess) reasons { return reasons{m.missing.ID: cleanup.Missing} }, 5, 5,
		},
		{
			"files",
			cleanup.Options{Files: true},
			cleanup.Report{Files: 1, Bytes: size, Orphaned: 1, Discarded: 1},
			func(m mess) reasons { return reasons{m.expired.ID: cleanup.Expired} }, 6, 2,
		},
		{
			"both",
			cleanup.Options{Slots: true, Files: true},
			cleanup.Report{Slots: 1, Files: 1, Bytes: size, Orphaned: 1, Discarded: 1, Missing: 1},
			func(m mess) reasons { return reasons{m.expired.ID: cleanup.Expired, m.missing.ID: cleanup.Missing} }, 4, 2,
		},
		{
			"old files",
			cleanup.Options{Files: true, OlderThan: keep},
			cleanup.Report{Files: 2, Bytes: 2 * size, Orphaned: 1, Discarded: 1},
			func(m mess) reasons { return reasons{m.expired.ID: cleanup.Expired, m.live.ID: cleanup.Old} }, 5, 1,
		},
		{
			"files that are just old enough",
			cleanup.Options{Files: true, OlderThan: putTimeout - 1},
			cleanup.Report{Files: 4, Bytes: 4 * size, Orphaned: 1, Discarded: 1},
			func(m mess) reasons {
				return reasons{m.expired.ID: cleanup.Expired, m.live.ID: cleanup.Old, m.fresh.ID: cleanup.Old, m.missing.ID: cleanup.Old}
			}, 3, 0,
		},
		{
			"files that are not old enough yet",
			cleanup.Options{Files: true, OlderThan: late},
			cleanup.Report{Files: 1, Bytes: size, Orphaned: 1, Discarded: 1},
			func(m mess) reasons { return reasons{m.expired.ID: cleanup.Expired} }, 6, 2,
		},
		{
			"no files, though old ones are meant",
			cleanup.Options{Slots: true, OlderThan: keep},
			cleanup.Report{Slots: 1, Missing: 1},
			func(m mess) reasons { return reasons{m.missing.ID: cleanup.Missing} }, 5, 5,
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPair(t)
			m := makeMess(p)
			var told removals
			c := p.cleaner()
			c.Removed = told.note
			if got, err := c.CleanUp(t.Context(), start.Add(late), tc.options, nil); got != tc.want || err != nil {
				t.Errorf("CleanUp() = %+v, %v, want %+v", got, err, tc.want)
			}
			told.expect(t, tc.told(m))
			p.expectCounts(tc.slots, tc.files)
		})
	}
}

func TestOldIsHowLongAgoAFileWasStored(t *testing.T) {
	p := newPair(t)
	slot := p.upload(start, begun)
	ref := store.FileRef{ID: slot.ID, Name: slot.URLName, Attempt: store.NewAttempt()}
	file := p.write(ref, true)
	_, err := p.slots.Commit(t.Context(), slot.ID, store.Result{Attempt: ref.Attempt, At: start.Add(keep)})
	p.check(err)
	p.check(file.Publish(t.Context()))
	for _, tc := range []struct {
		age  time.Duration
		want int64
	}{{keep, 0}, {keep - 1, 1}} {
		got, err := p.cleaner().CleanUp(t.Context(), start.Add(2*keep), cleanup.Options{Files: true, OlderThan: tc.age}, nil)
		if err != nil || got.Files != tc.want {
			t.Errorf("CleanUp() = %+v, %v, want %d files removed", got, err, tc.want)
		}
	}
}

// progress notes what it is told, and expects it never to fall.
type progress struct {
	t           *testing.T
	calls       int
	done, total int64
}

func (p *progress) tell(done, total int64) {
	if p.calls++; done < p.done || total < p.total || done > total {
		p.t.Errorf("%d of %d after %d of %d", done, total, p.done, p.total)
	}
	p.done, p.total = done, total
}

func (p *progress) expectEnd() {
	p.t.Helper()
	if p.calls < 3 || p.done != p.total || p.total == 0 {
		p.t.Errorf("%d of %d in the end, after %d calls", p.done, p.total, p.calls)
	}
}

func TestProgressOfACleanUp(t *testing.T) {
	p := newPair(t)
	for range 300 {
		p.upload(start, reserved)
	}
	for range 100 {
		p.upload(start, published)
	}
	told := &progress{t: t}
	for _, now := range []time.Time{start.Add(putTimeout), start.Add(keep)} {
		*told = progress{t: t}
		if _, err := p.cleaner().CleanUp(t.Context(), now, cleanup.Options{Slots: true, Files: true, OlderThan: keep}, told.tell); err != nil {
			t.Fatal(err)
		}
		told.expectEnd()
	}
}

// What several clean-ups and removals find at once is counted and told once.
func TestSeveralCleanUpsAtOnce(t *testing.T) {
	p := newPair(t)
	want := make(map[string]bool)
	for i := range 200 {
		want[p.upload(start, published).ID] = true
		p.upload(start, reserved)
		if i%10 == 0 {
			p.remove(p.upload(start.Add(keep/2), published))
		}
	}
	p.upload(start.Add(keep), published)
	var told removals
	var mu sync.Mutex
	var sum cleanup.Report
	var removed int64
	c := p.cleaner()
	c.Removed = told.note
	var group sync.WaitGroup
	for range 3 {
		group.Go(func() {
			got, err := c.Run(t.Context(), start.Add(keep))
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				t.Error(err)
			}
			sum.Slots += got.Slots
			sum.Files += got.Files
			sum.Bytes += got.Bytes
			sum.Missing += got.Missing
		})
	}
	group.Go(func() {
		for id := range want {
			switch _, err := c.Remove(t.Context(), id, start.Add(keep), cleanup.Deleted); {
			case err == nil:
				removed++
			case !errors.Is(err, store.ErrNotFound):
				t.Error(err)
			}
		}
	})
	group.Wait()
	if sum.Files+removed != 200 || sum.Bytes != sum.Files*size || sum.Slots != 200 || sum.Missing != 20 {
		t.Errorf("together they removed %+v and %d, want 200 files, 200 slots, 20 missing", sum, removed)
	}
	if len(told.all) != 220 {
		t.Errorf("told of %d removals, want 220", len(told.all))
	}
	for id, reasons := range told.all {
		if len(reasons) != 1 {
			t.Errorf("told of the removal of %s: %q", id, reasons)
		}
	}
	p.expectCounts(1, 1)
}

func TestACanceledCleanUpTellsWhatItDid(t *testing.T) {
	p := newPair(t)
	for range 200 {
		p.upload(start, published)
	}
	ctx, cancel := context.WithCancel(t.Context())
	var told removals
	c := p.cleaner()
	c.Removed = func(slot store.Slot, reason cleanup.Reason) {
		told.note(slot, reason)
		cancel()
	}
	got, err := c.CleanUp(ctx, start.Add(keep), cleanup.Options{Slots: true, Files: true}, nil)
	if !errors.Is(err, context.Canceled) || got.Files == 0 || got.Files > 100 || got.Files != int64(len(told.all)) {
		t.Errorf("CleanUp() = %+v, %v, with %d removals told", got, err, len(told.all))
	}
	p.expectCounts(200-int(got.Files), 200-int(got.Files))
}
