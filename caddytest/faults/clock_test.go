//go:build linux

package faults

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
)

const (
	day = 24 * time.Hour
	// wait is how long a slot of these tests waits for its upload.
	wait = 5 * time.Minute
)

// perHour is the limit of these tests.
var perHour = quota.Limits{Uploads: []quota.Window{{Limit: 10, Per: time.Hour}}}

var epoch = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// clocked is a store under a clock that jumps.
type clocked struct {
	*badger.Slots
	t   *testing.T
	dir string
	now time.Time
}

func newClocked(t *testing.T) *clocked {
	t.Helper()
	c := &clocked{t: t, dir: t.TempDir(), now: epoch}
	c.open()
	t.Cleanup(func() { c.must(c.Close()) })
	return c
}

func (c *clocked) open() {
	c.t.Helper()
	var err error
	if c.Slots, err = badger.Open(c.dir); err != nil {
		c.t.Fatal(err)
	}
	c.must(c.Remember(c.t.Context(), time.Hour))
}

func (c *clocked) must(err error) {
	c.t.Helper()
	if err != nil {
		c.t.Fatal(err)
	}
}

func (c *clocked) reserve(limits quota.Limits) (store.Slot, error) {
	slot := store.Slot{
		ID: store.NewID(c.now), JID: user, Name: "a", URLName: "a", Size: 10,
		Reserved: c.now, Deadline: c.now.Add(wait),
	}
	return slot, c.Reserve(c.t.Context(), slot, store.Limits{Quota: limits, Room: -1})
}

func (c *clocked) upload(id string) error {
	if _, err := c.Begin(c.t.Context(), id, c.now); err != nil {
		return err
	}
	_, err := c.Commit(c.t.Context(), id, store.Result{Attempt: store.NewAttempt(), At: c.now})
	return err
}

// grant has slots granted and used until one is refused, and returns how many.
func (c *clocked) grant() (n int) {
	c.t.Helper()
	for {
		slot, err := c.reserve(perHour)
		if _, refused := errors.AsType[*quota.Refusal](err); refused {
			return n
		}
		c.must(err)
		c.must(c.upload(slot.ID))
		n++
	}
}

// A clock that goes a day forward and comes back: in no hour by its own
// reckoning is more granted than the limit, as long as it goes forward. What was
// granted in the day that never came counts until the clock gets there, so a
// user who has used up a limit there waits for that; and an hour in which the
// clock came back may see the limit once more.
func TestWindowsWhenTheClockJumps(t *testing.T) {
	c := newClocked(t)
	expect := func(what string, got, want int) {
		t.Helper()
		if got != want {
			t.Errorf("%s: %d uploads are granted, want %d", what, got, want)
		}
	}
	expect("at first", c.grant(), 10)
	c.now = epoch.Add(day)
	expect("a day forward", c.grant(), 10)
	c.now = epoch.Add(time.Minute)
	expect("back again", c.grant(), 0)
	c.now = epoch.Add(-time.Hour)
	expect("an hour before", c.grant(), 0)
	c.now = epoch.Add(day + time.Hour - 1)
	expect("nearly caught up", c.grant(), 0)
	c.now = epoch.Add(day + time.Hour)
	expect("caught up", c.grant(), 10)
	expect("at once after it", c.grant(), 0)
	c.now = epoch.Add(3 * day)
	expect("later", c.grant(), 10)

	c = newClocked(t)
	expect("at first", c.grant(), 10)
	c.now = epoch.Add(day)
	slot, err := c.reserve(perHour)
	c.must(err)
	c.must(c.upload(slot.ID))
	c.now = epoch.Add(time.Minute)
	expect("back again, with one granted a day forward", c.grant(), 9)
}

// A slot that waited when the clock went past its deadline has lapsed, and stays
// so though the clock comes back; what it took of the quota has returned. Clean
// up then removes it at its deadline.
func TestSlotsWhenTheClockJumps(t *testing.T) {
	for _, restart := range []bool{false, true} {
		t.Run(fmt.Sprintf("restart %v", restart), func(t *testing.T) {
			c := newClocked(t)
			slot, err := c.reserve(perHour)
			c.must(err)
			flying, err := c.reserve(perHour)
			c.must(err)
			_, err = c.Begin(t.Context(), flying.ID, c.now)
			c.must(err)

			c.now = epoch.Add(day)
			if u := c.usage(); u.WaitingSlots != 1 {
				t.Errorf("%d slots wait a day later, want the one with an upload in flight", u.WaitingSlots)
			}
			c.now = epoch.Add(time.Minute)
			if restart {
				c.must(c.Close())
				c.open()
				if u := c.usage(); u.WaitingSlots != 2 {
					t.Errorf("%d slots wait after a restart, want 2", u.WaitingSlots)
				}
				c.must(c.upload(slot.ID))
				c.must(c.upload(flying.ID))
				return
			}
			if err := c.upload(slot.ID); !errors.Is(err, store.ErrExpired) {
				t.Errorf("an upload to a lapsed slot: %v", err)
			}
			_, err = c.Commit(t.Context(), flying.ID, store.Result{Attempt: store.NewAttempt(), At: c.now})
			c.must(err)
			c.now = epoch.Add(wait + time.Second)
			expired, _, err := c.Expired(t.Context(), c.now, "", 10)
			c.must(err)
			if len(expired) != 1 || expired[0].ID != slot.ID {
				t.Errorf("expired are %v, want the lapsed slot", expired)
			}
		})
	}
}

