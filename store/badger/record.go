package badger

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Records are sequences of varints and of strings with their length. The first
// byte of a slot tells its version; others follow the version of the database.

const slotVersion = 1

var errRecord = errors.New("record is damaged")

func encodeSlot(s store.Slot) []byte {
	b := make([]byte, 0, 64+len(s.JID)+len(s.Name)+len(s.URLName)+len(s.ContentType)+len(s.Attempt))
	b = append(b, slotVersion, byte(s.State))
	b = binary.AppendUvarint(b, uint64(s.Size)) //nolint:gosec // sizes are positive
	for _, t := range []time.Time{s.Reserved, s.Deadline, s.Uploaded, s.Expires} {
		b = appendTime(b, t)
	}
	urlName := s.URLName
	if urlName == s.Name {
		urlName = "" // most names are plain
	}
	for _, v := range []string{s.JID, s.Name, urlName, s.ContentType, s.Attempt} {
		b = binary.AppendUvarint(b, uint64(len(v)))
		b = append(b, v...)
	}
	return b
}

func decodeSlot(id string, b []byte) (store.Slot, error) {
	if len(b) < 2 {
		return store.Slot{}, fmt.Errorf("slot %s: %w", id, errRecord)
	}
	if b[0] != slotVersion {
		return store.Slot{}, fmt.Errorf("slot %s has version %d; this program knows %d", id, b[0], slotVersion)
	}
	s := store.Slot{ID: id, State: store.State(b[1])}
	d := decoder{b: b[2:]}
	s.Size = d.int()
	for _, t := range []*time.Time{&s.Reserved, &s.Deadline, &s.Uploaded, &s.Expires} {
		*t = d.time()
	}
	for _, v := range []*string{&s.JID, &s.Name, &s.URLName, &s.ContentType, &s.Attempt} {
		*v = d.string()
	}
	if s.URLName == "" {
		s.URLName = s.Name
	}
	if d.bad || len(d.b) > 0 {
		return store.Slot{}, fmt.Errorf("slot %s: %w", id, errRecord)
	}
	return s, nil
}

// recordedState returns the state in a slot's record, 0 if it is damaged.
func recordedState(b []byte) store.State {
	if len(b) < 2 {
		return 0
	}
	return store.State(b[1])
}

// journal is the line of one slot in the journal of its JID.
type journal struct {
	quota.Claim
	state journalState
}

type journalState byte

const (
	journalWaiting journalState = 'w'
	// journalGranted slots count in windows only; what is stored is summed up
	// in the JID's account record.
	journalGranted journalState = 'g'
)

func encodeJournal(j journal) []byte {
	b := append(make([]byte, 0, 1+3*binary.MaxVarintLen64), byte(j.state))
	b = appendTime(b, j.At)
	b = appendTime(b, j.Deadline)
	return binary.AppendUvarint(b, uint64(j.Size)) //nolint:gosec // sizes are positive
}

func decodeJournal(b []byte) (journal, error) {
	if len(b) == 0 {
		return journal{}, errRecord
	}
	d := decoder{b: b[1:]}
	j := journal{state: journalState(b[0]), Claim: quota.Claim{At: d.time(), Deadline: d.time(), Size: d.int()}}
	if d.bad || len(d.b) > 0 {
		return journal{}, errRecord
	}
	return j, nil
}

// sum counts slots or files, and their bytes.
type sum struct{ n, bytes int64 }

func (s sum) add(n, bytes int64) sum { return sum{s.n + n, s.bytes + bytes} }

func encodeSum(s sum) []byte {
	b := make([]byte, 0, 2*binary.MaxVarintLen64)
	return binary.AppendVarint(binary.AppendVarint(b, s.n), s.bytes)
}

func decodeSum(b []byte) (sum, error) {
	n, k := binary.Varint(b)
	if k <= 0 {
		return sum{}, errRecord
	}
	bytes, l := binary.Varint(b[k:])
	if l <= 0 || k+l != len(b) {
		return sum{}, errRecord
	}
	return sum{n, bytes}, nil
}

// appendTime writes nanoseconds since 1970, 0 for no time.
func appendTime(b []byte, t time.Time) []byte {
	if t.IsZero() {
		return binary.AppendVarint(b, 0)
	}
	return binary.AppendVarint(b, t.UnixNano())
}

// decoder reads what the functions above wrote. After a fault it is bad and
// reads nothing more.
type decoder struct {
	b   []byte
	bad bool
}

func (d *decoder) fail() {
	d.b, d.bad = nil, true
}

func (d *decoder) int() int64 {
	v, n := binary.Uvarint(d.b)
	if n <= 0 || v > math.MaxInt64 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return int64(v) //nolint:gosec // bounded above
}

func (d *decoder) varint() int64 {
	v, n := binary.Varint(d.b)
	if n <= 0 {
		d.fail()
		return 0
	}
	d.b = d.b[n:]
	return v
}

func (d *decoder) time() time.Time {
	v := d.varint()
	if v == 0 {
		return time.Time{}
	}
	return time.Unix(0, v)
}

func (d *decoder) string() string {
	n, k := binary.Uvarint(d.b)
	if k <= 0 || n > uint64(len(d.b)-k) {
		d.fail()
		return ""
	}
	s := string(d.b[k : k+int(n)]) //nolint:gosec // bounded above
	d.b = d.b[k+int(n):]           //nolint:gosec // bounded above
	return s
}
