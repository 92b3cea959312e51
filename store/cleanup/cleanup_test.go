package cleanup_test

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

func TestCleanUp(t *testing.T) {
	const soon, late = putTimeout / 2, 2 * keep
	for _, tc := range []struct {
		name         string
		prepare      func(*pair)
		after        time.Duration // from start to the clean-up
		want         cleanup.Report
		err          error
		slots, files int // that are left
	}{
		{"nothing is there", func(*pair) {}, late, cleanup.Report{}, nil, 0, 0},
		{"waiting slot", func(p *pair) { p.upload(start, reserved) }, soon, cleanup.Report{}, nil, 1, 0},
		{"slot at the last moment", func(p *pair) { p.upload(start, reserved) }, putTimeout - 1, cleanup.Report{}, nil, 1, 0},
		{"slot that expires now", func(p *pair) { p.upload(start, reserved) }, putTimeout, cleanup.Report{Slots: 1}, nil, 0, 0},
		{"file", func(p *pair) { p.upload(start, published) }, soon, cleanup.Report{}, nil, 1, 1},
		{"file at the last moment", func(p *pair) { p.upload(start, published) }, keep - 1, cleanup.Report{}, nil, 1, 1},
		{"file that expires now", func(p *pair) { p.upload(start, published) }, keep, cleanup.Report{Files: 1, Bytes: size}, nil, 0, 0},
		{
			"one of each expired, one of each not", func(p *pair) {
				p.upload(start, reserved)
				p.upload(start, published)
				p.upload(start.Add(late), reserved)
				p.upload(start.Add(late), published)
			}, late, cleanup.Report{Slots: 1, Files: 1, Bytes: size}, nil, 2, 1,
		},
		{"upload that began in time", func(p *pair) { p.upload(start, begun) }, late, cleanup.Report{}, nil, 1, 0},
		{"upload that is written", func(p *pair) { p.upload(start, created) }, late, cleanup.Report{}, nil, 1, 0},
		{"upload that is written to its end", func(p *pair) { p.upload(start, written) }, late, cleanup.Report{}, nil, 1, 0},
		{"upload that is committed", func(p *pair) { p.upload(start, committed) }, soon, cleanup.Report{}, nil, 1, 1},
		{"slot of an upload that died", func(p *pair) { p.upload(start, begun); p.crash() }, soon, cleanup.Report{}, nil, 1, 0},
		{"part of an upload that died", func(p *pair) { p.upload(start, created); p.crash() }, soon, cleanup.Report{Discarded: 1}, nil, 1, 0},
		{"whole of an upload that died", func(p *pair) { p.upload(start, written); p.crash() }, soon, cleanup.Report{Discarded: 1}, nil, 1, 0},
		{"committed upload that died", func(p *pair) { p.upload(start, committed); p.crash() }, soon, cleanup.Report{Published: 1}, nil, 1, 1},
		{"expired upload that died", func(p *pair) { p.upload(start, written); p.crash() }, late, cleanup.Report{Slots: 1, Discarded: 1}, nil, 0, 0},
		{"expired committed upload that died", func(p *pair) { p.upload(start, committed); p.crash() }, late, cleanup.Report{Files: 1, Bytes: size}, nil, 0, 0},
		{"orphan", func(p *pair) { p.upload(start, published); p.orphan() }, soon, cleanup.Report{Orphaned: 1}, nil, 1, 1},
		{
			"file of a slot that waits", func(p *pair) {
				p.upload(start, published)
				slot := p.upload(start, reserved)
				ref := store.FileRef{ID: slot.ID, Name: slot.URLName, Attempt: store.NewAttempt()}
				p.check(p.write(ref, true).Publish(p.t.Context()))
			}, soon, cleanup.Report{Orphaned: 1}, nil, 2, 1,
		},
		{
			"file of another name", func(p *pair) {
				slot := p.upload(start, published)
				ref := store.FileRef{ID: slot.ID, Name: "b.txt", Attempt: store.NewAttempt()}
				p.check(p.write(ref, true).Publish(p.t.Context()))
			}, soon, cleanup.Report{Orphaned: 1}, nil, 1, 1,
		},
		{"files, but no slots", func(p *pair) { p.orphan(); p.orphan(); p.upload(start, reserved) }, soon, cleanup.Report{}, cleanup.ErrNoSlots, 1, 2},
		{"missing file", func(p *pair) { p.remove(p.upload(start, published)); p.upload(start, published) }, soon, cleanup.Report{Missing: 1}, nil, 1, 1},
		{"few files, all missing", func(p *pair) { p.missing(32) }, soon, cleanup.Report{Missing: 32}, nil, 0, 0},
		{"many files, all missing", func(p *pair) { p.missing(33) }, soon, cleanup.Report{}, cleanup.ErrNoFiles, 33, 0},
		{"many files, all missing but the oldest", func(p *pair) { p.upload(start, published); p.missing(70) }, soon, cleanup.Report{Missing: 70}, nil, 1, 1},
		{"many files, all missing but the newest", func(p *pair) { p.missing(70); p.upload(start.Add(soon/2), published) }, soon, cleanup.Report{Missing: 70}, nil, 1, 1},
		{"more than a page", func(p *pair) {
			for range 70 {
				p.upload(start, published)
				p.upload(start, reserved)
			}
		}, late, cleanup.Report{Slots: 70, Files: 70, Bytes: 70 * size}, nil, 0, 0},
	} {
		t.Run(tc.name, func(t *testing.T) {
			p := newPair(t)
			tc.prepare(p)
			got, err := p.cleaner().Run(t.Context(), start.Add(tc.after))
			if got != tc.want || !errors.Is(err, tc.err) || tc.err == nil && err != nil {
				t.Errorf("Run() = %+v, %v, want %+v, %v", got, err, tc.want, tc.err)
			}
			p.expectCounts(tc.slots, tc.files)
			if again, err := p.cleaner().Run(t.Context(), start.Add(tc.after)); again != (cleanup.Report{}) || !errors.Is(err, tc.err) {
				t.Errorf("a second Run() = %+v, %v, want nothing to do", again, err)
			}
		})
	}
}

