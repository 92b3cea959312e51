package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/dgraph-io/badger/v4"
)

// formatVersion of the database:
//
//	1  the first
//	2  has the index of users, and the days
const formatVersion = 2

func encodeFormat(maxWait time.Duration) []byte {
	return binary.AppendVarint([]byte{formatVersion}, int64(maxWait))
}

// decodeFormat refuses what this program does not know.
func decodeFormat(v []byte) (version byte, maxWait time.Duration, err error) {
	if len(v) < 2 {
		return 0, 0, errRecord
	}
	if v[0] == 0 || v[0] > formatVersion {
		return 0, 0, fmt.Errorf("the database has format %d; this program knows 1 to %d: use the version that wrote it, or a newer one", v[0], formatVersion)
	}
	d := decoder{b: v[1:]}
	maxWait = time.Duration(d.varint())
	if d.bad || len(d.b) > 0 {
		return 0, 0, errRecord
	}
	return v[0], maxWait, nil
}

// readFormat returns the version of the database. A new one gets its own with
// its first slot.
func (s *Slots) readFormat() (version byte, err error) {
	err = s.settled(func(txn *badger.Txn) error {
		item, err := txn.Get([]byte{formatPrefix})
		if errors.Is(err, badger.ErrKeyNotFound) {
			version = formatVersion
			return nil
		}
		if err != nil {
			return err
		}
		return item.Value(func(v []byte) error {
			version, s.maxWait, err = decodeFormat(v)
			return err
		})
	})
	return version, err
}
