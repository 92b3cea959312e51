//go:build linux

package soak

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// What a step came to, for the report.
type outcome int

const (
	granted outcome = iota
	stored
	brokenOff
	read
	readRange
	notFound
	deleted
	purged
	raced
	overQuota
	noSpace
	away
	lost
	numOutcomes
)

var outcomes = [numOutcomes]string{
	"slots", "stored", "broken off", "read", "ranges", "not found", "deleted", "purged", "deleted amid upload",
	"over quota", "no space", "away", "lost answers",
}

// user does one thing after another and keeps book of it.
type user struct {
	*load
	book

	rnd *rand.Rand
}

func newUser(l *load, jid string, rnd *rand.Rand) *user {
	u := &user{load: l, rnd: rnd}
	u.jid = jid
	if strings.HasSuffix(jid, "@short.example.com") {
		u.keep = shortKeep
	}
	return u
}

// step does one thing. It is false if an answer got lost.
func (u *user) step() bool {
	u.expire(time.Now())
	var err error
	switch n := u.rnd.IntN(100); {
	case n < 8:
		_, err = u.take()
	case n < 14 && len(u.waiting) > 0:
		err = u.use(pick(u.rnd, u.waiting))
	case n < 19 && len(u.waiting) > 0:
		err = u.breakOff(pick(u.rnd, u.waiting))
	case n < 40 && len(u.stored) > 0:
		err = u.read(pick(u.rnd, u.stored))
	case n < 43 && len(u.gone) > 0:
		err = u.readGone(pick(u.rnd, u.gone))
	case n < 52 && len(u.stored) > 0:
		err = u.remove(pick(u.rnd, u.stored))
	case n < 54 && len(u.waiting) > 0:
		err = u.remove(pick(u.rnd, u.waiting))
	case n < 57 && len(u.waiting) > 0:
		err = u.removeAmidUpload(pick(u.rnd, u.waiting))
	case n == 57:
		err = u.purge()
	case n < 62:
		err = u.account()
	default:
		var w *upload
		if w, err = u.take(); err == nil && w != nil {
			err = u.use(w)
		}
	}
	return u.accept(err)
}

// accept is true for what may be. What is refused for reasons that hold in this
// round is no error; who does not know what became of something stops until the
// end of the round.
func (u *user) accept(err error) bool {
	code := status(err)
	switch {
	case err == nil:
		return true
	case code == http.StatusInsufficientStorage && u.mayBeFull.Load():
		u.counts[noSpace].Add(1)
		return !u.pending()
	case (code == http.StatusGone || code == http.StatusNotFound) && u.mayBeAway.Load():
		u.counts[away].Add(1)
		return true
	case code == noAnswer && u.mayLose.Load():
		u.counts[lost].Add(1)
		return false
	}
	u.t.Errorf("%s: %v", u.jid, err)
	return false
}

// take asks for a slot of any size: small ones are as likely as large ones. It
// is nil if the quota forbids it.
func (u *user) take() (*upload, error) {
	w := &upload{seed: u.rnd.Uint64(), size: 1 + u.rnd.Int64N(2*mib>>u.rnd.IntN(21)), asked: time.Now()}
	slot, err := u.Slot(u.t.Context(), rig.Ask{JID: u.jid, Name: "file.dat", Size: w.size, ContentType: "image/png"})
	w.granted = time.Now()
	settled := u.settled()
	least, most := u.bounds(w.granted)
	switch {
	case err == nil && least.total()+w.size > totalLimit:
		return nil, fmt.Errorf("%w: a slot beyond the quota: at least %d of %d are used", errWrong, least.total()+w.size, totalLimit)
	case err == nil:
		u.counts[granted].Add(1)
		w.Slot = slot
		u.waiting = append(u.waiting, w)
	case status(err) == http.StatusPaymentRequired && settled && most.total()+w.size <= totalLimit:
		return nil, fmt.Errorf("%w: at most %d of %d are used: %w", errWrong, most.total()+w.size, totalLimit, err)
	case status(err) == http.StatusPaymentRequired:
		u.counts[overQuota].Add(1)
		return nil, nil
	}
	return w, err
}

