package badger

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/space"
)

// Badger maps its files into memory. If the disk is full when it writes to such
// a mapping, the kernel kills the process, and nothing in Go can prevent that.
// So the writer sees to it that there is room before it writes:
//
//   - Logs get their room when they begin, so that writing to one takes none.
//   - When a log is nearly full, Badger is about to write its table and to begin
//     the next log, and it may merge tables after that. The room for all this
//     must be there before the writer goes on.
//
// What remains is another program that takes the room between the look and the
// use, while tables are being written and merged: up to some tenths of a second.
const (
	memTableSize = 8 << 20
	// logSize is how far a log is written before Badger begins the next one.
	logSize = memTableSize + 1<<20
	// nearlyFull is when a log is: estimates are on the high side.
	nearlyFull = memTableSize * 3 / 4
	// entrySize is what an entry takes in memory, beside key and value.
	entrySize = 64

	// What is left alone. New slots leave some for what ends and removes the
	// old ones.
	roomToReserve = 6 << 20
	roomToCommit  = 2 << 20

	// mostToMerge is about what one merging of tables writes in a large database.
	mostToMerge = 64 << 20

	roomToClose = memTableSize + roomToCommit
	roomToOpen  = roomToClose
)

// roomFor is how much space must be free for a job that must leave room.
func (s *Slots) roomFor(room int64) int64 {
	if !s.log.prepared {
		room += logSize
	}
	if s.log.written > nearlyFull {
		room += s.roomToRotate
	}
	return room
}

// lookAhead finds out what the next change of logs takes: a table, a log, and
// the merging of tables, whose old ones go only after that. Badger may merge all
// of a small database, and some tables of a large one.
func (s *Slots) lookAhead() {
	var tables int64
	for _, level := range s.db.Levels() {
		tables += level.Size
	}
	s.roomToRotate = memTableSize + logSize + min(tables, mostToMerge)
}

// checkRoomToOpen refuses what a full disk would end badly.
func checkRoomToOpen(dir string) error {
	free, err := space.Free(dir)
	if err != nil {
		return err
	}
	need := int64(roomToCommit)
	names, err := readNames(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if isLog(name) {
			need = roomToOpen // what was not closed becomes a table first
		}
	}
	if free < need {
		return fmt.Errorf("%w: slots directory %s needs %d MiB of free space to be opened, and has %d MiB; make room and try again",
			store.ErrNoSpace, dir, need>>20, free>>20)
	}
	return nil
}

// probe makes a file as Badger is about to make its next log: if it can't, Badger
// panics. That is so on a file system that has become read-only, for a user
// beyond a quota, and for a process with too many open files.
func (s *Slots) probe() (err error) {
	f, err := os.OpenFile(filepath.Join(s.dir, "probe"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return noFile(err)
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	if err := f.Truncate(2 * memTableSize); err != nil {
		return noFile(err)
	}
	if s.log.prepared && !preallocate(f, logSize) { // this file system can, or could
		return noFile(syscall.ENOSPC)
	}
	return nil
}

// probeEvery is how long what a probe has found is good for.
const probeEvery = 50 * time.Millisecond

// probeNow is probe, unless the last one was a moment ago and found no fault.
func (s *Slots) probeNow() error {
	if time.Since(s.probed) < probeEvery {
		return nil
	}
	err := s.probe()
	if err == nil {
		s.probed = time.Now()
	}
	return err
}

func noFile(err error) error {
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		err = fmt.Errorf("%w: %w", store.ErrNoSpace, err)
	}
	return fmt.Errorf("the slots database can't begin its next log: %w", err)
}

// noRoom is the error of a job that would leave too little room.
func (s *Slots) noRoom(free, need int64, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: slots directory %s has %d MiB free, and needs %d MiB", store.ErrNoSpace, s.dir, free>>20, need>>20)
}