// Whatever the clock does, what is stored is counted exactly, nothing is ever
// negative, and once the clock has caught up with all that was, all is exact.
func TestAccountsWhenTheClockJumps(t *testing.T) {
	for seed := range uint64(6) {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			c := newClocked(t)
			rnd := rand.New(rand.NewPCG(seed, 1))
			h := &jumpyHistory{clocked: c, rnd: rnd, latest: epoch}
			for range 300 {
				h.step()
				h.expectStored()
			}
			h.catchUp()
		})
	}
}

// jumpyHistory is what happens to a store under a clock that jumps.
type jumpyHistory struct {
	*clocked
	rnd             *rand.Rand
	latest          time.Time // that the clock has shown
	waiting, flying []string
	stored          []string
}

func (h *jumpyHistory) step() {
	h.t.Helper()
	ctx := h.t.Context()
	h.now = h.now.Add(time.Duration(h.rnd.IntN(60_000)) * time.Millisecond)
	switch h.rnd.IntN(60) {
	case 0:
		h.now = h.now.Add(day)
	case 1:
		h.now = h.now.Add(-day)
	case 2, 3:
		h.now = h.now.Add(-time.Hour)
	case 4:
		h.must(h.Forget(ctx, h.now))
	case 5:
		h.must(h.Close())
		h.open()
		h.waiting, h.flying = append(h.waiting, h.flying...), nil
	}
	if h.now.After(h.latest) {
		h.latest = h.now
	}
	switch h.rnd.IntN(6) {
	case 0, 1, 2:
		if slot, err := h.reserve(quota.Limits{}); err == nil {
			h.waiting = append(h.waiting, slot.ID)
		}
	case 3:
		if id, ok := take(h.rnd, &h.waiting); ok {
			if _, err := h.Begin(ctx, id, h.now); err == nil {
				h.flying = append(h.flying, id)
			} else if !errors.Is(err, store.ErrExpired) {
				h.t.Fatal(err)
			}
		}
	case 4:
		if id, ok := take(h.rnd, &h.flying); ok {
			if h.rnd.IntN(3) == 0 {
				h.must(h.GiveUp(ctx, id, h.now))
				return
			}
			_, err := h.Commit(ctx, id, store.Result{Attempt: store.NewAttempt(), At: h.now})
			h.must(err)
			h.stored = append(h.stored, id)
		}
	case 5:
		if id, ok := take(h.rnd, &h.stored); ok && h.rnd.IntN(2) == 0 {
			_, err := h.Delete(ctx, id, h.now)
			h.must(err)
		} else if ok {
			h.stored = append(h.stored, id)
		}
	}
}

// take takes one of them out.
func take(rnd *rand.Rand, from *[]string) (string, bool) {
	if len(*from) == 0 {
		return "", false
	}
	i := rnd.IntN(len(*from))
	id := (*from)[i]
	(*from)[i] = (*from)[len(*from)-1]
	*from = (*from)[:len(*from)-1]
	return id, true
}

func (c *clocked) usage() quota.Usage {
	c.t.Helper()
	u, err := c.Usage(c.t.Context(), user, perHour, c.now)
	c.must(err)
	return u
}

func (h *jumpyHistory) expectStored() {
	h.t.Helper()
	u := h.usage()
	totals, err := h.Totals(h.t.Context(), h.now)
	h.must(err)
	n := int64(len(h.stored))
	if u.StoredFiles != n || totals.StoredFiles != n || u.StoredBytes != 10*n || totals.StoredBytes != 10*n {
		h.t.Fatalf("%+v and %+v, want %d files of 10 bytes", u, totals, n)
	}
	if u.WaitingSlots < int64(len(h.flying)) || u.WaitingBytes != 10*u.WaitingSlots ||
		totals.WaitingSlots < int64(len(h.flying)) || totals.WaitingBytes != 10*totals.WaitingSlots || u.Uploads[0].Used < 0 {
		h.t.Fatalf("%+v and %+v, with %d uploads in flight", u, totals, len(h.flying))
	}
}

// catchUp has the clock go on beyond all that was: then only what is stored
// counts, and windows start from nothing.
func (h *jumpyHistory) catchUp() {
	h.t.Helper()
	ctx := h.t.Context()
	h.now = h.latest.Add(time.Hour + wait + time.Second)
	for _, id := range h.flying {
		h.must(h.GiveUp(ctx, id, h.now))
	}
	h.flying = nil
	for {
		slots, _, err := h.Expired(ctx, h.now, "", 100)
		h.must(err)
		if len(slots) == 0 {
			break
		}
		for _, slot := range slots {
			_, err := h.Delete(ctx, slot.ID, h.now)
			h.must(err)
		}
	}
	h.must(h.Forget(ctx, h.now))
	for range 2 { // as it is, and after a restart
		h.expectStored()
		u := h.usage()
		totals, err := h.Totals(ctx, h.now)
		h.must(err)
		if u.WaitingSlots != 0 || totals.WaitingSlots != 0 || u.Uploads[0].Used != 0 {
			h.t.Errorf("%+v and %+v when all has ended", u, totals)
		}
		h.must(h.Close())
		h.open()
	}
	if n := h.grant(); n != 10 {
		h.t.Errorf("%d uploads are granted, want 10", n)
	}
}