// use uploads to a slot that was granted.
func (u *user) use(w *upload) error {
	w.sent = time.Now()
	err := u.Put(u.t.Context(), w.Put, "image/png", w.size, rig.Content(w.seed, w.size))
	now := time.Now()
	switch code := status(err); {
	case err == nil && w.sent.After(w.granted.Add(putTimeout+within)):
		return fmt.Errorf("%w: stored %s after its slot was granted", errWrong, w.sent.Sub(w.granted))
	case err == nil:
		u.counts[stored].Add(1)
		u.becomesStored(w, now)
	case code == http.StatusForbidden && w.mayHaveExpired(now, u.keep):
		u.forget(w)
		return nil // it had expired
	case code == noAnswer:
		u.cutOff(w)
	}
	return err
}

// breakOff uploads less than announced and vanishes.
func (u *user) breakOff(w *upload) error {
	broken := io.MultiReader(rig.Content(w.seed, u.rnd.Int64N(w.size)), failing{})
	err := u.Put(u.t.Context(), w.Put, "image/png", w.size, broken)
	u.counts[brokenOff].Add(1)
	switch code := status(err); {
	case err == nil:
		return fmt.Errorf("%w: half an upload was stored", errWrong)
	case errors.Is(err, errBroken), code == http.StatusBadRequest:
		w.broken = true
		return nil
	case code == http.StatusForbidden && w.mayHaveExpired(time.Now(), u.keep):
		u.forget(w)
		return nil
	}
	return err
}

var errBroken = errors.New("the client breaks off")

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errBroken }

// read reads a file or a part of it: it is there until it expires, and not
// after that.
func (u *user) read(w *upload) error {
	begun := time.Now()
	from, to := int64(0), w.size
	header := http.Header{}
	if u.rnd.IntN(2) == 0 {
		from = u.rnd.Int64N(w.size)
		to = from + 1 + u.rnd.Int64N(w.size-from)
		header.Set("Range", fmt.Sprintf("bytes=%d-%d", from, to-1))
	}
	err := u.compare(w, header, from, to)
	switch code := status(err); {
	case err == nil && u.keep > 0 && begun.After(w.stored.Add(u.keep+within)):
		return fmt.Errorf("%w: served %s after its upload", errWrong, begun.Sub(w.stored))
	case err == nil && len(header) > 0:
		u.counts[readRange].Add(1)
	case err == nil:
		u.counts[read].Add(1)
	case code == http.StatusNotFound && w.mayHaveExpired(time.Now(), u.keep):
		u.counts[notFound].Add(1)
		return nil
	case code == http.StatusNotFound && u.mayBeAway.Load():
		return fmt.Errorf("%w: %w", errWrong, err) // away answers 410
	}
	return err
}

func (u *user) compare(w *upload, header http.Header, from, to int64) error {
	resp, err := u.Get(u.t.Context(), w.Get, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	got, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	want, _ := io.ReadAll(rig.Content(w.seed, w.size)) // from memory
	if !bytes.Equal(got, want[from:to]) {
		return fmt.Errorf("%w: GET %s %v: other bytes than were uploaded", errWrong, w.Get, header)
	}
	return nil
}

// readGone asks for what was removed.
func (u *user) readGone(w *upload) error {
	resp, err := u.Get(u.t.Context(), w.Get, nil)
	if err == nil {
		resp.Body.Close()
		return fmt.Errorf("%w: GET %s: served though it was removed", errWrong, w.Get)
	}
	if status(err) == http.StatusNotFound {
		u.counts[notFound].Add(1)
		return nil
	}
	return err
}

func pick(rnd *rand.Rand, from []*upload) *upload { return from[rnd.IntN(len(from))] }
