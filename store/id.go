package store

import (
	"crypto/rand"
	"encoding/base32"
	"time"
)

// Identifiers use the digits and lower-case letters of base32hex (RFC 4648
// section 7): they sort like the numbers they stand for, and no hop mangles them.
const alphabet = "0123456789abcdefghijklmnopqrstuv"

const (
	randomChars = 26 // 130 bits
	timeChars   = 9  // 45 bits of milliseconds since 1970

	// IDLen is the length of every slot ID.
	IDLen = randomChars + timeChars
	// AttemptLen is the length of every attempt.
	AttemptLen = randomChars
)

var encoding = base32.NewEncoding(alphabet).WithPadding(base32.NoPadding)

// NewID returns a new slot ID: 130 random bits, then the time, so that stores
// can keep slots in the order of their reservation.
func NewID(now time.Time) string {
	id := make([]byte, 0, IDLen)
	id = appendRandom(id)
	ms := uint64(max(now.UnixMilli(), 0))
	for i := timeChars - 1; i >= 0; i-- {
		id = append(id, alphabet[ms>>(5*uint(i))&31])
	}
	return string(id)
}

// NewAttempt returns a new name for one upload to a slot: 130 random bits.
func NewAttempt() string {
	return string(appendRandom(make([]byte, 0, AttemptLen)))
}

func appendRandom(dst []byte) []byte {
	var b [17]byte
	_, _ = rand.Read(b[:]) // never fails, says its documentation
	var s [28]byte
	encoding.Encode(s[:], b[:])
	return append(dst, s[:randomChars]...)
}

// IsID reports whether s has the form of a slot ID.
func IsID(s string) bool { return len(s) == IDLen && isAlphabet(s) }

// IsAttempt reports whether s has the form of an attempt.
func IsAttempt(s string) bool { return len(s) == AttemptLen && isAlphabet(s) }

func isAlphabet(s string) bool {
	for i := range len(s) {
		if c := s[i]; (c < '0' || c > '9') && (c < 'a' || c > 'v') {
			return false
		}
	}
	return true
}

// TimeOrdered returns the ID with its time first: keys in the order of
// reservation. FromTimeOrdered undoes it.
func TimeOrdered(id string) string { return id[randomChars:] + id[:randomChars] }

// FromTimeOrdered returns the ID of a key that TimeOrdered made.
func FromTimeOrdered(key string) string { return key[timeChars:] + key[:timeChars] }

// TimePrefix is the beginning of TimeOrdered for IDs made at t.
func TimePrefix(t time.Time) string { return NewID(t)[randomChars:] }
