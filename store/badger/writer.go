package badger

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

const (
	// A batch stays well below what one transaction of Badger takes.
	batchJobs  = 256
	batchBytes = 256 << 10
)

// job is one change, to be made by the writer.
type job struct {
	jid string
	// now is the time of the caller.
	now time.Time
	// apply checks and changes, in this order: if it returns an error, it has
	// changed nothing.
	apply func(*batch, *cachedAccount) error
	// applyTo is an apply for a slot that is there; see Slots.change.
	applyTo func(*batch, *cachedAccount, *store.Slot) error
	// cost is about how many bytes it writes; 0 is nothing.
	cost int
	// room is how much free space it must leave alone.
	room int64
	// durable jobs are answered once the disk has them.
	durable bool
	err     error
	done    chan struct{}
}

// do hands a job to the writer and waits for its answer. A job whose caller is
// gone may still be done.
func (s *Slots) do(ctx context.Context, j *job) error {
	j.done = make(chan struct{})
	select {
	case s.jobs <- j:
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
		return store.ErrClosed
	}
	select {
	case <-j.done:
		return j.err
	case <-ctx.Done():
		return ctx.Err()
	case <-s.stopped:
		return store.ErrClosed
	}
}

// write is the writer: the only goroutine that changes the database and the
// accounts. It takes all jobs that wait, evaluates each against its account,
// commits them in one transaction and answers each. So quotas are exact and
// nothing conflicts, and who comes while the disk is busy shares the next trip.
func (s *Slots) write() {
	defer close(s.stopped)
	look, repose := time.NewTicker(restEvery), repose{}
	defer look.Stop()
	for {
		select {
		case j := <-s.jobs:
			s.collected = s.collect(j)
			s.commit(s.collected)
			clear(s.collected) // they are answered, or parked
		case l := <-s.loaded:
			s.commit(s.install(l))
		case f := <-s.calls:
			f()
		case <-s.guard.wounded:
			_ = s.heal() // it is logged, and tried again
		case <-look.C:
			if repose.due(allocated()) {
				if err := s.rest(); err != nil {
					logger().Debug("tables of the slots database stay resident", zap.Error(err))
				}
			}
		case <-s.quit:
			return
		}
	}
}

// call has the writer call f between two batches.
func (s *Slots) call(ctx context.Context, f func()) error {
	select {
	case s.calls <- f:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-s.quit:
		return store.ErrClosed
	}
}

// collect returns the job and those that wait behind it. When none does any more
// it lets others run for once, who may be about to hand in theirs: a transaction
// costs nearly as much for one job as for some.
func (s *Slots) collect(j *job) []*job {
	jobs, bytes, yielded := append(s.collected[:0], j), j.cost, false
	for len(jobs) < batchJobs && bytes < batchBytes {
		select {
		case j = <-s.jobs:
			jobs = append(jobs, j)
			bytes += j.cost
		default:
			if yielded {
				return jobs
			}
			yielded = true
			runtime.Gosched()
		}
	}
	return jobs
}

// account returns the account of the job, or nil if it must be read first. Then
// the job waits aside, so that nobody else has to.
func (s *Slots) account(j *job) *cachedAccount {
	if acct := s.accounts.get(j.jid, j.now); acct != nil {
		return acct
	}
	parked, reading := s.parked[j.jid]
	s.parked[j.jid] = append(parked, j)
	if !reading {
		s.read(j.jid, j.now)
	}
	return nil
}

// read has an account read, with all that windows and waiting slots need.
func (s *Slots) read(jid string, now time.Time) {
	span, since := s.span, now.Add(-max(s.span, s.maxWait))
	s.readers.Go(func() {
		l := s.readAccount(jid, since)
		l.span, l.now = span, now
		select {
		case s.loaded <- l:
		case <-s.quit:
		}
	})
}

// remember makes windows remember a longer span. Accounts that forgot more than
// that are read again.
func (s *Slots) remember(span time.Duration) {
	if span > s.span {
		s.span = span
		s.accounts.reset()
	}
}

