package clock

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"os"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// envSeed repeats a run.
const envSeed = "XMPP_UPLOAD_SEED"

// totalLimit is what the user of the storm may have, less than is tried.
const totalLimit = 2 * mib

// storm is load on a service whose clock jumps.
type storm struct {
	*service
	ctx    context.Context
	done   atomic.Int64 // operations
	mu     sync.Mutex
	stored []upload // got 201
	unused []upload // got none, or were not tried
}

// While the clock jumps, by seconds and by hours, all that gets 201 is served
// from then on, nothing else ever is, and no quota is overrun. At the end, all is
// counted exactly.
func TestStormOfJumps(t *testing.T) {
	t.Parallel()
	seed := seedOf(t)
	// The clock may go for hours; keep is longer.
	s := start(t, 0, often, "keep 365d", fmt.Sprintf("allow example.com {\nmax_total_size %d\n}", totalLimit))
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	st := &storm{service: s, ctx: ctx}
	var workers sync.WaitGroup
	for i := range uint64(4) {
		workers.Go(func() { st.work(rand.New(rand.NewPCG(seed, i)), i) })
	}
	st.jump(rand.New(rand.NewPCG(seed, 100)))
	cancel()
	workers.Wait()
	st.calm()
}

func seedOf(t *testing.T) uint64 {
	seed := rand.Uint64() >> 32
	if text := os.Getenv(envSeed); text != "" {
		var err error
		if seed, err = strconv.ParseUint(text, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	t.Logf("%s=%d repeats the jumps", envSeed, seed)
	return seed
}

// jump sets the clock again and again, while the others go on, and has an upload
// last over some jumps.
func (st *storm) jump(rnd *rand.Rand) {
	const jumps, operations = 60, 6
	var offset time.Duration
	var held *heldPut
	var flying upload
	for i := range jumps {
		if i%10 == 0 {
			flying = st.mustAskAny(uint64(1_000_000 + i))
			held = st.holdPut(flying, 1)
		}
		span := 2 * time.Second
		if rnd.IntN(3) == 0 {
			span = time.Hour
		}
		offset += time.Duration(rnd.Int64N(int64(2*span))).Truncate(time.Second) - span
		st.SetClock(offset)
		done := st.done.Load()
		rig.Await(st.t, "some operations", func() bool { return st.done.Load() >= done+operations })
		if a := st.account(); a.StoredBytes+a.WaitingBytes > totalLimit || a.WaitingBytes < 0 || a.WaitingSlots < 0 {
			st.t.Errorf("with the clock set by %s: %+v", offset, a)
		}
		if i%10 == 9 {
			if err := held.finish(); err != nil {
				st.t.Errorf("an upload that lasted over many jumps: %v", err)
			}
			st.note(&st.stored, flying)
		}
	}
}

// mustAskAny asks until there is room.
func (st *storm) mustAskAny(seed uint64) (u upload) {
	st.t.Helper()
	rig.Await(st.t, "room for a slot", func() bool {
		var err error
		u, err = st.ask(st.t.Context(), kib, seed)
		if code(err) != http.StatusPaymentRequired {
			st.must(err)
		}
		return err == nil
	})
	return u
}

func (st *storm) note(to *[]upload, u upload) {
	st.mu.Lock()
	defer st.mu.Unlock()
	*to = append(*to, u)
}

// pick returns one of them.
func (st *storm) pick(rnd *rand.Rand, from *[]upload) (upload, bool) {
	st.mu.Lock()
	defer st.mu.Unlock()
	if len(*from) == 0 {
		return upload{}, false
	}
	return (*from)[rnd.IntN(len(*from))], true
}

// holds reports whether nobody has removed the upload.
func (st *storm) holds(u upload) bool {
	st.mu.Lock()
	defer st.mu.Unlock()
	return slices.Contains(st.stored, u)
}

// work asks, uploads and downloads until the storm ends.
func (st *storm) work(rnd *rand.Rand, worker uint64) {
	for n := uint64(1); st.ctx.Err() == nil; n++ {
		switch rnd.IntN(4) {
		case 0:
			if u, ok := st.pick(rnd, &st.stored); ok {
				if err := st.served(u); err != nil && st.holds(u) {
					st.t.Errorf("an upload that got 201: %v", err)
				}
			}
		case 1:
			if u, ok := st.pick(rnd, &st.unused); ok {
				st.expectCode("an upload that got no 201", st.served(u), http.StatusNotFound)
			}
		default:
			st.upload(rnd, worker*100_000_000+n)
		}
		st.done.Add(1)
	}
}

// upload takes a slot and mostly uploads to it, unless the quota or the clock,
// which may have passed the slot's deadline, are against it. A third is removed
// by the operator, so that there is room.
func (st *storm) upload(rnd *rand.Rand, seed uint64) {
	u, err := st.ask(st.t.Context(), 1+rnd.Int64N(64*kib), seed)
	if code(err) == http.StatusPaymentRequired {
		st.remove(rnd)
		return
	}
	if err != nil {
		st.t.Errorf("asking for a slot: %v", err)
		return
	}
	if rnd.IntN(8) == 0 {
		st.note(&st.unused, u)
		return
	}
	switch err := st.send(u); code(err) {
	case http.StatusOK:
		st.note(&st.stored, u)
	case http.StatusForbidden:
		st.note(&st.unused, u)
	default:
		st.t.Errorf("an upload: %v", err)
	}
}

// remove has the operator remove an upload.
func (st *storm) remove(rnd *rand.Rand) {
	st.mu.Lock()
	if len(st.stored) == 0 {
		st.mu.Unlock()
		return
	}
	i := rnd.IntN(len(st.stored))
	u := st.stored[i]
	st.stored = append(st.stored[:i:i], st.stored[i+1:]...)
	st.mu.Unlock()
	var gone admin.Removal
	if err := st.API(http.MethodDelete, "uploads/"+u.id(), &gone); err != nil || gone.Files != 1 {
		st.t.Errorf("removing an upload: %+v, %v", gone, err)
	}
	st.note(&st.unused, u)
}

// calm expects that all is exact once the clock has passed all deadlines, and
// still is after a restart.
func (st *storm) calm() {
	st.t.Helper()
	st.SetClock(100 * time.Hour)
	st.cleanUp()
	var bytes int64
	for _, u := range st.stored {
		bytes += u.size
	}
	n := int64(len(st.stored))
	st.t.Logf("%d uploads are stored, %d not; %d operations", n, len(st.unused), st.done.Load())
	if n == 0 || len(st.unused) == 0 {
		st.t.Error("the storm was none")
	}
	for _, restart := range []bool{false, true} {
		if restart {
			st.restart()
		}
		var v admin.Verification
		st.must(st.API(http.MethodPost, "verify", &v))
		if len(v.Missing)+len(v.Orphaned)+len(v.WrongSize) > 0 || v.Slots != n || v.Files != n {
			st.t.Errorf("verify found %+v, want %d sound uploads", v, n)
		}
		a, stats := st.account(), st.stats()
		if a.StoredFiles != n || a.StoredBytes != bytes || a.WaitingSlots != 0 || a.WaitingBytes != 0 {
			st.t.Errorf("the account: %+v, want %d files of %d bytes", a, n, bytes)
		}
		if stats.StoredFiles != n || stats.StoredBytes != bytes || stats.WaitingSlots != 0 || stats.WaitingBytes != 0 {
			st.t.Errorf("the totals: %+v, want %d files of %d bytes", stats, n, bytes)
		}
		st.expectServed("in the end", st.stored...)
		for _, u := range st.unused {
			st.expectCode("what is not stored, in the end", st.served(u), http.StatusNotFound)
		}
	}
}
