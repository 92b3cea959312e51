package badger

import (
	"fmt"

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

// noRoom is the error of a job that would leave too little room.
func (s *Slots) noRoom(free, need int64, err error) error {
	if err != nil {
		return err
	}
	return fmt.Errorf("%w: slots directory %s has %d MiB free, and needs %d MiB", store.ErrNoSpace, s.dir, free>>20, need>>20)
}