// install takes in an account that was read, and returns the jobs that waited.
func (s *Slots) install(l load) []*job {
	if l.err == nil && l.span < s.span {
		s.read(l.jid, l.now)
		return nil
	}
	jobs := s.parked[l.jid]
	delete(s.parked, l.jid)
	if l.err != nil {
		fail(jobs, l.err)
		answer(jobs)
		return nil
	}
	s.accounts.put(l.account(s.flightsOf[l.jid]))
	return jobs
}

// batch collects the changes of some jobs.
type batch struct {
	*Slots
	txn    *badger.Txn
	losses uint64 // how many there were before; see guard.sure
	wrote  int64  // bytes that it adds to the log, about
	err    error  // of the first change that the transaction did not take
	// What the sums of this batch are about: accounts whose stored files
	// changed, with what they were before; seconds in which waiting slots
	// lapse; uploads by the beginning of their day; the longest put_timeout.
	stored      map[*cachedAccount]sum
	seconds     map[int64]sum
	days        map[time.Time]sum
	waitsLonger bool
	landed      []string // IDs
}

func (s *Slots) newBatch() *batch {
	s.guard.renew()
	return &batch{Slots: s, losses: s.guard.losses.Load(), txn: s.db.NewTransaction(true)}
}

func (s *Slots) commit(jobs []*job) {
	if len(jobs) == 0 {
		return
	}
	b := s.newBatch()
	for s.guard.hurt.Load() {
		b.txn.Discard()
		if err := s.heal(); err != nil {
			fail(jobs, err)
			answer(jobs)
			return
		}
		b = s.newBatch()
	}
	defer b.txn.Discard()
	jobs = s.evaluate(b, jobs)
	err := b.finish()
	b.clear()
	if err != nil {
		s.recover(jobs, err)
	}
	durable := jobs[:0]
	for _, j := range jobs {
		if j.durable && j.err == nil {
			durable = append(durable, j)
		} else {
			close(j.done)
		}
	}
	if len(durable) == 0 {
		return
	}
	if err := s.log.sync(); err != nil {
		logger().Error("flushing the slots database failed", zap.Error(err))
		fail(durable, err)
		s.leaveLog()
	}
	answer(durable)
}

// evaluate has the jobs checked and their changes made. It returns them without
// those that wait for their account, in the same memory.
func (s *Slots) evaluate(b *batch, jobs []*job) []*job {
	free, freeErr := s.free.Measure()
	evaluated := jobs[:0]
	for _, j := range jobs {
		acct := s.account(j)
		if acct == nil {
			continue
		}
		evaluated = append(evaluated, j)
		need := s.roomFor(j.room)
		if j.cost > 0 && s.log.written > nearlyFull && freeErr == nil && free >= need {
			freeErr = s.probeNow()
		}
		if j.cost > 0 && (freeErr != nil || free < need) {
			j.err = s.noRoom(free, need, freeErr)
		} else {
			j.err = j.apply(b, acct)
		}
		s.accounts.weigh(acct)
	}
	s.accounts.evict()
	return evaluated
}

// leaveLog fills a log whose flush has failed, so that Badger writes its table
// from memory, removes it, and goes on with another one.
func (s *Slots) leaveLog() {
	const size = 48 << 10
	if free, err := s.free.Measure(); err != nil || free < s.roomToRotate+roomToCommit {
		return // the next upload tries again
	}
	err := errors.Join(s.probe(), s.log.scan())
	for i := 0; i < 2*logSize/size && err == nil && s.log.inDoubt(); i++ {
		err = s.db.Update(func(txn *badger.Txn) error { return txn.Set([]byte{fillPrefix}, make([]byte, size)) })
		if err == nil {
			err = s.log.scan()
		}
	}
	if err == nil {
		err = s.db.Update(func(txn *badger.Txn) error { return txn.Delete([]byte{fillPrefix}) })
	}
	if err != nil {
		logger().Error("leaving a log whose flush has failed", zap.Error(err))
	}
}

func answer(jobs []*job) {
	for _, j := range jobs {
		close(j.done)
	}
}

// fail gives an error to the jobs that had none.
func fail(jobs []*job, err error) {
	for _, j := range jobs {
		if j.err == nil {
			j.err = err
		}
	}
}

