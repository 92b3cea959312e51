// Package badger keeps slots in an embedded Badger database, for one process.
//
// One goroutine, the writer, makes all changes; see its code for why. Accounts
// of JIDs live in memory while they are used, and are restored from the journal
// of the JID when they are needed again. Reading needs no writer.
package badger

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/options"
	"github.com/dgraph-io/ristretto/v2/z"
	"go.uber.org/zap"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/space"
)

// Slots implements store.Slots.
type Slots struct {
	dir   string
	db    *badger.DB
	guard *guard

	jobs    chan *job
	loaded  chan load
	calls   chan func()
	quit    chan struct{} // closed to end the writer
	stopped chan struct{} // closed when it has ended
	readers sync.WaitGroup

	free *space.Meter // the writer measures for each batch

	// The writer's own.
	collected []*job // of the batch at hand, whose memory the next one uses
	accounts  accounts
	parked    map[string][]*job
	log       writeAheadLog
	span      time.Duration
	latest    oneDay // the day that was counted last
	// roomToRotate must be free when Badger changes logs.
	roomToRotate int64
	// probed is when a file could be made last.
	probed time.Time

	// mu guards what the writer changes and others read.
	mu          sync.Mutex
	waiting     *waiting
	storedTotal sum
	maxWait     time.Duration                 // the longest put_timeout ever
	flights     map[string]*flight            // by ID
	flightsOf   map[string]map[string]*flight // by JID and ID
}

// Open opens the database in dir, and makes it if there is none. Its errors
// name the directory and the remedy.
func Open(dir string) (*Slots, error) {
	if err := checkLeftOpen(dir); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("making the slots directory: %w", err)
	}
	if err := checkRoomToOpen(dir); err != nil {
		return nil, err
	}
	guard, err := openDB(dir)
	if err != nil {
		return nil, err
	}
	s := &Slots{
		dir: dir, db: guard.db, guard: guard,
		jobs: make(chan *job, batchJobs), loaded: make(chan load), calls: make(chan func()),
		quit: make(chan struct{}), stopped: make(chan struct{}),
		free:     space.NewMeter(func() (int64, error) { return space.Free(dir) }),
		accounts: accounts{most: mostClaims()},
		parked:   make(map[string][]*job),
		log:      writeAheadLog{dir: dir, files: make(map[string]*logFile)},
		flights:  make(map[string]*flight), flightsOf: make(map[string]map[string]*flight),
	}
	if err := s.start(); err != nil {
		s.log.close()
		return nil, errors.Join(fmt.Errorf("slots directory %s: %w", dir, err), s.closeDB())
	}
	return s, nil
}

func (s *Slots) start() error {
	if err := s.log.scan(); err != nil {
		return err
	}
	s.lookAhead()
	if err := s.heal(); err != nil {
		return err
	}
	version, err := s.readFormat()
	if err != nil {
		return err
	}
	if err := s.readSums(s.settled); err != nil {
		return err
	}
	if version < formatVersion {
		if err := s.upgrade(); err != nil {
			return err
		}
	}
	go s.write()
	return nil
}

// openDB opens Badger, or takes over the database that was left open.
func openDB(dir string) (*guard, error) {
	if g, ok := leftOpen.LoadAndDelete(dir); ok {
		return g.(*guard), nil
	}
	g, err := openGuarded(dir)
	if err != nil && strings.Contains(err.Error(), z.NewFile.Error()) {
		// A process died when it had just made a log, or had just emptied one
		// whose table is written. Badger does not open what is empty.
		if err := removeEmptyLogs(dir); err != nil {
			return nil, fmt.Errorf("slots directory %s: %w", dir, err)
		}
		g, err = openGuarded(dir)
	}
	if err == nil {
		return g, nil
	}
	if strings.Contains(err.Error(), "directory lock") {
		return nil, fmt.Errorf("slots directory %s is in use by another process; to change the configuration of a running server use `caddy reload`, and `caddy adapt` rather than `caddy validate` to check it: %w", dir, err)
	}
	return nil, fmt.Errorf("opening slots directory %s: %w", dir, err)
}

// openGuarded opens Badger, with a guard.
func openGuarded(dir string) (*guard, error) {
	if err := writeTables(dir); err != nil {
		return nil, err
	}
	g := newGuard(dir)
	db, err := badger.Open(profile(dir).WithLogger(g))
	if err != nil {
		g.arm(nil)
		return nil, err
	}
	g.arm(db)
	return g, nil
}

