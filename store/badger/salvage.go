package badger

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/badger/v4/table"
	"github.com/dgraph-io/badger/v4/y"
	"github.com/dgraph-io/ristretto/v2/z"
	"go.uber.org/zap"
)

// keptDir is where, in the slots directory, tables are kept of which something
// was lost: should the process die before it is written again, the next one does
// that. They are links, so they take no room of their own.
const keptDir = "kept"

// healEvery is how soon the next try follows one that has failed.
const healEvery = time.Second

// heal writes again what was lost. The writer does it, or who stands in for the
// writer, between two batches. Until it has succeeded nothing is served.
func (s *Slots) heal() error {
	if !s.guard.hurt.Load() {
		return nil
	}
	wounds := s.guard.examine()
	entries, err := s.salvage(wounds)
	if err == nil {
		err = s.secure(entries > 0)
	}
	if err == nil {
		s.accounts.reset()
		s.latest = oneDay{}
		s.mu.Lock()
		err = s.readSums(s.db.View)
		s.mu.Unlock()
	}
	if err = s.guard.healed(wounds, err); err != nil {
		logger().Error("entries that a failed disk has taken from the slots database can't be written again, and nothing is served until they are",
			zap.String("directory", s.dir), zap.Error(err))
		return fmt.Errorf("%w: %w", errLost, err)
	}
	logger().Error("the disk has failed; what was missing in the slots database is written again: check the disk and its free space",
		zap.String("directory", s.dir), zap.Int("entries", entries))
	return nil
}

// secure returns when the disk has what was written again. A log that is doubtful
// is left for another one, so it will be in a table; that log stays for as long as
// the guard holds tables.
func (s *Slots) secure(more bool) error {
	if s.guard.salvaged == 0 || more {
		txn := s.db.NewTransaction(false)
		s.guard.salvaged = txn.ReadTs()
		txn.Discard()
	}
	err := s.log.sync()
	if err != nil {
		s.leaveLog()
		for _, t := range s.db.Tables() {
			if t.MaxVersion >= s.guard.salvaged {
				return nil
			}
		}
	}
	return err
}

// examine returns the wounds.
func (g *guard) examine() []wound {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, w := range g.wounds {
		g.keep(w)
	}
	return g.wounds
}

// healed notes how a try to heal these wounds has ended. New ones may have come.
func (g *guard) healed(wounds []wound, err error) error {
	g.mu.Lock()
	if err == nil && len(g.wounds) > len(wounds) {
		err = errLost
	}
	if err == nil {
		err = os.RemoveAll(filepath.Join(g.dir, keptDir))
	}
	g.failed = err
	close(g.tried)
	g.tried = make(chan struct{})
	if err == nil {
		g.wounds, g.salvaged = nil, 0
		g.hurt.Store(false)
	} else {
		time.AfterFunc(healEvery, g.wake)
	}
	g.mu.Unlock()
	if err == nil {
		for _, w := range wounds {
			g.letGo(w.hold)
		}
	}
	return err
}

// keep links the tables of a wound to where they are kept. It is there for the
// death of the process only, so who cannot do it goes on without it.
func (g *guard) keep(w wound) {
	dir := filepath.Join(g.dir, keptDir)
	failed := os.Mkdir(dir, 0o700)
	if errors.Is(failed, fs.ErrExist) {
		failed = nil
	}
	for _, t := range w.tables {
		err := os.Link(table.NewFilename(t.ID, g.dir), table.NewFilename(t.ID, dir))
		// One that was written and merged while the database was being closed is
		// gone; its log is still there.
		if err != nil && !errors.Is(err, fs.ErrExist) && !errors.Is(err, fs.ErrNotExist) {
			failed = err
		}
	}
	if failed != nil {
		logger().Warn("keeping tables of the slots database", zap.Error(failed))
	}
}

// keeps reports whether tables are kept.
func (g *guard) keeps() bool {
	_, err := os.Stat(filepath.Join(g.dir, keptDir))
	return err == nil
}