// remove removes the file by hand.
func (p *pair) remove(slot store.Slot) {
	p.t.Helper()
	p.check(p.files.Delete(p.t.Context(), slot.File()))
}

func (p *pair) missing(n int) {
	p.t.Helper()
	for i := range n {
		p.remove(p.upload(start.Add(time.Duration(i)*time.Millisecond), published))
	}
}

func TestCleanUpGivesBackQuota(t *testing.T) {
	p := newPair(t)
	p.upload(start, reserved)
	p.upload(start, published)
	p.remove(p.upload(start, published))
	if stored, waiting := p.used(start); stored != 2*size || waiting != size {
		t.Fatalf("%d bytes stored, %d waiting before", stored, waiting)
	}
	now := start.Add(putTimeout)
	if _, err := p.cleaner().Run(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if stored, waiting := p.used(now); stored != size || waiting != 0 {
		t.Errorf("%d bytes stored, %d waiting, once the slot has expired and the missing file was found", stored, waiting)
	}
	now = start.Add(keep)
	if _, err := p.cleaner().Run(t.Context(), now); err != nil {
		t.Fatal(err)
	}
	if stored, waiting := p.used(now); stored != 0 || waiting != 0 {
		t.Errorf("%d bytes stored, %d waiting, once all has expired", stored, waiting)
	}
}

// troubled is a disk on which some files can't be touched.
type troubled struct {
	store.Files
	fails   func(store.FileRef) bool
	deletes func(store.FileRef)
}

var errTrouble = errors.New("the disk is in trouble")

func (f *troubled) Delete(ctx context.Context, ref store.FileRef) error {
	if f.deletes != nil {
		f.deletes(ref)
	}
	if f.fails(ref) {
		return errTrouble
	}
	return f.Files.Delete(ctx, ref)
}

func (f *troubled) Open(ctx context.Context, ref store.FileRef) (store.File, error) {
	if f.fails(ref) {
		return nil, errTrouble
	}
	return f.Files.Open(ctx, ref)
}

func TestAFailureStopsNoOtherRemoval(t *testing.T) {
	p := newPair(t)
	bad := p.upload(start, published)
	for range 70 {
		p.upload(start, published)
	}
	p.upload(start, reserved)
	broken := true
	c := p.cleaner()
	c.Files = &troubled{Files: p.files, fails: func(ref store.FileRef) bool { return broken && ref.ID == bad.ID }}
	now := start.Add(keep)
	got, err := c.Run(t.Context(), now)
	if want := (cleanup.Report{Slots: 1, Files: 70, Bytes: 70 * size}); got != want || !errors.Is(err, errTrouble) {
		t.Errorf("Run() = %+v, %v, want %+v and the trouble", got, err, want)
	}
	p.expectCounts(1, 1) // the slot still tells of the file

	broken = false
	got, err = c.Run(t.Context(), now)
	if want := (cleanup.Report{Files: 1, Bytes: size}); got != want || err != nil {
		t.Errorf("Run() = %+v, %v, want %+v", got, err, want)
	}
	p.expectCounts(0, 0)
}

func TestAFileThatCannotBeOpenedIsNotMissing(t *testing.T) {
	p := newPair(t)
	missing := p.upload(start, published)
	bad := p.upload(start, published)
	p.remove(missing)
	c := p.cleaner()
	c.Files = &troubled{Files: p.files, fails: func(ref store.FileRef) bool { return ref.ID == bad.ID }}
	got, err := c.Run(t.Context(), start.Add(putTimeout))
	if want := (cleanup.Report{Missing: 1}); got != want || !errors.Is(err, errTrouble) {
		t.Errorf("Run() = %+v, %v, want %+v and the trouble", got, err, want)
	}
	p.expectCounts(1, 1)
}

func TestTheFileGoesBeforeItsSlot(t *testing.T) {
	p := newPair(t)
	p.upload(start, published)
	c := p.cleaner()
	deleted := 0
	c.Files = &troubled{Files: p.files, fails: func(store.FileRef) bool { return false }, deletes: func(ref store.FileRef) {
		deleted++
		if _, err := p.slots.Get(t.Context(), ref.ID); err != nil {
			t.Errorf("the slot of a file that is to be removed: %v", err)
		}
	}}
	if _, err := c.Run(t.Context(), start.Add(keep)); err != nil || deleted != 1 {
		t.Errorf("%d files deleted, %v", deleted, err)
	}
}

func TestCleanUpPausesAndStops(t *testing.T) {
	p := newPair(t)
	for range 200 {
		p.upload(start, reserved)
	}
	ctx, cancel := context.WithCancel(t.Context())
	pauses := 0
	c := p.cleaner()
	c.Pause = func(ctx context.Context, busy time.Duration) error {
		if pauses++; pauses == 2 {
			cancel()
		}
		return ctx.Err()
	}
	got, err := c.Run(ctx, start.Add(keep))
	if !errors.Is(err, context.Canceled) || got.Slots == 0 || got.Slots >= 200 {
		t.Errorf("Run() = %+v, %v, want it to stop half-way", got, err)
	}
	c.Pause = nil
	rest, err := c.Run(t.Context(), start.Add(keep))
	if err != nil || rest.Slots != 200-got.Slots {
		t.Errorf("Run() = %+v, %v, want the rest of %d", rest, err, 200-got.Slots)
	}
}

func TestThrottleEndsWithItsContext(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := cleanup.Throttle(ctx, time.Hour); !errors.Is(err, context.Canceled) {
		t.Errorf("Throttle() = %v", err)
	}
	if err := cleanup.Throttle(t.Context(), 0); err != nil {
		t.Errorf("Throttle() = %v", err)
	}
}

func TestThrottleMakesWayForUsers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		rests := func(busy time.Duration) time.Duration {
			begun := time.Now()
			if err := cleanup.Throttle(t.Context(), busy); err != nil {
				t.Error(err)
			}
			return time.Since(begun)
		}
		if d := rests(20 * time.Millisecond); d != 20*time.Millisecond {
			t.Errorf("it rests %s while nobody is served", d)
		}
		cleanup.Serving()
		if d := rests(20 * time.Millisecond); d != 180*time.Millisecond {
			t.Errorf("it rests %s while users are served", d)
		}
		if d := rests(20 * time.Millisecond); d != 20*time.Millisecond {
			t.Errorf("it rests %s when users have been served", d)
		}
		if d := rests(time.Hour); d != time.Second {
			t.Errorf("it rests %s after long work", d)
		}
	})
}

// pages notes how much a clean-up takes at once.
type pages struct {
	store.Slots
	limits []int
}

func (p *pages) Expired(ctx context.Context, now time.Time, after string, limit int) ([]store.Slot, string, error) {
	p.limits = append(p.limits, limit)
	return p.Slots.Expired(ctx, now, after, limit)
}

func TestLessIsRemovedAtOnceWhileUsersAreServed(t *testing.T) {
	p := newPair(t)
	for range 40 {
		p.uploadKept(start, keep)
	}
	seen := &pages{Slots: p.slots}
	c := p.cleaner()
	c.Slots = seen
	c.Pause = func(context.Context, time.Duration) error {
		cleanup.Serving()
		return nil
	}
	got, err := c.Run(t.Context(), start.Add(keep))
	if err != nil || got.Files != 40 {
		t.Fatalf("Run() = %+v, %v", got, err)
	}
	// Not all of them, since on a busy machine a page may take longer than users
	// are waited for.
	if slices.Min(seen.limits) > 4 {
		t.Errorf("took %d at once", seen.limits)
	}
}
