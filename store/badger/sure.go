package badger

import (
	"context"
	"errors"
	"fmt"

	"github.com/dgraph-io/badger/v4"
)

// Who reads while tables are being replaced may miss what gets lost, before
// anybody knows that it is lost. So whoever has read looks back: if all tables
// from before are still there, or all went well, then what he read is right.
// Else he reads again, once the entries that were lost are back. That way nobody
// ever takes a slot for missing that is not, and no sum is made of half of what
// there is.

// errLost is why something could not be read.
var errLost = errors.New("the disk failed, and entries of the slots database are missing until they can be written again")

// sure reports whether what was read since the losses were so many is right.
func (g *guard) sure(losses uint64) bool {
	if g.merging.Load() {
		g.mu.Lock()
		m := g.merge
		g.mu.Unlock()
		if m != nil && !m.begun(g.db.Tables()) {
			g.mu.Lock()
			for g.merge == m { // no longer than it takes to remove a table from a list
				g.ended.Wait()
			}
			g.mu.Unlock()
		}
	}
	return g.losses.Load() == losses
}

// begun reports whether all tables are still as they were.
func (m *merge) begun(now []badger.TableInfo) bool {
	after := byID(now)
	for _, t := range m.before {
		if _, there := after[t.ID]; !there {
			return false
		}
	}
	return true
}

// whole returns when nothing is missing, errLost if that takes long, and the
// latter too if done is closed.
func (g *guard) whole(done <-chan struct{}) error {
	for g.hurt.Load() {
		g.mu.Lock()
		hurt, tried, err := g.hurt.Load(), g.tried, g.failed
		g.mu.Unlock()
		if !hurt {
			return nil
		}
		if err != nil {
			return fmt.Errorf("%w: %w", errLost, err)
		}
		select {
		case <-tried:
		case <-done:
			return errLost
		}
	}
	return nil
}

// view calls f with a transaction to read from, until what f has read is right:
// it may do so several times.
func (g *guard) view(ctx context.Context, f func(*badger.Txn) error) error {
	return g.viewUntil(ctx.Done(), f)
}

// viewUntil is view, and does not wait once done is closed.
func (g *guard) viewUntil(done <-chan struct{}, f func(*badger.Txn) error) error {
	for {
		losses := g.losses.Load()
		if err := g.whole(done); err != nil {
			return err
		}
		if err := g.db.View(f); g.sure(losses) {
			return err
		}
	}
}

// glance is view for the writer, who must not wait for himself: it returns errLost
// if what f has read may not be right.
func (g *guard) glance(f func(*badger.Txn) error) error {
	losses := g.losses.Load()
	if g.hurt.Load() {
		return errLost
	}
	if err := g.db.View(f); g.sure(losses) {
		return err
	}
	return errLost
}

// settled is view for who stands in for the writer.
func (s *Slots) settled(f func(*badger.Txn) error) error {
	for {
		if err := s.guard.glance(f); !errors.Is(err, errLost) {
			return err
		}
		if err := s.heal(); err != nil {
			return err
		}
	}
}

// sure returns err, or errLost if what the batch has read may not be right.
func (b *batch) sure(err error) error {
	if !b.guard.sure(b.losses) {
		return errLost
	}
	return err
}

// doubt gives errLost to the jobs that have failed, or would have written.
func doubt(jobs []*job) {
	for _, j := range jobs {
		if j.err != nil || j.cost > 0 {
			j.err = errLost
		}
	}
}
