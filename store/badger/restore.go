package badger

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/ristretto/v2/z"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/space"
)

// Restore makes a slots directory of a copy that Backup has written. The
// directory must be empty, or not be there. It appears when all of the copy is
// on the disk: nothing stays of one that is damaged or was cut off. Errors name
// the directory.
func Restore(dir string, r io.Reader) error {
	if real, err := filepath.EvalSymlinks(dir); err == nil {
		dir = real
	}
	dir = filepath.Clean(dir)
	if err := checkEmpty(dir); err != nil {
		return err
	}
	partial := dir + ".restoring"
	if err := os.MkdirAll(filepath.Dir(dir), 0o700); err != nil {
		return fmt.Errorf("restoring slots: %w", err)
	}
	switch err := os.Mkdir(partial, 0o700); {
	case errors.Is(err, fs.ErrExist):
		return fmt.Errorf("%s is there: if no other restore is at work, one was interrupted; remove it and try again", partial)
	case err != nil:
		return fmt.Errorf("restoring slots: %w", err)
	}
	err := fillFrom(partial, r)
	if err == nil {
		err = replace(dir, partial)
	}
	if err != nil {
		return errors.Join(fmt.Errorf("restoring slots to %s: %w", dir, err), os.RemoveAll(partial))
	}
	return nil
}

// checkEmpty refuses a directory that holds something.
func checkEmpty(dir string) error {
	names, err := readNames(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return fmt.Errorf("restoring slots: %w", err)
	case len(names) > 0:
		return fmt.Errorf("slots are restored to an empty directory only, and %s is not empty", dir)
	}
	return nil
}

// replace puts the directory partial in the place of dir, and both on the disk.
func replace(dir, partial string) error {
	names, err := readNames(partial)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := syncFile(filepath.Join(partial, name)); err != nil {
			return err
		}
	}
	if err := syncDir(partial); err != nil {
		return err
	}
	if err := os.Remove(dir); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := os.Rename(partial, dir); err != nil {
		return err
	}
	return syncDir(filepath.Dir(dir))
}

func syncFile(name string) error {
	f, err := os.OpenFile(name, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}

func syncDir(name string) error {
	if runtime.GOOS == "windows" {
		return nil // it has no such thing
	}
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// roomToRestore must be free while tables are written, which Badger does through
// mappings: see room.go.
const roomToRestore = 64 << 20

// fillFrom fills a new database in dir with a copy.
func fillFrom(dir string, r io.Reader) (err error) {
	// The writer's tables are 32 times as large, and are made in memory.
	db, err := badger.Open(profile(dir).WithBaseTableSize(128 << 10))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	w := db.NewStreamWriter()
	if err := w.Prepare(); err != nil {
		w.Cancel()
		return err
	}
	l := loader{dir: dir, w: w}
	err = readCopy(r, l.load)
	return errors.Join(err, w.Flush()) // Cancel would leave goroutines behind
}

// loader writes the keys and values of a copy.
type loader struct {
	dir  string
	w    *badger.StreamWriter
	last string // key
}

// load writes what a frame holds.
func (l *loader) load(frame []byte) error {
	switch free, err := space.Free(l.dir); {
	case err != nil:
		return err
	case free < roomToRestore:
		return fmt.Errorf("%w: %d MiB are free, and %d MiB are needed", store.ErrNoSpace, free>>20, roomToRestore>>20)
	}
	buf := z.NewBuffer(2*len(frame), "restore")
	defer func() { _ = buf.Release() }()
	if err := l.each(frame, func(key, value string) {
		badger.KVToBuffer(&pb.KV{Key: []byte(key), Value: []byte(value), Version: 1}, buf)
	}); err != nil {
		return err
	}
	return l.w.Write(buf)
}

// each calls f with each key and value of a frame. Keys must be in their order,
// else Badger panics.
func (l *loader) each(frame []byte, f func(key, value string)) error {
	d := decoder{b: frame}
	for len(d.b) > 0 {
		key, value := d.string(), d.string()
		if d.bad || key <= l.last {
			return errDamagedCopy
		}
		if key == string(formatPrefix) {
			if _, _, err := decodeFormat([]byte(value)); err != nil {
				return err
			}
		}
		f(key, value)
		l.last = key
	}
	return nil
}

// readCopy calls f with each frame of a copy.
func readCopy(r io.Reader, f func(frame []byte) error) error {
	in := bufio.NewReader(r)
	head := make([]byte, len(copyMagic)+1)
	if _, err := io.ReadFull(in, head); err != nil && !cutOff(err) {
		return err
	}
	switch version := head[len(copyMagic)]; {
	case !bytes.HasPrefix(head, []byte(copyMagic)):
		return errors.New("this is no copy of slots")
	case version != copyVersion:
		return fmt.Errorf("the copy has form %d; this program knows %d", version, copyVersion)
	}
	var sum uint32
	for {
		frame, err := readFrame(in, &sum)
		switch {
		case cutOff(err):
			return errors.New("the copy was cut off")
		case err != nil:
			return err
		case len(frame) == 0:
			return expectEnd(in)
		}
		if err := f(frame); err != nil {
			return err
		}
	}
}

func cutOff(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF)
}

// readFrame returns the next frame, and checks the sum of all of them.
func readFrame(in *bufio.Reader, sum *uint32) ([]byte, error) {
	n, err := binary.ReadUvarint(in)
	if err != nil {
		return nil, err
	}
	var want [4]byte
	if _, err := io.ReadFull(in, want[:]); err != nil {
		return nil, err
	}
	if n > largestFrame {
		return nil, errDamagedCopy
	}
	frame := make([]byte, n)
	if _, err := io.ReadFull(in, frame); err != nil {
		return nil, err
	}
	*sum = crc32.Update(*sum, castagnoli, frame)
	if binary.BigEndian.Uint32(want[:]) != *sum {
		return nil, errDamagedCopy
	}
	return frame, nil
}

var errDamagedCopy = errors.New("the copy is damaged")

func expectEnd(in *bufio.Reader) error {
	if _, err := in.ReadByte(); !errors.Is(err, io.EOF) {
		return errDamagedCopy
	}
	return nil
}
