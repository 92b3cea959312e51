package store_test

import (
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// door counts how often it is opened and closed.
type door struct {
	opened, closed atomic.Int32
	closeErr       error
	onClose        func()
}

func (d *door) open() (int32, func() error, error) {
	return d.opened.Add(1), func() error {
		if d.onClose != nil {
			d.onClose()
		}
		d.closed.Add(1)
		return d.closeErr
	}, nil
}

func (d *door) expect(t *testing.T, opened, closed int32) {
	t.Helper()
	if o, c := d.opened.Load(), d.closed.Load(); o != opened || c != closed {
		t.Errorf("opened %d times and closed %d times, want %d and %d", o, c, opened, closed)
	}
}

func acquire(t *testing.T, p *store.Pool[int32], key string, d *door) *store.Ref[int32] {
	t.Helper()
	ref, err := p.Acquire(key, d.open)
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func release(t *testing.T, ref *store.Ref[int32]) {
	t.Helper()
	if err := ref.Release(); err != nil {
		t.Error(err)
	}
}

func TestPoolSharesUntilTheLastRelease(t *testing.T) {
	var p store.Pool[int32]
	var d, other door
	first, second := acquire(t, &p, "a", &d), acquire(t, &p, "a", &d)
	third := acquire(t, &p, "b", &other)
	if first.Value != 1 || second.Value != 1 {
		t.Errorf("values %d and %d of one key differ", first.Value, second.Value)
	}
	release(t, first)
	release(t, first) // a second call does nothing
	d.expect(t, 1, 0)
	release(t, second)
	d.expect(t, 1, 1)
	other.expect(t, 1, 0)
	release(t, third)
	other.expect(t, 1, 1)

	again := acquire(t, &p, "a", &d)
	if again.Value != 2 {
		t.Errorf("value %d after the last release, want a new one", again.Value)
	}
	release(t, again)
	d.expect(t, 2, 2)
}

func TestPoolHoldIsAReferenceOfItsOwn(t *testing.T) {
	var p store.Pool[int32]
	var d door
	first := acquire(t, &p, "a", &d)
	second := first.Hold()
	third := second.Hold()
	if second.Value != first.Value || third.Value != first.Value {
		t.Errorf("values %d, %d and %d of one reference differ", first.Value, second.Value, third.Value)
	}
	release(t, first)
	release(t, second)
	release(t, second) // a second call does nothing
	d.expect(t, 1, 0)
	again := acquire(t, &p, "a", &d) // it is still open
	release(t, third)
	d.expect(t, 1, 0)
	release(t, again)
	d.expect(t, 1, 1)
}

func TestPoolHoldFromManyRequestsKeepsItOpen(t *testing.T) {
	var p store.Pool[int32]
	var d door
	site := acquire(t, &p, "a", &d)
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 500 {
				request := site.Hold()
				if d.closed.Load() != 0 {
					t.Error("closed while references are held")
				}
				release(t, request)
			}
		})
	}
	group.Wait()
	d.expect(t, 1, 0)
	release(t, site)
	d.expect(t, 1, 1)
}

func TestPoolReleaseReturnsTheErrorOfClosing(t *testing.T) {
	var p store.Pool[int32]
	d := door{closeErr: errors.New("stuck")}
	ref := acquire(t, &p, "a", &d)
	for range 2 {
		if err := ref.Release(); !errors.Is(err, d.closeErr) {
			t.Errorf("Release() = %v, want %v", err, d.closeErr)
		}
	}
	release(t, acquire(t, &p, "a", new(door))) // a failed close is a close
}

func TestPoolErrorOfOpenGoesToAllWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p store.Pool[int32]
		full := errors.New("disk is full")
		proceed := make(chan struct{})
		var opened atomic.Int32
		fail := func() (int32, func() error, error) {
			opened.Add(1)
			<-proceed
			return 0, nil, full
		}
		var group sync.WaitGroup
		for range 3 {
			group.Go(func() {
				if ref, err := p.Acquire("a", fail); !errors.Is(err, full) || ref != nil {
					t.Errorf("Acquire() = %v, %v, want %v", ref, err, full)
				}
			})
		}
		synctest.Wait()
		close(proceed)
		group.Wait()
		if n := opened.Load(); n != 1 {
			t.Errorf("opened %d times, want 1", n)
		}

		var d door
		release(t, acquire(t, &p, "a", &d)) // the next one tries again
		d.expect(t, 1, 1)
	})
}

func TestPoolReopensOnlyAfterClosingHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var p store.Pool[int32]
		proceed := make(chan struct{})
		old := door{onClose: func() { <-proceed }}
		ref := acquire(t, &p, "a", &old)

		var group sync.WaitGroup
		group.Go(func() { release(t, ref) })
		synctest.Wait() // closing has begun

		var next door
		group.Go(func() { release(t, acquire(t, &p, "a", &next)) })
		synctest.Wait()
		next.expect(t, 0, 0)
		release(t, acquire(t, &p, "b", new(door))) // other keys do not wait

		close(proceed)
		group.Wait()
		old.expect(t, 1, 1)
		next.expect(t, 1, 1)
	})
}

func TestPoolNeverHasTwoOpen(t *testing.T) {
	var p store.Pool[int32]
	var open, most, opened, closed atomic.Int32
	acquire := func() (*store.Ref[int32], error) {
		return p.Acquire("a", func() (int32, func() error, error) {
			if n := open.Add(1); n > most.Load() {
				most.Store(n)
			}
			return opened.Add(1), func() error { open.Add(-1); closed.Add(1); return nil }, nil
		})
	}
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 500 {
				ref, err := acquire()
				if err != nil {
					t.Error(err)
					return
				}
				if open.Load() != 1 {
					t.Errorf("%d open while a reference is held", open.Load())
				}
				if err := ref.Release(); err != nil {
					t.Error(err)
				}
			}
		})
	}
	group.Wait()
	if most.Load() != 1 || open.Load() != 0 || opened.Load() != closed.Load() {
		t.Errorf("at most %d open, %d left open, %d opened, %d closed", most.Load(), open.Load(), opened.Load(), closed.Load())
	}
}
