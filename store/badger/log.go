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
	// written counts transactions since the directory was read.
	written int
}

type logFile struct {
	*os.File
	// superseded logs do not change any more: one flush is enough.
	superseded, flushed bool
}

// prepareEvery bounds how many transactions may pass before a new log is seen.
const prepareEvery = 64

// prepare gives a new log its room. A full disk under a log that is mapped into
// memory would kill the process.
func (l *writeAheadLog) prepare() error {
	if l.written++; l.written < prepareEvery {
		return nil
	}
	return l.scan()
}

// sync returns once all that was committed survives a power cut.
func (l *writeAheadLog) sync() error {
	if err := l.scan(); err != nil {
		return err
	}
	for _, f := range l.files {
		if f.flushed {
			continue
		}
		if err := flush(f.File); err != nil {
			return fmt.Errorf("flushing %s: %w", f.Name(), err)
		}
		f.flushed = f.superseded
	}
	return nil
}

// scan learns of new logs and forgets removed ones, whose contents are in tables
// that Badger has flushed.
func (l *writeAheadLog) scan() error {
	l.written = 0
	names, err := readNames(l.dir)
	if err != nil {
		return fmt.Errorf("looking for logs in %s: %w", l.dir, err)
	}
	present, newest := make(map[string]bool), ""
	for _, name := range names {
		if strings.HasSuffix(name, ".mem") {
			present[name] = true
			if len(name) > len(newest) || len(name) == len(newest) && name > newest {
				newest = name // numbers, padded with zeros
			}
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
	return nil
}

func (l *writeAheadLog) open(name string) error {
	if l.files[name] != nil {
		return nil
	}
	f, err := os.OpenFile(filepath.Join(l.dir, name), os.O_RDWR, 0)
	if err != nil {
		return fmt.Errorf("opening log: %w", err)
	}
	preallocate(f, logSize)
	l.files[name] = &logFile{File: f}
	return nil
}

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
