package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/dgraph-io/badger/v4"
	"github.com/dgraph-io/badger/v4/pb"
	"github.com/dgraph-io/badger/v4/table"
	"go.uber.org/zap"
	"google.golang.org/protobuf/proto"
)

// Badger writes to its manifest which tables it makes and removes. When that
// cannot be flushed to the disk, Badger removes the new tables, and writes others
// later; but the manifest may name those which it has removed, and then Badger
// does not open any more: "file does not exist for table". So such a change is
// made void in its place, of which Badger knows no more than where it ends.

// mendManifest makes changes void that Badger has not made, and tries again if it
// can't.
func (g *guard) mendManifest() {
	name := filepath.Join(g.dir, badger.ManifestFilename)
	b, err := os.ReadFile(name)
	for _, c := range changesIn(b) {
		if err == nil && c.undone(g.dir) {
			err = overwrite(name, c.at, void(c.size))
		}
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		logger().Error("mending the manifest of the slots database, without which it could not be opened again", zap.String("file", name), zap.Error(err))
		time.AfterFunc(healEvery, g.mendManifest)
	}
}

// change is a record in the manifest: its length, a checksum, and its contents.
type change struct {
	at   int64
	size int // of its contents
	// made are the tables that it makes and no later one removes.
	made map[uint64]bool
}

const (
	manifestHead = 8
	recordHead   = 8
)

// changesIn returns the changes in a manifest, up to one that is being written.
func changesIn(b []byte) (changes []change) {
	for at := manifestHead; at+recordHead <= len(b); {
		size := int(binary.BigEndian.Uint32(b[at:]))
		if size > len(b)-at-recordHead {
			return changes
		}
		contents := b[at+recordHead : at+recordHead+size]
		var set pb.ManifestChangeSet
		if crc32.Checksum(contents, castagnoli) != binary.BigEndian.Uint32(b[at+4:]) || proto.Unmarshal(contents, &set) != nil {
			return changes
		}
		c := change{int64(at), size, make(map[uint64]bool)}
		for _, t := range set.Changes {
			if t.Op == pb.ManifestChange_CREATE {
				c.made[t.Id] = true
				continue
			}
			for _, earlier := range changes {
				delete(earlier.made, t.Id)
			}
		}
		changes = append(changes, c)
		at += recordHead + size
	}
	return changes
}

// undone reports whether tables should be there of this change, and none is.
func (c change) undone(dir string) bool {
	for id := range c.made {
		if _, err := os.Stat(table.NewFilename(id, dir)); !errors.Is(err, fs.ErrNotExist) {
			return false
		}
	}
	return len(c.made) > 0
}

// void returns a record whose contents have this size, and say nothing: fields
// that nobody knows.
func void(size int) []byte {
	const tag = 15<<3 | 2 // of a string
	var contents []byte
	if size%2 == 1 {
		contents = append(contents, tag, 1, 0)
	}
	for len(contents) < size {
		contents = append(contents, tag, 0)
	}
	b := binary.BigEndian.AppendUint32(nil, uint32(size)) //nolint:gosec // it was read from as many bits
	b = binary.BigEndian.AppendUint32(b, crc32.Checksum(contents, castagnoli))
	return append(b, contents...)
}

func overwrite(name string, at int64, b []byte) error {
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	if _, err = f.WriteAt(b, at); err != nil {
		err = fmt.Errorf("overwriting a change: %w", err)
	}
	return errors.Join(err, f.Sync(), f.Close())
}
