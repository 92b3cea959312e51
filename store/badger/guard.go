package badger

import (
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"github.com/dgraph-io/badger/v4"
	"go.uber.org/zap"
)

// guard notices when Badger loses tables, and keeps what it takes to undo that.
//
// When Badger merges tables and cannot write a new one, since the disk is full or
// broken or too many files are open, it forgets that this has failed: it removes
// the old tables, and all that was in the missing one is gone. So the guard
// counts. Badger tells its logger how many entries it is about to write to each
// table, then it replaces the tables, then it tells that it is done. If the new
// tables hold another number by then, entries are lost.
//
// The old tables are there to be read nevertheless: an iterator has been holding
// on to them, so that Badger has not emptied their files. Of what was lost the
// writer writes again, see salvage.go; and whoever reads meanwhile makes sure that
// he has not read what was lost, see sure.go.
//
// It sees what Badger does through the lines that Badger logs, which are made
// where it happens: Badger waits for each of them.
type guard struct {
	badgerLogger
	dir string
	// where is the directory as it was opened.
	where fs.FileInfo
	// armed is closed when db is there, or never will be.
	armed   chan struct{}
	arming  sync.Once
	db      *badger.DB
	merging atomic.Bool
	// losses counts how often entries were lost.
	losses atomic.Uint64
	// hurt tells whether lost entries wait to be written again, and wounded
	// wakes up who does that.
	hurt    atomic.Bool
	wounded chan struct{}

	mu    sync.Mutex
	merge *merge     // the one that is under way
	ended *sync.Cond // when it is not any more
	// holder is the transaction that iterators are made of which hold tables,
	// and held how many there are. A new one may have to wait for writes, and
	// these for the merge; so it is there before.
	holder *badger.Txn
	held   int
	wounds []wound
	// last holds all tables while the database is being closed.
	last *badger.Iterator
	// tried is closed when somebody has tried to heal, and failed is how that
	// ended.
	tried  chan struct{}
	failed error

	// The writer's own: the age of holder in batches, and the version up to which
	// what was lost is written again.
	age      int
	salvaged uint64
}

// merge is a merging of tables, a compaction in the words of Badger. There is one
// at a time: the others wait.
type merge struct {
	compactor int
	before    []badger.TableInfo
	hold      *badger.Iterator
	entries   uint64 // for new tables
}

// wound is what a merge has lost: something that was in these tables.
type wound struct {
	tables []badger.TableInfo
	hold   *badger.Iterator
}

func newGuard(dir string) *guard {
	where, _ := os.Stat(dir) // without one, it is not there
	g := &guard{dir: dir, where: where, armed: make(chan struct{}), wounded: make(chan struct{}, 1), tried: make(chan struct{})}
	g.ended = sync.NewCond(&g.mu)
	return g
}

// arm begins to guard a database that was just opened; its merges have waited for
// that. Without one, they wait no longer.
func (g *guard) arm(db *badger.DB) {
	g.arming.Do(func() {
		if db != nil {
			g.db, g.holder = db, db.NewTransaction(false)
			g.hurt.Store(g.keeps())
		}
		close(g.armed)
	})
}

// inPlace reports whether the directory is still where it was.
func (g *guard) inPlace() bool {
	now, err := os.Stat(g.dir)
	return err == nil && g.where != nil && os.SameFile(g.where, now)
}

// renew keeps the transaction young that holds tables, for Badger drops no older
// entries than it could read. The writer calls it, so that it waits for no write.
func (g *guard) renew() {
	const old = 64
	if g.age++; g.age < old {
		return
	}
	g.age = 0
	young := g.db.NewTransaction(false)
	g.mu.Lock()
	if g.held == 0 {
		g.holder, young = young, g.holder
	}
	g.mu.Unlock()
	young.Discard()
}

// What Badger logs.
const (
	lineWriting = "[%d] LOG Compact. Added %d keys. Skipped %d keys. Iteration took: %v"
	lineDone    = "[Compactor: %d] Compaction for level: %d DONE"
	lineFailed  = "[Compactor: %d] LOG Compact FAILED with error: %+v: %+v"
	lineRetries = "error flushing memtable to disk: %v, retrying"
	lineGivesUp = "Received err: %v. Cleaning up..."
	lineMerged  = "Waiting for closer"
)

