//go:build linux

package soak

import (
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// removal is the admin API's answer.
type removal struct{ Slots, Files, Bytes int64 }

// halfDone reports whether a removal may have removed some: its answer got lost,
// or there was no space to record that the file is gone.
func halfDone(err error) bool {
	code := status(err)
	return code == noAnswer || code == http.StatusInsufficientStorage
}

// remove has the operator delete a slot or a file of the user.
func (u *user) remove(w *upload) error {
	var r removal
	err := u.API("DELETE", "uploads/"+w.id(), &r)
	switch {
	case err == nil:
		u.counts[deleted].Add(1)
		if (r != removal{Slots: 1} && r != removal{Files: 1, Bytes: w.size}) {
			return fmt.Errorf("%w: removing one upload of %d bytes removed %+v", errWrong, w.size, r)
		}
		u.removed(w)
	case halfDone(err):
		u.cutOffRemoval(w)
	case status(err) == http.StatusNotFound && w.mayHaveExpired(time.Now(), u.keep) && !u.mayBeAway.Load():
		u.forget(w)
		return nil
	}
	return err
}

// removeAmidUpload deletes a slot while an upload to it runs. Whoever comes
// first, nothing is left, and only a file that was there is remembered.
func (u *user) removeAmidUpload(w *upload) error {
	w.sent = time.Now()
	put := make(chan error, 1)
	go func() { put <- u.Put(u.t.Context(), w.Put, "image/png", w.size, rig.Content(w.seed, w.size)) }()
	var r removal
	err := u.API("DELETE", "uploads/"+w.id(), &r)
	putErr := <-put
	u.counts[raced].Add(1)
	now, code := time.Now(), status(putErr)
	switch {
	case code == noAnswer || halfDone(err):
		u.cutOffAmid(w)
		return errors.Join(err, putErr)
	case code == http.StatusOK && (err != nil || r.Files == 1):
		u.becomesStored(w, now)
	case r.Files == 1 && code == http.StatusForbidden: // deleted between its commit and its answer
		u.becomesStored(w, now)
		putErr = nil
	case r.Slots == 1 && code == http.StatusOK:
		return fmt.Errorf("%w: an upload to a deleted slot got 201", errWrong)
	case code == http.StatusForbidden && (err == nil || w.mayHaveExpired(now, u.keep)):
		putErr = nil
	}
	if status(err) == http.StatusNotFound && w.mayHaveExpired(now, u.keep) && !u.mayBeAway.Load() {
		err = nil
	}
	if err == nil {
		u.removed(w)
		err = putErr // it may have met a full disk first
	}
	return err
}

// purge has the operator remove all that the user has.
func (u *user) purge() error {
	var r removal
	err := u.API("DELETE", "users/"+u.jid, &r)
	if err != nil {
		u.purging = halfDone(err)
		return err
	}
	u.counts[purged].Add(1)
	if int(r.Files) > len(u.stored)+len(u.expired) {
		return fmt.Errorf("%w: a purge removed %d files, there were %d", errWrong, r.Files, len(u.stored))
	}
	u.removed(u.waiting...)
	u.removed(u.stored...)
	return nil
}

// reconcile finds out what became of what got no answer. Caddy runs by now.
func (u *user) reconcile() {
	if w := u.cut; w != nil {
		u.cut = nil
		u.resume(w)
	}
	if w := u.removing; w != nil {
		u.removing = nil
		if err := u.remove(w); status(err) == http.StatusNotFound {
			u.removed(w) // it was removed at the first time
		} else {
			u.stillThere(err)
		}
	}
	if w := u.amid; w != nil {
		u.amid = nil
		u.stillThere(u.removeAgain(w))
	}
	if u.purging {
		u.purging = false
		u.stillThere(u.purge())
	}
}

func (u *user) stillThere(err error) {
	if err != nil {
		u.t.Errorf("%s, after a lost answer: %v", u.jid, err)
	}
}

// removeAgain removes a slot for which upload and removal raced without answers.
func (u *user) removeAgain(w *upload) error {
	var r removal
	err := u.API("DELETE", "uploads/"+w.id(), &r)
	switch now := time.Now(); {
	case status(err) == http.StatusNotFound:
		u.unsure(w, now)
		return nil
	case r.Files == 1:
		u.becomesStored(w, now)
	}
	u.removed(w)
	return err
}

// resume sends an upload again whose answer got lost: it is there as a whole, or
// not at all, and then its slot is usable until its time ends.
func (u *user) resume(w *upload) {
	begun := time.Now()
	err := u.Put(u.t.Context(), w.Put, "image/png", w.size, rig.Content(w.seed, w.size))
	now := time.Now()
	ended := w.mayHaveExpired(now, u.keep) || u.keep > 0 && now.After(w.sent.Add(u.keep-within))
	switch code := status(err); {
	case code == http.StatusOK && begun.After(w.granted.Add(putTimeout+within)):
		u.t.Errorf("%s: stored %s after its slot was granted", u.jid, begun.Sub(w.granted))
	case code == http.StatusOK, code == http.StatusConflict:
		u.becomesStored(w, now)
	case code == http.StatusForbidden && ended:
		u.unsure(w, now)
	default:
		u.t.Errorf("%s, an upload again whose answer got lost: %v", u.jid, err)
	}
}
