package promises

import (
	"errors"
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
)

const (
	writers = 16
	// windowLimit is what the rule of this test grants in a day: more than any
	// test asks for, less than totalLimit, so that each limit tells what of it
	// is used.
	windowLimit = totalLimit / 2
	maxSize     = 3 * mib
)

// Caddy is killed again and again, at moments that the seed decides, while many
// users ask, upload and download. XMPP_UPLOAD_SEED repeats a seed.
func TestNothingIsLostByKill(t *testing.T) {
	seed := uint64(time.Now().UnixNano()) //nolint:gosec // any will do
	if set, err := strconv.ParseUint(os.Getenv("XMPP_UPLOAD_SEED"), 10, 64); err == nil {
		seed = set
	}
	t.Logf("XMPP_UPLOAD_SEED=%d", seed)
	rounds := 12
	if testing.Short() {
		rounds = 3
	}
	rnd := rand.New(rand.NewPCG(seed, 0))
	s := newService(t)
	var all []*writer
	for i := range writers {
		jid := fmt.Sprintf("user%d@example.com", i)
		all = append(all, &writer{service: s, jid: jid, rnd: rand.New(rand.NewPCG(seed, uint64(i)+1))})
	}
	s.Start(s.site("allow example.com {\nmax_total_size 1TiB\nbytes 512GiB per 1d\n}", "put_timeout 1h", "cleanup_interval 1s"))
	for round := range rounds {
		answers := crash(s, all, 1+rnd.IntN(600))
		cut := 0
		for _, w := range all {
			if w.sent != nil {
				cut++
			}
		}
		s.restart()
		last := round == rounds-1
		together(all, func(w *writer) { w.check(last) })
		var stored []upload
		for _, w := range all {
			stored = append(stored, w.stored...)
		}
		t.Logf("round %d: killed after %d answers, %d uploads cut off; %d files stored by now", round, answers, cut, len(stored))
		if s.awaitTree(stored...); t.Failed() {
			return
		}
	}
}

// crash has all writers work, and kills Caddy after so many answers.
func crash(s *service, all []*writer, answers int) int {
	var answered atomic.Int64
	enough := make(chan struct{})
	var once sync.Once
	done := make(chan struct{})
	go func() {
		defer close(done)
		together(all, func(w *writer) {
			for w.step() {
				if answered.Add(1) >= int64(answers) {
					once.Do(func() { close(enough) })
				}
			}
		})
	}()
	select {
	case <-enough:
	case <-done: // something has failed
	}
	s.Kill()
	<-done
	return int(answered.Load())
}

func together(all []*writer, do func(*writer)) {
	var wg sync.WaitGroup
	for _, w := range all {
		wg.Go(func() { do(w) })
	}
	wg.Wait()
}

// writer is one user, who does one thing after another and keeps book.
type writer struct {
	*service
	jid string
	rnd *rand.Rand

	granted []upload // slots that wait for their upload
	stored  []upload // uploads that got 201
	checked int      // how many of stored were seen after a kill
	// What was under way at the kill, where the answer got lost.
	asked   int64   // the size of a slot; it may have been granted
	sent    *upload // an upload; it may have been stored
	unknown int64   // bytes of slots whose answers got lost, and that count
}

// step does one thing. It is false if that got no answer, or a wrong one.
func (w *writer) step() bool {
	var err error
	switch choice := w.rnd.IntN(10); {
	case choice == 0 && len(w.stored) > 0:
		err = w.served(pick(w.rnd, w.stored))
	case choice <= 1:
		_, err = w.take()
	case choice <= 3 && len(w.granted) > 0:
		err = w.use(w.rnd.IntN(len(w.granted)))
	default:
		if _, err = w.take(); err == nil {
			err = w.use(len(w.granted) - 1)
		}
	}
	if err != nil && status(err) != noAnswer {
		w.t.Errorf("%s: %v", w.jid, err)
	}
	return err == nil
}

// take asks for a slot of any size: small ones are as likely as large ones.
func (w *writer) take() (upload, error) {
	w.asked = 1 + w.rnd.Int64N(maxSize>>w.rnd.IntN(22))
	u, err := w.ask(w.jid, w.asked, w.rnd.Uint64())
	if err == nil {
		w.asked = 0
		w.granted = append(w.granted, u)
	}
	return u, err
}

// use uploads to a slot that was granted.
func (w *writer) use(i int) error {
	u := w.granted[i]
	w.granted = slices.Delete(w.granted, i, i+1)
	w.sent = &u
	err := w.send(u)
	if err == nil {
		w.sent = nil
		w.stored = append(w.stored, u)
	}
	return err
}

// check holds what Caddy knows after a kill against the book. At last, all that
// was granted must be usable and all that was stored be there; before, some.
func (w *writer) check(last bool) {
	w.checkAccount()
	w.checkSent()
	for i, u := range w.stored {
		if last || i >= w.checked || w.rnd.IntN(8) == 0 {
			if err := w.served(u); err != nil {
				w.t.Errorf("%s, stored: %v", w.jid, err)
			}
		}
	}
	w.checked = len(w.stored)
	for i, u := range slices.Backward(w.granted) { // use takes u out
		if code := status(w.served(u)); code != http.StatusNotFound {
			w.t.Errorf("%s, never uploaded: GET %s answers %d, want 404", w.jid, u.Slot.Get, code)
		}
		if last || w.rnd.IntN(4) == 0 {
			if err := w.use(i); err != nil {
				w.t.Errorf("%s, granted before a kill: %v", w.jid, err)
			}
		}
	}
	if last {
		w.checkAccount()
	}
}

// checkAccount expects that exactly what was granted counts, for all limits. A
// slot whose answer got lost may count or not.
func (w *writer) checkAccount() {
	want := w.unknown
	for _, u := range slices.Concat(w.granted, w.stored) {
		want += u.size
	}
	if w.sent != nil {
		want += w.sent.size
	}
	total, err := w.used(w.jid)
	window, windowErr := w.probe(w.jid, windowLimit+1, "rate_quota")
	if err := errors.Join(err, windowErr); err != nil {
		w.t.Error(err)
		return
	}
	if total != window || total != want && total != want+w.asked {
		w.t.Errorf("%s: %d bytes are used of the total, %d of the window, want %d (or %d more, if the lost answer was a slot)",
			w.jid, total, window, want, w.asked)
	}
	w.unknown += total - want
	w.asked = 0
}

// checkSent looks at the upload whose answer got lost: it is there as a whole,
// or not at all, and then its slot is usable.
func (w *writer) checkSent() {
	if w.sent == nil {
		return
	}
	u := *w.sent
	w.sent = nil
	want := http.StatusConflict
	switch code := status(w.served(u)); code {
	case http.StatusOK:
	case http.StatusNotFound:
		want = http.StatusOK
	default:
		w.t.Errorf("%s, cut off by a kill: GET %s answers %d", w.jid, u.Slot.Get, code)
	}
	if err := w.send(u); status(err) != want {
		w.t.Errorf("%s, cut off by a kill: PUT: %v, want %d", w.jid, err, want)
	}
	w.stored = append(w.stored, u)
}

func pick(rnd *rand.Rand, from []upload) upload { return from[rnd.IntN(len(from))] }
