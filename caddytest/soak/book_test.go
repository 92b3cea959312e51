//go:build linux

package soak

import (
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// upload is a slot and what belongs into it.
type upload struct {
	rig.Slot
	size int64
	seed uint64
	// The slot was granted between these two, by which its deadline is known.
	asked, granted time.Time
	// The upload was stored between these two, by which its expiry is known.
	sent, stored time.Time
	// broken is set if an upload to the slot was broken off.
	broken bool
}

func (w *upload) id() string {
	parts := strings.Split(w.Put, "/")
	return parts[len(parts)-2]
}

func (w *upload) fileName() string { return w.id() + "-" + w.Put[strings.LastIndex(w.Put, "/")+1:] }

// mayHaveExpired reports whether the slot, or the file that is kept so long, may
// be of the past.
func (w *upload) mayHaveExpired(now time.Time, keep time.Duration) bool {
	if w.stored.IsZero() {
		return now.After(w.asked.Add(putTimeout - within))
	}
	return keep > 0 && now.After(w.sent.Add(keep-within))
}

// book is what a user knows of its uploads.
type book struct {
	jid  string
	keep time.Duration // 0 is forever

	waiting, stored []*upload
	expired         []*upload // stored ones whose time has ended, not long ago
	gone            []*upload // some of those that were removed

	// What windows remember: bytes and number of all that was ever stored, and
	// how much more it may be, since answers got lost.
	window, windowMore use

	// Whose answer got lost in this round.
	cut, removing, amid *upload
	purging             bool
}

// use is what counts of a quota.
type use struct{ files, bytes, waiting, waitingBytes int64 }

func (u use) total() int64 { return u.bytes + u.waitingBytes }

func without(from []*upload, w *upload) []*upload {
	return slices.DeleteFunc(from, func(o *upload) bool { return o == w })
}

func (b *book) forget(w *upload) {
	b.waiting, b.stored = without(b.waiting, w), without(b.stored, w)
}

func (b *book) becomesStored(w *upload, now time.Time) {
	w.stored = now
	b.waiting = without(b.waiting, w)
	b.stored = append(b.stored, w)
	b.window.files++
	b.window.bytes += w.size
}

func (b *book) removed(all ...*upload) {
	for _, w := range slices.Clone(all) {
		b.forget(w)
		b.gone = append(b.gone, w)
	}
	b.gone = b.gone[max(0, len(b.gone)-50):]
}

// cutOff is called for an upload without an answer.
func (b *book) cutOff(w *upload) { b.waiting, b.cut = without(b.waiting, w), w }

// cutOffRemoval is called for a removal without an answer.
func (b *book) cutOffRemoval(w *upload) { b.removing = w }

// cutOffAmid is called for a removal amid an upload, one without an answer.
func (b *book) cutOffAmid(w *upload) { b.waiting, b.amid = without(b.waiting, w), w }

// pending reports whether it is unknown what became of something.
func (b *book) pending() bool {
	return b.cut != nil || b.removing != nil || b.amid != nil || b.purging
}

// unsure drops what was stored and has ended since, or never was stored.
func (b *book) unsure(w *upload, now time.Time) {
	b.forget(w)
	w.stored = now
	b.windowMore.files++
	b.windowMore.bytes += w.size
	b.expired = append(b.expired, w)
}

// expire drops what has ended for certain.
func (b *book) expire(now time.Time) {
	const cleaned = 30 * time.Second // by then clean-up has passed
	b.waiting = slices.DeleteFunc(b.waiting, func(w *upload) bool {
		slack := within
		if w.broken {
			slack = 5 * within // until the server notices
		}
		return now.After(w.granted.Add(putTimeout + slack))
	})
	b.expired = slices.DeleteFunc(b.expired, func(w *upload) bool { return now.After(w.stored.Add(b.keep + cleaned)) })
	if b.keep == 0 {
		return
	}
	for _, w := range slices.Clone(b.stored) {
		if now.After(w.stored.Add(b.keep + 3*within)) {
			b.stored = without(b.stored, w)
			b.expired = append(b.expired, w)
		}
	}
}

// expiring reports whether something has yet to end.
func (b *book) expiring(now time.Time) bool {
	b.expire(now)
	return len(b.waiting) > 0 || b.keep > 0 && len(b.stored) > 0
}

// bounds is what counts at least and at most for a question that was answered
// at this time. What has expired may still count as stored until it is cleaned
// up.
func (b *book) bounds(answered time.Time) (least, most use) {
	for _, w := range b.waiting {
		most.waiting++
		most.waitingBytes += w.size
		if answered.Before(w.asked.Add(putTimeout - within)) {
			least.waiting++
			least.waitingBytes += w.size
		}
	}
	for _, w := range b.expired {
		most.files++
		most.bytes += w.size
	}
	for _, w := range b.stored {
		most.files++
		most.bytes += w.size
		if b.keep == 0 || answered.Before(w.sent.Add(b.keep-within)) {
			least.files++
			least.bytes += w.size
		}
	}
	return least, most
}

// account is the admin API's answer.
type account struct {
	StoredFiles  int64 `json:"stored_files"`
	StoredBytes  int64 `json:"stored_bytes"`
	WaitingSlots int64 `json:"waiting_slots"`
	WaitingBytes int64 `json:"waiting_bytes"`
	Bytes        []struct{ Used int64 }
	Uploads      []struct{ Used int64 }
}

func (a account) use() use {
	return use{a.StoredFiles, a.StoredBytes, a.WaitingSlots, a.WaitingBytes}
}

func (a account) window() use { return use{files: a.Uploads[0].Used, bytes: a.Bytes[0].Used} }

// between reports whether all of u is within the bounds.
func (u use) between(least, most use) bool {
	return least.files <= u.files && u.files <= most.files && least.bytes <= u.bytes && u.bytes <= most.bytes &&
		least.waiting <= u.waiting && u.waiting <= most.waiting && least.waitingBytes <= u.waitingBytes && u.waitingBytes <= most.waitingBytes
}

// account holds what Caddy counts against the book. Waiting slots whose answers
// got lost may count for a while.
func (u *user) account() error {
	var a account
	if err := u.API("GET", "users/"+u.jid, &a); err != nil {
		return err
	}
	least, most := u.bounds(time.Now())
	if !u.settled() {
		most.waiting, most.waitingBytes = 1<<40, 1<<40
	}
	if a.Bytes == nil || a.Uploads == nil {
		return fmt.Errorf("%w: an account without its windows", errWrong)
	}
	if !a.use().between(least, most) {
		return fmt.Errorf("%w: the account has %+v, want between %+v and %+v", errWrong, a.use(), least, most)
	}
	from := use{files: u.window.files + least.waiting, bytes: u.window.bytes + least.waitingBytes}
	to := use{
		files: u.window.files + u.windowMore.files + most.waiting,
		bytes: u.window.bytes + u.windowMore.bytes + most.waitingBytes,
	}
	if !a.window().between(from, to) {
		return fmt.Errorf("%w: windows have %+v, want between %+v and %+v", errWrong, a.window(), from, to)
	}
	return nil
}

func (u *user) checkAccount() {
	if err := u.account(); err != nil {
		u.t.Errorf("%s: %v", u.jid, err)
	}
}

// expectExact holds everything against the books when all has expired that does
// so: accounts, files and what is served.
func (l *load) expectExact() {
	l.t.Helper()
	want := make(map[string]int64)
	for _, u := range l.users {
		for _, w := range u.stored {
			want[w.fileName()] = w.size
		}
		u.expectExact()
	}
	var v struct {
		Slots, Files      int
		Missing, Orphaned []string
		WrongSize         []string `json:"wrong_size"`
	}
	if err := l.API("POST", "verify", &v); err != nil {
		l.t.Fatal(err)
	}
	if len(v.Missing)+len(v.Orphaned)+len(v.WrongSize) > 0 || v.Slots != len(want) || v.Files != len(want) {
		l.t.Errorf("verify says %+v, want %d slots and files, and no differences", v, len(want))
	}
	if got := l.tree(); !maps.Equal(got, want) {
		l.t.Errorf("the directory has %d files, want %d: %v, want %v", len(got), len(want), got, want)
	}
	var sum account
	if err := l.API("GET", "stats", &sum); err != nil {
		l.t.Fatal(err)
	}
	var bytes int64
	for _, size := range want {
		bytes += size
	}
	if (sum.use() != use{files: int64(len(want)), bytes: bytes}) {
		l.t.Errorf("the sums are %+v, want %d files of %d bytes", sum.use(), len(want), bytes)
	}
}

func (u *user) expectExact() {
	u.t.Helper()
	var want use
	for _, w := range u.stored {
		want.files++
		want.bytes += w.size
		if err := u.compare(w, nil, 0, w.size); err != nil {
			u.t.Errorf("%s, stored: %v", u.jid, err)
		}
	}
	for _, w := range slices.Concat(u.gone, u.expired) {
		if err := u.readGone(w); err != nil {
			u.t.Errorf("%s, gone: %v", u.jid, err)
		}
	}
	var a account
	if err := u.API("GET", "users/"+u.jid, &a); err != nil {
		u.t.Fatal(err)
	}
	if a.use() != want {
		u.t.Errorf("%s: the account has %+v, want %+v", u.jid, a.use(), want)
	}
	most := use{files: u.window.files + u.windowMore.files, bytes: u.window.bytes + u.windowMore.bytes}
	if !a.window().between(u.window, most) {
		u.t.Errorf("%s: windows have %+v, want between %+v and %+v", u.jid, a.window(), u.window, most)
	}
	u.window, u.windowMore = a.window(), use{}
	// The slot is used, or it is removed: no second upload goes there.
	for _, w := range u.stored {
		err := u.Put(u.t.Context(), w.Put, "image/png", w.size, rig.Content(w.seed, w.size))
		if status(err) != http.StatusConflict {
			u.t.Errorf("%s: a second upload: %v, want 409", u.jid, err)
		}
	}
}
