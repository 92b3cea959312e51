package quota

import (
	"math"
	"time"
)

// Account is the exact account of one JID. The zero value is an account of
// nothing. What an operation costs does not depend on how much the account
// remembers. An Account is not safe for concurrent use.
//
// A claim is waiting from Reserve on, until it is committed, cancelled, or
// lapses at its deadline; a lapsed claim has never been. While an upload to it
// is in flight (Begin, GiveUp) it does not lapse.
type Account struct {
	// granted holds what windows count, by At: an entry's other is its deadline.
	granted timeline
	// lapsing holds the waiting claims without an upload in flight, by
	// Deadline: an entry's other is its At.
	lapsing timeline

	storedFiles, storedBytes   int64
	waitingSlots, waitingBytes int64
}

func (c Claim) grant(lapses bool) entry {
	return entry{key: c.At.UnixNano(), other: c.Deadline.UnixNano(), size: c.Size, lapses: lapses}
}

func (c Claim) lapse() entry {
	return entry{key: c.Deadline.UnixNano(), other: c.At.UnixNano(), size: c.Size, lapses: true}
}

// Reserve grants the claim at c.At if the limits allow it, else it returns a
// *Refusal and changes nothing.
func (a *Account) Reserve(c Claim, l Limits) error {
	if err := a.Check(c.Size, l, c.At); err != nil {
		return err
	}
	a.RestoreWaiting(c)
	return nil
}

// Check returns the *Refusal that a claim of size bytes would meet at now, or
// nil. File size comes first, then the total, then the windows; of several
// windows, the one that takes longest to have room.
func (a *Account) Check(size int64, l Limits, now time.Time) error {
	a.advance(now)
	if err := l.CheckFileSize(size); err != nil {
		return err
	}
	if used := a.storedBytes + a.waitingBytes; l.MaxTotalSize > 0 && size > l.MaxTotalSize-used {
		return &Refusal{Code: TotalQuota, Limit: l.MaxTotalSize, Used: used}
	}
	var worst *Refusal
	for _, w := range l.Bytes {
		worst = worse(worst, a.checkWindow(w, false, size, now))
	}
	for _, w := range l.Uploads {
		worst = worse(worst, a.checkWindow(w, true, 1, now))
	}
	if worst != nil {
		return worst
	}
	return nil
}

// worse returns the refusal that holds longer; one without a RetryAfter holds
// forever.
func worse(a, b *Refusal) *Refusal {
	switch {
	case a == nil:
		return b
	case b == nil || a.RetryAfter == 0:
		return a
	case b.RetryAfter == 0 || b.RetryAfter > a.RetryAfter:
		return b
	}
	return a
}

func (a *Account) checkWindow(w Window, uploads bool, amount int64, now time.Time) *Refusal {
	used := a.used(w, uploads, now)
	if amount <= w.Limit-used {
		return nil
	}
	r := &Refusal{Code: RateQuota, Limit: w.Limit, Used: used, Uploads: uploads, Per: w.Per}
	if amount <= w.Limit {
		r.RetryAfter = a.roomIn(w, uploads, used-(w.Limit-amount), now)
	}
	return r
}

// used returns what counts in the window that ends now: what was granted in
// (now-Per, now], and also later, should the clock have been set back.
func (a *Account) used(w Window, uploads bool, now time.Time) int64 {
	n, bytes := a.granted.after(cutoff(now, w.Per))
	if uploads {
		return n
	}
	return bytes
}

// cutoff is the last moment that a window of length per does not reach at now.
func cutoff(now time.Time, per time.Duration) int64 {
	t := now.UnixNano()
	if t < math.MinInt64+int64(per) {
		return math.MinInt64
	}
	return t - int64(per)
}

// roomIn returns how long it takes until excess has left the window, with
// nothing new granted. Claims leave when the window has passed them, or when
// they lapse, whatever comes first; so two orders are merged.
func (a *Account) roomIn(w Window, uploads bool, excess int64, now time.Time) time.Duration {
	per, start := int64(w.Per), cutoff(now, w.Per)
	passing, lapsing := a.granted.walk(start), a.lapsing.walk(math.MinInt64)
	for {
		p, more := passing.peek()
		for more && p.lapses && p.other <= p.key+per {
			passing.next()
			p, more = passing.peek()
		}
		q, moreLapsing := lapsing.peek()
		for moreLapsing && (q.other <= start || q.key > q.other+per) {
			lapsing.next()
			q, moreLapsing = lapsing.peek()
		}
		var left entry
		var at int64
		switch {
		case moreLapsing && (!more || q.key < p.key+per):
			left, at = q, q.key
			lapsing.next()
		case more:
			left, at = p, p.key+per
			passing.next()
		default:
			return 0 // only if there was no excess
		}
		if uploads {
			excess--
		} else {
			excess -= left.size
		}
		if excess <= 0 {
			return time.Duration(at - now.UnixNano())
		}
	}
}

