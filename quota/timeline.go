package quota

import (
	"slices"
	"sort"
)

// chunkLen bounds what an insertion or a removal has to move, and what a sum
// has to add one by one.
const chunkLen = 256

// entry is one claim in a timeline, in nanoseconds and bytes.
type entry struct {
	// key orders the timeline. One of key and other is the claim's At, the
	// other one its Deadline.
	key, other, size int64
	// lapses tells whether the claim ends by itself at its deadline.
	lapses bool
}

// timeline keeps entries in the order of their keys, in chunks with sums, so
// that every operation costs about the same however many there are.
type timeline struct {
	chunks []chunk
	len    int
}

type chunk struct {
	entries []entry // never empty
	bytes   int64
}

func (c *chunk) first() int64 { return c.entries[0].key }

// from returns the index of the first entry with a key of at least key.
func (c *chunk) from(key int64) int {
	return sort.Search(len(c.entries), func(i int) bool { return c.entries[i].key >= key })
}

// chunkOf returns the index of the last chunk that begins at or before key, or
// 0 if none does.
func (t *timeline) chunkOf(key int64) int {
	after := sort.Search(len(t.chunks), func(i int) bool { return t.chunks[i].first() > key })
	return max(after-1, 0)
}

func (t *timeline) insert(e entry) {
	t.len++
	if len(t.chunks) == 0 {
		t.chunks = []chunk{{entries: []entry{e}, bytes: e.size}}
		return
	}
	i := t.chunkOf(e.key)
	c := &t.chunks[i]
	if len(c.entries) >= chunkLen {
		if i == len(t.chunks)-1 && e.key >= c.entries[len(c.entries)-1].key {
			t.chunks = append(t.chunks, chunk{entries: []entry{e}, bytes: e.size})
			return
		}
		t.split(i)
		i = t.chunkOf(e.key)
		c = &t.chunks[i]
	}
	c.entries = slices.Insert(c.entries, c.from(e.key+1), e)
	c.bytes += e.size
}

func (t *timeline) split(i int) {
	c := &t.chunks[i]
	half := len(c.entries) / 2
	upper := chunk{entries: slices.Clone(c.entries[half:])}
	for _, e := range upper.entries {
		upper.bytes += e.size
	}
	c.entries = c.entries[:half]
	c.bytes -= upper.bytes
	t.chunks = slices.Insert(t.chunks, i+1, upper)
}

// at finds an entry that equals e.
func (t *timeline) at(e entry) (i, j int, ok bool) {
	if len(t.chunks) == 0 {
		return 0, 0, false
	}
	// Entries of one key may begin in the chunks before.
	i = t.chunkOf(e.key)
	for i > 0 && t.chunks[i].first() == e.key {
		i--
	}
	for ; i < len(t.chunks) && t.chunks[i].first() <= e.key; i++ {
		c := &t.chunks[i]
		for j = c.from(e.key); j < len(c.entries) && c.entries[j].key == e.key; j++ {
			if c.entries[j] == e {
				return i, j, true
			}
		}
	}
	return 0, 0, false
}

// remove takes away one entry that equals e, if there is one.
func (t *timeline) remove(e entry) bool {
	i, j, ok := t.at(e)
	if !ok {
		return false
	}
	t.len--
	c := &t.chunks[i]
	c.entries = slices.Delete(c.entries, j, j+1)
	c.bytes -= e.size
	if len(c.entries) == 0 {
		t.chunks = slices.Delete(t.chunks, i, i+1)
	}
	return true
}

// setLapses changes one entry that equals e, if there is one.
func (t *timeline) setLapses(e entry, lapses bool) {
	if i, j, ok := t.at(e); ok {
		t.chunks[i].entries[j].lapses = lapses
	}
}

// after returns how many entries have a key after cutoff, and their bytes.
func (t *timeline) after(cutoff int64) (n, bytes int64) {
	for i := len(t.chunks) - 1; i >= 0; i-- {
		c := &t.chunks[i]
		if c.first() > cutoff {
			n += int64(len(c.entries))
			bytes += c.bytes
			continue
		}
		for _, e := range c.entries[c.from(cutoff+1):] {
			n++
			bytes += e.size
		}
		break
	}
	return n, bytes
}

// forget drops all entries with a key of at most cutoff.
func (t *timeline) forget(cutoff int64) {
	whole := 0
	for whole < len(t.chunks) {
		c := &t.chunks[whole]
		keep := c.from(cutoff + 1)
		t.len -= keep
		if keep < len(c.entries) {
			for _, e := range c.entries[:keep] {
				c.bytes -= e.size
			}
			c.entries = c.entries[keep:]
			break
		}
		whole++
	}
	t.chunks = slices.Delete(t.chunks, 0, whole)
}

// cursor walks a timeline upwards. The timeline must not change meanwhile.
type cursor struct {
	t    *timeline
	i, j int
}

// walk returns a cursor at the first entry with a key after cutoff.
func (t *timeline) walk(cutoff int64) cursor {
	c := cursor{t: t, i: t.chunkOf(cutoff)}
	if c.i < len(t.chunks) {
		c.j = t.chunks[c.i].from(cutoff + 1)
		c.settle()
	}
	return c
}

func (c *cursor) settle() {
	if c.i < len(c.t.chunks) && c.j >= len(c.t.chunks[c.i].entries) {
		c.i, c.j = c.i+1, 0
	}
}

// peek returns the entry at the cursor, false at the end.
func (c *cursor) peek() (entry, bool) {
	if c.i >= len(c.t.chunks) {
		return entry{}, false
	}
	return c.t.chunks[c.i].entries[c.j], true
}

func (c *cursor) next() {
	c.j++
	c.settle()
}