// finish writes the sums that the jobs have changed, and commits.
func (b *batch) finish() error {
	if b.wrote == 0 {
		return b.sure(b.err)
	}
	for acct, before := range b.stored {
		files, bytes := acct.Stored()
		b.setStored(acct.jid, before, sum{files, bytes})
	}
	for second, s := range b.seconds {
		b.setSum(waitingKey(second), s)
	}
	if len(b.stored) > 0 {
		b.setSum([]byte{totalsPrefix}, b.storedTotal)
	}
	for start, more := range b.days {
		b.countAll(start, more)
	}
	if b.waitsLonger {
		b.set([]byte{formatPrefix}, encodeFormat(b.maxWait))
	}
	if err := b.sure(b.err); err != nil {
		return err
	}
	if err := b.txn.Commit(); err != nil {
		return fmt.Errorf("committing to the slots database: %w", err)
	}
	looked, err := b.log.grew(b.wrote)
	if looked {
		b.lookAhead()
	}
	if err != nil { // what was committed stays so; the next batch looks again
		logger().Error("looking for the logs of the slots database failed", zap.Error(err))
	}
	return nil
}

// recover forgets what a failed transaction has changed in memory, and gives
// its error to all jobs that it held. What uploads are in flight is known
// without it.
func (s *Slots) recover(jobs []*job, err error) {
	logger().Error("writing to the slots database failed", zap.Error(err))
	if errors.Is(err, errLost) {
		doubt(jobs)
		_ = s.heal() // it learns all this again
		return
	}
	for _, j := range jobs {
		if j.err == nil && j.cost > 0 {
			j.err = err
		}
	}
	s.accounts.reset()
	s.latest = oneDay{}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.readSums(s.guard.glance); err != nil {
		logger().Error("reading the sums of the slots database failed", zap.Error(err))
	}
}

func (b *batch) set(key, value []byte) { b.note(len(key)+len(value), b.txn.Set(key, value)) }

func (b *batch) delete(key []byte) { b.note(len(key), b.txn.Delete(key)) }

func (b *batch) note(bytes int, err error) {
	b.wrote += int64(bytes + entrySize)
	if b.err == nil && err != nil {
		b.err = fmt.Errorf("changing the slots database: %w", err)
	}
}

// setSum writes a sum. What is zero needs no key.
func (b *batch) setSum(key []byte, s sum) {
	if s == (sum{}) {
		b.delete(key)
		return
	}
	b.set(key, encodeSum(s))
}

// slot reads a slot as the jobs before in this batch have left it.
func (b *batch) slot(id string) (store.Slot, error) { return getSlot(b.txn, id) }

// wait changes the sums of waiting slots.
func (b *batch) wait(deadline time.Time, n, bytes int64) {
	second := lapseSecond(deadline)
	if b.seconds == nil {
		b.seconds = make(map[int64]sum)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.seconds[second] = b.waiting.add(second, n, bytes)
}

// longestWait returns the longest put_timeout ever.
func (s *Slots) longestWait() time.Duration {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.maxWait
}

// waitFor notes for how long a slot may wait.
func (b *batch) waitFor(d time.Duration) {
	if d > b.maxWait {
		b.mu.Lock()
		defer b.mu.Unlock()
		b.maxWait, b.waitsLonger = d, true
	}
}

// store changes the sums of stored files, after the account has changed.
func (b *batch) store(acct *cachedAccount, n, bytes int64) {
	if b.stored == nil {
		b.stored = make(map[*cachedAccount]sum)
	}
	if _, changed := b.stored[acct]; !changed {
		files, was := acct.Stored()
		b.stored[acct] = sum{files, was}.add(-n, -bytes)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.storedTotal = b.storedTotal.add(n, bytes)
}

func getSlot(txn *badger.Txn, id string) (slot store.Slot, err error) {
	if !store.IsID(id) {
		return store.Slot{}, store.ErrNotFound
	}
	item, err := txn.Get(slotKey(id))
	if errors.Is(err, badger.ErrKeyNotFound) {
		return store.Slot{}, store.ErrNotFound
	}
	if err != nil {
		return store.Slot{}, fmt.Errorf("reading slot %s: %w", id, err)
	}
	err = item.Value(func(v []byte) error {
		slot, err = decodeSlot(id, v)
		return err
	})
	return slot, err
}
