package main

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"io"
	"maps"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// history is a made-up past: uploads by the JIDs of users in turn, a step apart,
// each with a file of 1 byte to 1 KiB. The same history is the same uploads.
type history struct {
	Uploads, JIDs int
	// First is when the first slot was granted, Step the time between two of
	// them: a whole number of milliseconds.
	First time.Time
	Step  time.Duration
	// Keep is how long the files are kept.
	Keep time.Duration
}

const (
	historyWait = 6 * time.Minute // a slot's time to be used
	historyName = "holiday.jpg"
	historyType = "image/jpeg"
)

// slot returns the i-th upload.
func (h history) slot(i int) store.Slot {
	random := rand.NewPCG(uint64(i), 1)
	reserved := h.First.Add(time.Duration(i) * h.Step)
	return store.Slot{
		ID:  letters(random, store.IDLen-len(store.TimePrefix(reserved))) + store.TimePrefix(reserved),
		JID: user(i % h.JIDs), Name: historyName, URLName: historyName, ContentType: historyType,
		Size: int64(1 + random.Uint64()%1024), State: store.Uploaded,
		Reserved: reserved, Deadline: reserved.Add(historyWait),
		Uploaded: reserved, Expires: reserved.Add(h.Keep), Attempt: letters(random, store.AttemptLen),
	}
}

// letters returns n characters of an ID.
func letters(random *rand.PCG, n int) string {
	text := make([]byte, n)
	for i := range text {
		text[i] = "0123456789abcdefghijklmnopqrstuv"[random.Uint64()%32]
	}
	return string(text)
}

// backup writes what store/badger would write as a backup after these uploads,
// so that it can restore in seconds what takes hours to upload.
func (h history) backup(w io.Writer) error {
	c := copier{w: w}
	c.frame = append(c.frame, "xmpp_upload slots\n\x01"...)
	if c.write(); c.err != nil {
		return c.err
	}
	// In the order of the keys: see keys.go of store/badger.
	users, days, total := h.sums()
	jids := slices.Sorted(maps.Keys(users))
	for _, jid := range jids {
		c.add("a"+jid, users[jid].encode())
	}
	for _, day := range slices.Sorted(maps.Keys(days)) {
		c.add("d"+number64(uint64(day)), days[day].encode())
	}
	c.add("f", binary.AppendVarint([]byte{2}, int64(historyWait)))
	for _, jid := range jids {
		var n int
		_, _ = fmt.Sscanf(jid, "user%d@", &n)
		for i := n; i < h.Uploads; i += h.JIDs {
			slot := h.slot(i)
			c.add("j"+jid+"\x00"+store.TimeOrdered(slot.ID), journal(slot))
		}
	}
	for i := range h.Uploads {
		slot := h.slot(i)
		c.add("s"+store.TimeOrdered(slot.ID), record(slot))
	}
	c.add("t", total.encode())
	ranking := make([]string, 0, len(users))
	sums := make(map[string]sum)
	for jid, s := range users {
		key := "u" + number64(^uint64(s.bytes)) + jid
		ranking, sums[key] = append(ranking, key), s
	}
	slices.Sort(ranking)
	for _, key := range ranking {
		c.add(key, sums[key].encode())
	}
	for i := range h.Uploads {
		slot := h.slot(i)
		c.add("x"+number64(uint64(slot.Expires.UnixNano()))+store.TimeOrdered(slot.ID), nil)
	}
	return c.end()
}

// sum counts files and their bytes.
type sum struct{ files, bytes int64 }

func (s sum) add(bytes int64) sum { return sum{s.files + 1, s.bytes + bytes} }

func (s sum) encode() []byte {
	return binary.AppendVarint(binary.AppendVarint(nil, s.files), s.bytes)
}

// sums returns the sums of JIDs, of days by their first second, and of all.
func (h history) sums() (users map[string]sum, days map[int64]sum, total sum) {
	users, days = make(map[string]sum), make(map[int64]sum)
	for i := range h.Uploads {
		slot := h.slot(i)
		day := slot.Uploaded.UTC().Truncate(24 * time.Hour).Unix()
		users[slot.JID], days[day] = users[slot.JID].add(slot.Size), days[day].add(slot.Size)
		total = total.add(slot.Size)
	}
	return users, days, total
}

// record is a slot as store/badger writes it.
func record(s store.Slot) []byte {
	b := binary.AppendUvarint([]byte{1, byte(s.State)}, uint64(s.Size))
	for _, t := range []time.Time{s.Reserved, s.Deadline, s.Uploaded, s.Expires} {
		b = binary.AppendVarint(b, t.UnixNano())
	}
	for _, text := range []string{s.JID, s.Name, "", s.ContentType, s.Attempt} {
		b = append(binary.AppendUvarint(b, uint64(len(text))), text...)
	}
	return b
}

// journal is the slot's line in the journal of its JID.
func journal(s store.Slot) []byte {
	b := binary.AppendVarint([]byte{'g'}, s.Reserved.UnixNano())
	b = binary.AppendVarint(b, s.Deadline.UnixNano())
	return binary.AppendUvarint(b, uint64(s.Size))
}

func number64(n uint64) string { return string(binary.BigEndian.AppendUint64(nil, n)) }

// copier writes the frames of a backup: see backup.go of store/badger.
type copier struct {
	w     io.Writer
	frame []byte
	crc   uint32
	err   error
}

func (c *copier) add(key string, value []byte) {
	c.frame = append(binary.AppendUvarint(c.frame, uint64(len(key))), key...)
	c.frame = append(binary.AppendUvarint(c.frame, uint64(len(value))), value...)
	if len(c.frame) >= 256<<10 {
		c.flush()
	}
}

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

func (c *copier) flush() {
	frame := c.frame
	c.crc = crc32.Update(c.crc, castagnoli, frame)
	c.frame = binary.BigEndian.AppendUint32(binary.AppendUvarint(nil, uint64(len(frame))), c.crc)
	c.write()
	c.frame = frame
	c.write()
}

// write writes what is in the frame, and empties it.
func (c *copier) write() {
	if c.err == nil {
		_, c.err = c.w.Write(c.frame)
	}
	c.frame = c.frame[:0]
}

func (c *copier) end() error {
	if len(c.frame) > 0 {
		c.flush()
	}
	c.flush()
	return c.err
}