// Debugf implements badger.Logger.
func (g *guard) Debugf(f string, v ...any) {
	switch f {
	case lineWriting:
		g.writing(v[0].(int), v[1].(uint64))
	case lineDone:
		g.done(v[0].(int))
	case lineMerged:
		g.release()
	}
}

// Warningf implements badger.Logger.
func (g *guard) Warningf(f string, v ...any) {
	if f == lineFailed {
		g.done(v[0].(int))
		g.mendManifest()
	}
	g.badgerLogger.Warningf(f, v...)
}

// Errorf implements badger.Logger.
func (g *guard) Errorf(f string, v ...any) {
	switch f {
	case lineRetries:
		g.mendManifest()
	case lineGivesUp:
		g.arm(nil)
	}
	g.badgerLogger.Errorf(f, v...)
}

// writing is called before entries are written to a table: maybe in several
// goroutines of one merge. Tables are replaced after that.
func (g *guard) writing(compactor int, entries uint64) {
	<-g.armed
	if g.db == nil {
		return // it is being closed, and could not be opened
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for g.merge != nil && g.merge.compactor != compactor {
		g.ended.Wait()
	}
	if g.merge == nil {
		g.merge = &merge{compactor: compactor, before: g.db.Tables(), hold: g.holdAll()}
		g.merging.Store(true)
	}
	g.merge.entries += entries
}

// holdAll holds on to all tables. While the database is being closed that is so
// already, and no more can be done.
func (g *guard) holdAll() *badger.Iterator {
	if g.last != nil {
		return nil
	}
	g.held++
	return g.holder.NewIterator(badger.IteratorOptions{})
}

// done is called when a merge has ended, and may have replaced tables.
func (g *guard) done(compactor int) {
	g.mu.Lock()
	m := g.merge
	if m == nil || m.compactor != compactor {
		g.mu.Unlock()
		return // it has not written anything
	}
	if replaced, lost := m.lost(g.db.Tables()); lost {
		logger().Error("the disk failed while tables of the slots database were merged: what is missing now will be written again",
			zap.String("directory", g.dir), zap.Int("tables", len(replaced)))
		w := wound{replaced, m.hold}
		m.hold = nil
		g.losses.Add(1)
		g.hurt.Store(true)
		g.wounds = append(g.wounds, w)
		g.keep(w)
		g.wake()
	}
	g.merge = nil
	g.merging.Store(false)
	g.ended.Broadcast()
	g.mu.Unlock()
	g.letGo(m.hold)
}

// letGo lets Badger remove what it has replaced.
func (g *guard) letGo(hold *badger.Iterator) {
	if hold == nil {
		return
	}
	hold.Close()
	g.mu.Lock()
	defer g.mu.Unlock()
	g.held--
}

// lost returns which tables were replaced, and whether entries that should be in
// new ones are not. What was just written to the database, and became a table
// meanwhile, has newer versions than all that was merged. If in doubt it says
// yes.
func (m *merge) lost(now []badger.TableInfo) (replaced []badger.TableInfo, lost bool) {
	before, after := byID(m.before), byID(now)
	var newest, written uint64
	for id, t := range before {
		if _, there := after[id]; !there {
			replaced = append(replaced, t)
			newest = max(newest, t.MaxVersion)
		}
	}
	for id, t := range after {
		if _, old := before[id]; !old && (t.Level > 0 || t.MaxVersion <= newest) {
			written += uint64(t.KeyCount)
		}
	}
	return replaced, len(replaced) > 0 && written != m.entries
}

func byID(tables []badger.TableInfo) map[uint64]badger.TableInfo {
	m := make(map[uint64]badger.TableInfo, len(tables))
	for _, t := range tables {
		m[t.ID] = t
	}
	return m
}

// close closes the database. If a merge loses something meanwhile, all that it
// takes to undo that is left for who opens it next.
func (g *guard) close() error {
	g.mu.Lock()
	g.last = g.holdAll()
	g.mu.Unlock()
	return g.db.Close()
}

// release is called when the database is nearly closed, and no merges can come.
func (g *guard) release() {
	g.mu.Lock()
	last, whole := g.last, len(g.wounds) == 0
	g.mu.Unlock()
	if last != nil && whole {
		g.letGo(last)
		g.holder.Discard()
	}
}

func (g *guard) wake() {
	select {
	case g.wounded <- struct{}{}:
	default:
	}
}

var _ badger.Logger = (*guard)(nil)