// Begin keeps a waiting claim from lapsing while an upload is in flight. It
// returns false if it has lapsed at now, or was never there.
func (a *Account) Begin(c Claim, now time.Time) bool {
	a.advance(now)
	if !a.lapsing.remove(c.lapse()) {
		return false
	}
	a.granted.setLapses(c.grant(true), false)
	return true
}

// GiveUp undoes Begin: the claim waits again, or lapses at once if its deadline
// is not after now.
func (a *Account) GiveUp(c Claim, now time.Time) {
	a.granted.setLapses(c.grant(false), true)
	a.lapsing.insert(c.lapse())
	a.advance(now)
}

// Commit makes a claim whose upload is in flight a stored file.
func (a *Account) Commit(c Claim) {
	a.waitingSlots--
	a.waitingBytes -= c.Size
	a.storedFiles++
	a.storedBytes += c.Size
}

// Cancel takes a waiting claim back as if it had never been.
func (a *Account) Cancel(c Claim, inFlight bool) {
	if !inFlight && !a.lapsing.remove(c.lapse()) {
		return // it has lapsed already
	}
	a.granted.remove(c.grant(!inFlight))
	a.waitingSlots--
	a.waitingBytes -= c.Size
}

// Remove gives back the bytes of a stored file. Windows remember it.
func (a *Account) Remove(size int64) {
	a.storedFiles--
	a.storedBytes -= size
}

// advance lets claims lapse whose deadline is not after now.
func (a *Account) advance(now time.Time) {
	for {
		first := a.lapsing.walk(math.MinInt64)
		e, ok := first.peek()
		if !ok || e.key > now.UnixNano() {
			return
		}
		a.lapsing.remove(e)
		a.granted.remove(entry{key: e.other, other: e.key, size: e.size, lapses: true})
		a.waitingSlots--
		a.waitingBytes -= e.size
	}
}

// Forget drops what no window of length span can reach at now.
func (a *Account) Forget(now time.Time, span time.Duration) {
	a.granted.forget(cutoff(now, span))
}

// RestoreWaiting adds a waiting claim without asking any limit.
func (a *Account) RestoreWaiting(c Claim) {
	a.granted.insert(c.grant(true))
	a.lapsing.insert(c.lapse())
	a.waitingSlots++
	a.waitingBytes += c.Size
}

// RestoreInFlight adds a waiting claim that has an upload in flight.
func (a *Account) RestoreInFlight(c Claim) {
	a.granted.insert(c.grant(false))
	a.waitingSlots++
	a.waitingBytes += c.Size
}

// RestoreGranted makes windows count a claim that is committed.
func (a *Account) RestoreGranted(c Claim) {
	a.granted.insert(c.grant(false))
}

// RestoreStored adds files to what is stored, unseen by windows.
func (a *Account) RestoreStored(files, bytes int64) {
	a.storedFiles += files
	a.storedBytes += bytes
}

// Usage returns what is used at now, and of each window of the limits.
func (a *Account) Usage(l Limits, now time.Time) Usage {
	a.advance(now)
	u := Usage{
		StoredFiles: a.storedFiles, StoredBytes: a.storedBytes,
		WaitingSlots: a.waitingSlots, WaitingBytes: a.waitingBytes,
	}
	for _, w := range l.Bytes {
		u.Bytes = append(u.Bytes, a.windowUsage(w, false, now))
	}
	for _, w := range l.Uploads {
		u.Uploads = append(u.Uploads, a.windowUsage(w, true, now))
	}
	return u
}

func (a *Account) windowUsage(w Window, uploads bool, now time.Time) WindowUsage {
	u := WindowUsage{Window: w, Used: a.used(w, uploads, now)}
	if excess := u.Used - w.Limit + 1; excess > 0 {
		u.RoomIn = a.roomIn(w, uploads, excess, now)
	}
	return u
}

// Stored returns the number and the bytes of the files that are stored.
func (a *Account) Stored() (files, bytes int64) { return a.storedFiles, a.storedBytes }

// Len returns how many claims the account remembers, for those who hold many
// accounts in bounded memory.
func (a *Account) Len() int { return a.granted.len + a.lapsing.len }
