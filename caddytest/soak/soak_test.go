//go:build linux

// Package soak holds a whole Caddy under a mixed load for as long as it is
// told, with all that happens to a server meanwhile: configurations change,
// disks fill, the process is killed. What users were told is kept in a book;
// all the time, and exactly at the end, the service must agree with it, and
// must hold nothing that it does not need.
//
// XMPP_UPLOAD_SOAK says how long, such as 15m, and XMPP_UPLOAD_SEED repeats
// what happened.
package soak

import (
	"fmt"
	"math/rand/v2"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

const (
	kib = 1 << 10
	mib = 1 << 20

	// inCI is how long the load lasts if nobody says.
	inCI = 20 * time.Second
	// users work at once, each with a JID of its own.
	users = 12
	// pace is the time between two steps of any users: the load shall last, not
	// take all of the machine.
	pace = 2 * time.Millisecond
)

func TestSoak(t *testing.T) {
	seed, length := settings(t)
	t.Logf("XMPP_UPLOAD_SEED=%d XMPP_UPLOAD_SOAK=%s", seed, length)
	s := newService(t)
	s.Start(s.site())
	s.measure()

	l := &load{service: s, rnd: rand.New(rand.NewPCG(seed, 0))}
	for i := range users {
		domain := "example.com"
		if i%2 == 1 {
			domain = "short.example.com"
		}
		l.users = append(l.users, newUser(l, fmt.Sprintf("user%d@%s", i, domain), rand.New(rand.NewPCG(seed, uint64(i)+1))))
	}
	l.run(length)
	if t.Failed() {
		return
	}
	l.settle()
	l.expectExact()
	s.expectNothingLeft()
	l.report()

	s.restart()
	l.expectExact()
}

// settings are the seed and the length of the load.
func settings(t *testing.T) (seed uint64, length time.Duration) {
	seed, length = uint64(time.Now().UnixNano()), inCI
	var err error
	if v := os.Getenv("XMPP_UPLOAD_SEED"); v != "" {
		if seed, err = strconv.ParseUint(v, 10, 64); err != nil {
			t.Fatal(err)
		}
	}
	if v := os.Getenv("XMPP_UPLOAD_SOAK"); v != "" {
		if length, err = time.ParseDuration(v); err != nil {
			t.Fatal(err)
		}
	}
	return seed, length
}

// load is all users, and what happens to the server while they work.
type load struct {
	*service
	rnd   *rand.Rand
	users []*user

	steps  atomic.Int64
	stop   atomic.Bool  // users finish their step and rest until the next round
	atWork atomic.Int64 // users that have not stopped in this round
	gate   sync.RWMutex // users rest while it is locked
	counts [numOutcomes]atomic.Int64
	rounds map[string]int
}

// event is what happens in a round. It is called while the users work, and
// returns when they may go on.
type event struct {
	name string
	do   func(*load)
}

// run has rounds of everything, in an order that the seed decides, until the
// time is over. The last part has no kills, so that what leaks adds up.
func (l *load) run(length time.Duration) {
	l.rounds = make(map[string]int)
	begun := time.Now()
	for {
		deck := []event{
			{"operator", (*load).operate},
			{"reload", (*load).reload},
			{"handler away", (*load).away},
			{"full disk", (*load).full},
			{"kill", (*load).kill},
		}
		l.rnd.Shuffle(len(deck), func(i, k int) { deck[i], deck[k] = deck[k], deck[i] })
		for _, e := range deck {
			elapsed := time.Since(begun)
			if elapsed > length && l.rounds["operator"] > 0 {
				return
			}
			if e.name == "kill" && l.rounds["kill"] > 0 && elapsed > length*3/4 {
				continue
			}
			l.round(e)
			if l.t.Failed() {
				l.t.Errorf("that was in round %v, in an event: %s", l.rounds, e.name)
				return
			}
			if since := l.rounds["operator"]; e.name == "operator" && since%10 == 0 {
				l.report()
			}
		}
	}
}

// round has the users work, before, during and after an event.
func (l *load) round(e event) {
	l.stop.Store(false)
	tick := time.NewTicker(pace)
	defer tick.Stop()
	var working sync.WaitGroup
	for _, u := range l.users {
		l.atWork.Add(1)
		working.Go(func() {
			defer l.atWork.Add(-1)
			for !l.stop.Load() {
				<-tick.C
				l.gate.RLock()
				ok := u.step()
				l.gate.RUnlock()
				if !ok {
					return
				}
				l.steps.Add(1)
			}
		})
	}
	l.awaitSteps()
	e.do(l)
	if l.proc() {
		l.awaitSteps()
	}
	l.stop.Store(true)
	working.Wait()
	l.rounds[e.name]++
	if !l.proc() {
		l.restart()
		l.measure()
	}
	together(l.users, (*user).reconcile)
	l.calm()
	together(l.users, (*user).checkAccount)
}

// awaitSteps waits until the users have done some more, or all have stopped.
func (l *load) awaitSteps() {
	enough := l.steps.Load() + 50 + l.rnd.Int64N(500)
	rig.Await(l.t, "users to do something", func() bool {
		return l.steps.Load() >= enough || l.atWork.Load() == 0 || l.t.Failed()
	})
}

func together(all []*user, do func(*user)) {
	var wg sync.WaitGroup
	for _, u := range all {
		wg.Go(func() { do(u) })
	}
	wg.Wait()
}

// settle waits until all has expired that will, and is cleaned up.
func (l *load) settle() {
	rig.Await(l.t, "everything to expire", func() bool {
		now := time.Now()
		for _, u := range l.users {
			if u.expiring(now) {
				return false
			}
		}
		return true
	})
	var cleaned struct{}
	if err := l.API("POST", "cleanup", &cleaned); err != nil {
		l.t.Fatal(err)
	}
}

// report tells what was done so far.
func (l *load) report() {
	now, peak := l.Memory()
	var done []string
	for o := range numOutcomes {
		done = append(done, fmt.Sprintf("%s %d", outcomes[o], l.counts[o].Load()))
	}
	m := l.measured()
	l.t.Logf("%d steps, rounds %v: %v; %d MiB resident, at most %d since the start; %d goroutines, %d descriptors (at the start %d, %d)",
		l.steps.Load(), l.rounds, done, now/mib, peak/mib, m.goroutines, m.descriptors, l.base.goroutines, l.base.descriptors)
}
