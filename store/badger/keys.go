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
//	u <-bytes> <jid>        the same as a, most bytes first
//	z                       what fills a log that must be left
//	d <second>              uploads committed on a day that begins then, and their bytes
const (
	formatPrefix  = 'f'
	slotPrefix    = 's'
	journalPrefix = 'j'
	expiryPrefix  = 'x'
	memoryPrefix  = 'm'
	accountPrefix = 'a'
	waitingPrefix = 'w'
	totalsPrefix  = 't'
	usersPrefix   = 'u'
	dayPrefix     = 'd'
	fillPrefix    = 'z'
)

const keyIDLen = store.IDLen

// newKey returns a key that begins with its prefix and has room for n bytes.
func newKey(prefix byte, n int) []byte {
	return append(make([]byte, 0, 1+n), prefix)
}

func slotKey(id string) []byte {
	return append(newKey(slotPrefix, keyIDLen), store.TimeOrdered(id)...)
}

// journalKeys is the prefix of all journal keys of a JID. A JID holds no NUL.
func journalKeys(jid string) []byte {
	return append(append(newKey(journalPrefix, len(jid)+1+keyIDLen), jid...), 0)
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
	return binary.BigEndian.AppendUint64(newKey(prefix, 8+keyIDLen), uint64(max(t.UnixNano(), 0)))
}

// timeOf returns the time in a key that timeKey made.
func timeOf(key []byte) time.Time {
	return time.Unix(0, int64(binary.BigEndian.Uint64(key[1:9]))) //nolint:gosec // written from an int64
}

func accountKey(jid string) []byte { return append(newKey(accountPrefix, len(jid)), jid...) }

// userKey is the key of a JID in the order of stored bytes, most first.
func userKey(bytes int64, jid string) []byte {
	return append(binary.BigEndian.AppendUint64(newKey(usersPrefix, 8+len(jid)), ^uint64(max(bytes, 0))), jid...)
}

// userOf returns the JID that ends a key which userKey made.
func userOf(key []byte) string { return string(key[9:]) }

func waitingKey(second int64) []byte { return secondKey(waitingPrefix, second) }

func dayKey(start time.Time) []byte { return secondKey(dayPrefix, start.Unix()) }

func secondKey(prefix byte, second int64) []byte {
	return binary.BigEndian.AppendUint64(newKey(prefix, 8), uint64(max(second, 0)))
}

func secondOf(key []byte) int64 {
	return int64(binary.BigEndian.Uint64(key[1:9])) //nolint:gosec // written from an int64
}