// writeTables writes the tables of many logs, as a server leaves them that died
// again and again when it had just begun: opening Badger would wait for tables to
// be written, these for tables to be merged, and the guard makes merges wait for
// Badger to be open.
func writeTables(dir string) error {
	const few = 2
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	if len(slices.DeleteFunc(names, func(name string) bool { return !isLog(name) })) <= few {
		return nil
	}
	db, err := badger.Open(profile(dir).WithNumCompactors(0).WithNumLevelZeroTablesStall(math.MaxInt))
	if err != nil {
		return err
	}
	return db.Close()
}

func removeEmptyLogs(dir string) error {
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if path := filepath.Join(dir, name); isLog(name) {
			info, err := os.Stat(path)
			if err == nil && info.Size() == 0 {
				err = os.Remove(path)
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

// profile is for small memory.
func profile(dir string) badger.Options {
	return badger.DefaultOptions(dir).
		WithMemTableSize(memTableSize).
		WithNumMemtables(2).
		WithNumLevelZeroTables(2). // merged early, while there is little to merge
		WithBlockCacheSize(8 << 20).
		WithIndexCacheSize(8 << 20).
		WithValueLogFileSize(16 << 20).
		WithValueThreshold(64 << 10). // all our values: the value log stays empty
		WithNumCompactors(2).
		WithCompression(options.Snappy).
		WithMetricsEnabled(false).
		WithDetectConflicts(false). // there is one writer
		WithLogger(badgerLogger{})
}

// readSums reads the sums over all JIDs; slots with uploads in flight hold what
// is theirs.
func (s *Slots) readSums(view func(func(*badger.Txn) error) error) error {
	var known *waiting
	err := view(func(txn *badger.Txn) (err error) {
		known = newWaiting()
		if s.storedTotal, err = getSum(txn, []byte{totalsPrefix}); err != nil {
			return err
		}
		it := txn.NewIterator(badger.IteratorOptions{Prefix: []byte{waitingPrefix}})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			w, err := sumOf(it.Item())
			if err != nil {
				return err
			}
			known.add(secondOf(it.Item().Key()), w.n, w.bytes)
		}
		return nil
	})
	if known == nil {
		return err
	}
	s.waiting = known
	for _, f := range s.flights {
		s.waiting.hold(lapseSecond(f.claim.Deadline), 1, f.claim.Size)
	}
	return err
}

// Remember implements store.Slots.
func (s *Slots) Remember(ctx context.Context, d time.Duration) error {
	return s.call(ctx, func() { s.remember(d) })
}

// Free implements store.Slots.
func (s *Slots) Free(context.Context) (int64, error) {
	return s.free.Recent()
}

// Close ends the writer and closes the database.
func (s *Slots) Close() error {
	close(s.quit)
	<-s.stopped
	s.readers.Wait()
	err := s.log.sync()
	s.log.close()
	return errors.Join(err, s.closeDB())
}

// closeDB closes the database, or leaves it open where that can't be done now.
// Badger then writes a table, through a mapping: with no room for it the kernel
// kills the process, and if the file can't be made, Badger tries again for ever.
func (s *Slots) closeDB() error {
	free, err := s.free.Measure()
	full := err == nil && free < roomToClose
	if !full {
		err = s.probe()
	}
	if full || err != nil || s.guard.hurt.Load() {
		logger().Warn("the slots database stays open, so that nothing must be written",
			zap.String("directory", s.dir), zap.Int64("free", free), zap.Bool("full", full), zap.Error(err))
		leftOpen.Store(s.dir, s.guard)
		return nil
	}
	return s.guard.close()
}

// leftOpen holds, by directory, the databases that were left open, with their
// guards. All that was committed is in the log, for the next to open it, in this
// process or in another one.
var leftOpen sync.Map

// checkLeftOpen refuses to go on with a database that was left open and whose
// directory has gone since, and to begin a new one in its place: Badger still
// makes and removes files there by their names.
func checkLeftOpen(dir string) error {
	if g, ok := leftOpen.Load(dir); ok && !g.(*guard).inPlace() {
		return fmt.Errorf("slots directory %s was removed or replaced while it was in use: put it back, or restart the server to go on without it", dir)
	}
	return nil
}

// logger belongs to the configuration of the moment: a store outlives many.
func logger() *zap.Logger { return caddy.Log().Named("http.xmpp_upload.slots.badger") }

// badgerLogger passes on what an operator should know.
type badgerLogger struct{}

func (badgerLogger) Errorf(f string, v ...any)   { logger().Error(line(f, v)) }
func (badgerLogger) Warningf(f string, v ...any) { logger().Warn(line(f, v)) }
func (badgerLogger) Infof(string, ...any)        {}
func (badgerLogger) Debugf(string, ...any)       {}

func line(f string, v []any) string { return strings.TrimSpace(fmt.Sprintf(f, v...)) }

var _ store.Slots = (*Slots)(nil)
