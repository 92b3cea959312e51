package badger

import (
	"encoding/binary"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// The key space. IDs stand with their time first (store.TimeOrdered), so that
// slots lie in the order of their reservation.
//
//	f                       the format of the database and its longest put_timeout
//	s <id>                  slot
//	j <jid> 0 <id>          journal of a JID: what its account is restored from
//	x <time> <id>           when the slot, or its file, expires
//	m <time> <id>           when a removed upload may leave the journal; value: JID
//	a <jid>                 files and bytes stored by a JID
//	w <second>              slots and bytes that wait and lapse in this second
//	t                       files and bytes stored in all
const (
	formatPrefix  = 'f'
	slotPrefix    = 's'
	journalPrefix = 'j'
	expiryPrefix  = 'x'
	memoryPrefix  = 'm'
	accountPrefix = 'a'
	waitingPrefix = 'w'
	totalsPrefix  = 't'
)

const keyIDLen = store.IDLen

func slotKey(id string) []byte {
	return append([]byte{slotPrefix}, store.TimeOrdered(id)...)
}

// journalKeys is the prefix of all journal keys of a JID. A JID holds no NUL.
func journalKeys(jid string) []byte {
	return append(append([]byte{journalPrefix}, jid...), 0)
}

func journalKey(jid, id string) []byte {
	return append(journalKeys(jid), store.TimeOrdered(id)...)
}

// idOf returns the ID that ends a key.
func idOf(key []byte) string {
	return store.FromTimeOrdered(string(key[len(key)-keyIDLen:]))
}

func timeKey(prefix byte, t time.Time, id string) []byte {
	return append(timeKeys(prefix, t), store.TimeOrdered(id)...)
}

// timeKeys is where the keys of a time begin.
func timeKeys(prefix byte, t time.Time) []byte {
	return binary.BigEndian.AppendUint64([]byte{prefix}, uint64(max(t.UnixNano(), 0)))
}

// timeOf returns the time in a key that timeKey made.
func timeOf(key []byte) time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(key[1:9]))) //nolint:gosec // written from an int64
}

func accountKey(jid string) []byte { return append([]byte{accountPrefix}, jid...) }

func waitingKey(second int64) []byte {
	return binary.BigEndian.AppendUint64([]byte{waitingPrefix}, uint64(max(second, 0)))
}

func secondOf(key []byte) int64 {
	return int64(binary.BigEndian.Uint64(key[1:9])) //nolint:gosec // written from an int64
}