// kept returns the paths of the tables that are kept.
func (g *guard) kept() []string {
	names, _ := readNames(filepath.Join(g.dir, keptDir))
	var paths []string
	for _, name := range names {
		if strings.HasSuffix(name, ".sst") {
			paths = append(paths, filepath.Join(g.dir, keptDir, name))
		}
	}
	return paths
}

// salvage writes again what is in the tables of the wounds, and in those that are
// kept, and is newer than what is in the database. It returns how many entries
// that were.
func (s *Slots) salvage(wounds []wound) (entries int, err error) {
	paths := s.guard.kept()
	for _, w := range wounds {
		for _, t := range w.tables {
			paths = append(paths, table.NewFilename(t.ID, s.dir))
		}
	}
	it, end, err := openTables(paths)
	defer end()
	if err != nil || it == nil {
		return 0, err
	}
	salvager := salvager{upgrader{s.newBatch()}, s.db.NewTransaction(false)}
	defer func() {
		salvager.txn.Discard()
		salvager.before.Discard()
	}()
	var last []byte
	for it.Rewind(); it.Valid(); it.Next() {
		key := y.ParseKey(it.Key())
		if last != nil && bytes.Equal(key, last) {
			continue // an older version
		}
		last = append(last[:0], key...)
		missing, err := salvager.missing(key, y.ParseTs(it.Key()), it.Value())
		if err != nil {
			return entries, err
		}
		if !missing {
			continue
		}
		entries++
		if err := salvager.write(bytes.Clone(key), it.Value()); err != nil {
			return entries, err
		}
	}
	return entries, salvager.commit()
}

// openTables opens tables beside Badger, and returns an iterator over all of them
// and what closes them. Of each key it comes by the newest version first.
func openTables(paths []string) (it y.Iterator, end func(), err error) {
	var tables []*table.Table
	var each []y.Iterator
	end = func() {
		if it != nil {
			_ = it.Close()
		}
		for _, t := range tables {
			_ = t.Close(-1)
		}
	}
	for _, path := range paths {
		info, err := os.Stat(path)
		if err == nil && info.Size() == 0 {
			continue // Badger has emptied it
		}
		if err != nil {
			return nil, end, fmt.Errorf("opening a table: %w", err)
		}
		f, err := z.OpenMmapFile(path, os.O_RDONLY, 0)
		if err != nil {
			return nil, end, fmt.Errorf("opening a table: %w", err)
		}
		t, err := table.OpenTable(f, table.Options{BlockSize: 4 << 10, Compression: options.Snappy})
		if err != nil {
			return nil, end, fmt.Errorf("opening table %s: %w", path, err)
		}
		tables = append(tables, t)
	}
	for _, t := range tables {
		each = append(each, t.NewIterator(table.NOCACHE))
	}
	return table.NewMergeIterator(each, false), end, nil
}

// salvager writes again what was lost.
type salvager struct {
	upgrader
	before *badger.Txn
}

// What Badger's tables hold beside a value.
const (
	metaDeleted = 1 << iota
	metaElsewhere
)

// missing reports whether a version of a key is newer than what the database has.
// Where the database knows nothing of a key, its removal need not be written.
func (s *salvager) missing(key []byte, version uint64, v y.ValueStruct) (bool, error) {
	if bytes.HasPrefix(key, []byte("!badger!")) {
		return false, nil
	}
	item, err := s.before.Get(key)
	if err == nil {
		return item.Version() < version, nil
	}
	if !errors.Is(err, badger.ErrKeyNotFound) {
		return false, err
	}
	if v.Meta&metaDeleted != 0 {
		return false, nil
	}
	it := s.before.NewKeyIterator(key, badger.IteratorOptions{})
	defer it.Close()
	it.Rewind() // to a removal, if anything is there
	return !it.Valid() || it.Item().Version() < version, nil
}

func (s *salvager) write(key []byte, v y.ValueStruct) error {
	switch {
	case v.Meta&metaDeleted != 0:
		s.delete(key)
	case v.Meta&metaElsewhere != 0:
		return fmt.Errorf("the value of %q is not in its table", key)
	default:
		s.set(key, bytes.Clone(v.Value))
	}
	return s.commitIfBig()
}
