package badger

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
)

// writeAheadLog makes what was committed survive a power cut.
//
// Badger's own DB.Sync flushes the current log only, so a transaction just
// before a change of logs could be missed, and it flushes the value log, which
// we leave empty. Since one goroutine makes all changes, it can flush all logs
// that have changed, with one trip to the disk for the usual one.
type writeAheadLog struct {
	dir   string
	files map[string]*logFile
	// prepared tells whether the newest log has its room.
	prepared bool
	newest   string
	// written is about how many bytes the newest log holds, unseen how many of
	// them came since the directory was read.
	written, unseen int64
}

type logFile struct {
	*os.File
	// superseded logs do not change any more: one flush is enough.
	superseded, flushed bool
	// doubtful logs have seen a flush fail: the kernel then takes what it could
	// not write for written, and a later flush succeeds without it. Badger
	// would read such a log up to its hole.
	doubtful bool
}

// errDoubtful: what is in a log may never come to the disk. That ends when its
// table is written, from memory.
var errDoubtful = errors.New("a flush of the log has failed before")

// How much may be written before a new log is looked for: more while none is
// expected.
const (
	lookEvery = 256 << 10
	lookOften = 16 << 10
)

// grew notes what was written. Now and then it looks for a new log, and gives it
// its room. The old one is flushed then: after a power cut nothing of the new
// one should be there without all of the old one.
func (l *writeAheadLog) grew(bytes int64) (looked bool, err error) {
	every := int64(lookEvery)
	if l.written > nearlyFull {
		every = lookOften
	}
	l.written += bytes
	if l.unseen += bytes; l.unseen < every {
		return false, nil
	}
	if err := l.scan(); err != nil {
		return true, err
	}
	return true, l.flush(func(f *logFile) bool { return f.superseded && !f.doubtful })
}

// sync returns once all that was committed survives a power cut.
func (l *writeAheadLog) sync() error {
	if err := l.scan(); err != nil {
		return err
	}
	for _, f := range l.files {
		if f.doubtful {
			return fmt.Errorf("flushing %s: %w", f.Name(), errDoubtful)
		}
	}
	return l.flush(func(*logFile) bool { return true })
}

// flush flushes the logs that are wanted, if they have changed.
func (l *writeAheadLog) flush(wanted func(*logFile) bool) error {
	for _, f := range l.files {
		if f.flushed || !wanted(f) {
			continue
		}
		if err := flush(f.File); err != nil {
			f.doubtful = true
			return fmt.Errorf("flushing %s: %w", f.Name(), err)
		}
		f.flushed = f.superseded
	}
	return nil
}

// scan learns of new logs and forgets removed ones, whose contents are in tables
// that Badger has flushed.
func (l *writeAheadLog) scan() error {
	names, err := readNames(l.dir)
	if err != nil {
		return fmt.Errorf("looking for logs in %s: %w", l.dir, err)
	}
	present, newest := make(map[string]bool), ""
	for _, name := range names {
		if !isLog(name) {
			continue
		}
		present[name] = true
		if len(name) > len(newest) || len(name) == len(newest) && name > newest {
			newest = name // numbers, padded with zeros
		}
	}
	for name, f := range l.files {
		if !present[name] {
			_ = f.Close()
			delete(l.files, name)
		}
	}
	for name := range present {
		if err := l.open(name); errors.Is(err, fs.ErrNotExist) {
			continue // it has gone since
		} else if err != nil {
			return err
		}
		l.files[name].superseded = name != newest
	}
	l.begin(newest)
	return nil
}

// begin notes which log is the newest, and gives it its room, if there is any.
func (l *writeAheadLog) begin(newest string) {
	if newest != l.newest {
		l.newest, l.prepared, l.written = newest, false, l.unseen
	}
	l.unseen = 0
	if f := l.files[newest]; f != nil && !l.prepared {
		l.prepared = preallocate(f.File, logSize)
	}
}

func (l *writeAheadLog) open(name string) error {
	if l.files[name] != nil {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	l.files[name] = &logFile{File: f}
	return nil
}

// inDoubt reports whether the log that is written to is doubtful.
func (l *writeAheadLog) inDoubt() bool {
	f := l.files[l.newest]
	return f != nil && f.doubtful
}

func isLog(name string) bool { return strings.HasSuffix(name, ".mem") }

// close forgets all logs.
func (l *writeAheadLog) close() {
	for _, f := range l.files {
		_ = f.Close()
	}
	l.files = nil
}

func readNames(dir string) ([]string, error) {
	d, err := os.Open(dir)
	if err != nil {
		return nil, err
	}
	defer d.Close()
	return d.Readdirnames(-1)
}
