package badger

import (
	"runtime/debug"
	"runtime/metrics"
	"time"

	"github.com/dgraph-io/badger/v4/table"
)

// Who has read or written much leaves memory behind that nobody needs: garbage,
// which Go gives back only after minutes, and pages of the tables, which Badger
// maps. They all count as resident. So once it is quiet, the store rests: it gives
// both back. The tables stay in the page cache for as long as nobody else needs
// the memory; who reads them again finds them there.

const (
	// restEvery is how often the writer looks whether to rest. Badger itself
	// wakes up much more often than that.
	restEvery = 5 * time.Second
	// quiet is what may be allocated in that time while nothing happens, and
	// busy is how much must be after a rest for another one, in bytes.
	quiet = 1 << 20
	busy  = 16 << 20
	// again is after how many quiet looks a second rest follows: Badger lets go
	// of the memory that it builds tables in bit by bit, within 18 s.
	again = 4
)

// repose decides when to rest. Whoever does much allocates much: tables are
// unpacked into memory. So nobody needs to count what he does.
type repose struct {
	seen, rested uint64 // what had been allocated
	looks        int    // quiet ones in a row, or since the rest
	once         bool   // the second rest is yet to come
}

// due reports whether it is time to rest, by what has been allocated so far.
func (r *repose) due(allocated uint64) bool {
	still := allocated-r.seen < quiet
	r.seen = allocated
	if !still {
		r.looks = 0
		return false
	}
	r.looks++
	if allocated-r.rested >= busy {
		r.rested, r.looks, r.once = allocated, 0, true
		return true
	}
	if r.once && r.looks >= again {
		r.once = false
		return true
	}
	return false
}

// allocated returns how many bytes the process has ever allocated.
func allocated() uint64 {
	sample := []metrics.Sample{{Name: "/gc/heap/allocs:bytes"}}
	metrics.Read(sample)
	if sample[0].Value.Kind() != metrics.KindUint64 {
		return 0 // never much
	}
	return sample[0].Value.Uint64()
}

// rest gives memory back. The writer calls it: so it comes neither while tables
// are salvaged, which are mapped a second time then, nor while the database is
// being closed.
func (s *Slots) rest() error {
	s.readers.Go(debug.FreeOSMemory)
	return s.guard.rest()
}

// rest takes the pages of the tables out of the process, and holds on to the
// tables meanwhile: as dropPages needs it, none of them is unmapped.
//
// A table that was there before the iterator was made, and still is after that,
// was there all the time, since none comes back. So it is one of the iterator's,
// and stays open until that is closed.
func (g *guard) rest() error {
	before := byID(g.db.Tables())
	g.mu.Lock()
	hold := g.holdAll()
	g.mu.Unlock()
	if hold == nil {
		return nil
	}
	defer g.letGo(hold)
	held := make(map[string]bool, len(before))
	for _, t := range g.db.Tables() {
		if _, there := before[t.ID]; there {
			held[table.IDToFilename(t.ID)] = true
		}
	}
	return g.dropPages(held)
}
