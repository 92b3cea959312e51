package badger

import (
	"context"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"

	"github.com/dgraph-io/badger/v4"
)

// A copy is a text that says what it is, the version of its form, and frames:
//
//	<length> <checksum> <keys and values>
//
// The length is a uvarint, the checksum is the CRC-32C of what all frames up to
// this one hold, and keys and values are strings with their length, in the
// order of the keys. A frame of length 0 is the last one: a copy without it was
// cut off.
const (
	copyMagic   = "xmpp_upload slots\n"
	copyVersion = 1
	frameSize   = 256 << 10
	// largestFrame has room for the last key and value.
	largestFrame = frameSize + 128<<10
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// Backup implements store.Slots. Restore takes the copy back.
//
// Badger's own way reads its ranges of keys in several transactions, so sums
// could differ from what they count. This one has a single transaction.
func (s *Slots) Backup(ctx context.Context, w io.Writer) error {
	f, losses := framer{w: w}, s.guard.losses.Load()
	if err := s.guard.whole(ctx.Done()); err != nil {
		return err
	}
	if _, err := io.WriteString(w, copyMagic+string(rune(copyVersion))); err != nil {
		return fmt.Errorf("writing a copy of the slots: %w", err)
	}
	return s.db.View(func(txn *badger.Txn) error {
		it := txn.NewIterator(badger.IteratorOptions{})
		defer it.Close()
		for it.Rewind(); it.Valid(); it.Next() {
			if err := ctx.Err(); err != nil {
				return err
			}
			item := it.Item()
			if err := item.Value(func(v []byte) error { return f.add(item.Key(), v) }); err != nil {
				return fmt.Errorf("writing a copy of the slots: %w", err)
			}
		}
		if !s.guard.sure(losses) {
			return errLost
		}
		return f.end()
	})
}

// framer writes frames.
type framer struct {
	w     io.Writer
	frame []byte
	sum   uint32
}

func (f *framer) add(key, value []byte) error {
	for _, b := range [][]byte{key, value} {
		f.frame = binary.AppendUvarint(f.frame, uint64(len(b)))
		f.frame = append(f.frame, b...)
	}
	if len(f.frame) < frameSize {
		return nil
	}
	return f.flush()
}

// flush writes the frame.
func (f *framer) flush() error {
	f.sum = crc32.Update(f.sum, castagnoli, f.frame)
	head := binary.AppendUvarint(nil, uint64(len(f.frame)))
	head = binary.BigEndian.AppendUint32(head, f.sum)
	for _, b := range [][]byte{head, f.frame} {
		if _, err := f.w.Write(b); err != nil {
			return err
		}
	}
	f.frame = f.frame[:0]
	return nil
}

// end writes what is left, and the last frame.
func (f *framer) end() error {
	if len(f.frame) > 0 {
		if err := f.flush(); err != nil {
			return err
		}
	}
	return f.flush()
}
