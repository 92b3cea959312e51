//go:build linux

package badger_test

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/storetest"
)

// resident returns how many KiB of the tables in dir are in this process.
func resident(t *testing.T, dir string) (kib int) {
	t.Helper()
	f, err := os.Open("/proc/self/smaps")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	table := false
	for lines := bufio.NewScanner(f); lines.Scan(); {
		line := lines.Text()
		if key, _, _ := strings.Cut(line, " "); !strings.HasSuffix(key, ":") { // a mapping begins
			at := strings.IndexByte(line, '/')
			table = at >= 0 && filepath.Dir(line[at:]) == dir && strings.HasSuffix(line, ".sst")
		}
		var rss int
		if n, _ := fmt.Sscanf(line, "Rss: %d kB", &rss); n == 1 && table {
			kib += rss
		}
	}
	return kib
}

// fillMany reserves n slots for users whose names begin with this, and returns
// them by ID.
func fillMany(t *testing.T, s *badger.Slots, name string, n int) map[string]store.Slot {
	t.Helper()
	const users = 64
	filled := make([]map[string]store.Slot, users)
	var all sync.WaitGroup
	for u := range users {
		all.Go(func() {
			b := newBook()
			for i := range n / users {
				slot := storetest.NewSlot(fmt.Sprintf("%s%d@example.com", name, u), int64(i+1), 0)
				slot.Name = string(noise(250))
				if err := s.Reserve(context.Background(), slot, store.Limits{Room: -1}); err != nil {
					t.Error(err)
					return
				}
				b.waiting[slot.ID] = slot
			}
			filled[u] = b.waiting
		})
	}
	all.Wait()
	slots := make(map[string]store.Slot, n)
	for _, some := range filled {
		maps.Copy(slots, some)
	}
	return slots
}

// expectAll lists everything, and holds it against what should be there.
func expectAll(t *testing.T, s *badger.Slots, want map[string]store.Slot) {
	t.Helper()
	found := 0
	for q := (store.Query{Limit: 1000}); ; {
		page, err := s.List(context.Background(), q)
		if err != nil {
			t.Error(err)
			return
		}
		for _, slot := range page.Slots {
			was, known := want[slot.ID]
			if !known {
				continue // written meanwhile
			}
			found++
			if slot.Name != was.Name || slot.JID != was.JID || slot.Size != was.Size {
				t.Errorf("slot %+v was %+v", slot, was)
				return
			}
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if found != len(want) {
		t.Errorf("%d slots are listed of %d", found, len(want))
	}
}

func TestARestTakesTheTablesOutOfMemory(t *testing.T) {
	dir := t.TempDir()
	s, err := badger.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	slots := fillMany(t, s, "a", 20_000)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	link := filepath.Join(t.TempDir(), "link") // the kernel names files by where they are
	if err := os.Symlink(dir, link); err != nil {
		t.Fatal(err)
	}
	s = open(t, link)
	expectAll(t, s, slots)
	before := resident(t, dir)
	if before < 3<<10 {
		t.Fatalf("only %d KiB of tables are resident before the rest", before)
	}
	await(t, "tables to leave memory", func() bool { // Badger may be merging them
		if err := s.Rest(); err != nil {
			t.Fatal(err)
		}
		return resident(t, dir) <= before/20
	})
	expectAll(t, s, slots)
	maps.Copy(slots, fillMany(t, s, "b", 800))
	expectAll(t, s, slots)
}

// What a rest takes out of memory must be tables and nothing else, whatever
// Badger does with them meanwhile.
func TestRestsHarmNothingWhileTablesAreMerged(t *testing.T) {
	dir := t.TempDir()
	s := open(t, dir)
	slots := fillMany(t, s, "before", 6400)
	quit := make(chan struct{})
	var users sync.WaitGroup
	use := func(f func()) {
		users.Go(func() {
			for {
				select {
				case <-quit:
					return
				default:
					f()
				}
			}
		})
	}
	rests := 0
	use(func() {
		rests++
		if err := s.RestTables(); err != nil {
			t.Error(err)
		}
	})
	use(func() { expectAll(t, s, slots) })
	use(func() { expectUnharmed(t) })
	later, seen, gone := make(map[string]store.Slot), make(map[string]bool), 0
	for gone < 3 && len(later) < 45_000 {
		maps.Copy(later, fillMany(t, s, "later", 6400))
		now := tables(t, dir)
		for name := range seen {
			if !slices.Contains(now, name) {
				gone++
				delete(seen, name)
			}
		}
		for _, name := range now {
			seen[name] = true
		}
	}
	close(quit)
	users.Wait()
	expectAll(t, s, slots)
	expectAll(t, s, later)
	if t.Logf("%d rests, and %d tables went, while %d slots were written", rests, gone, len(later)); rests == 0 || gone == 0 {
		t.Error("no tables were merged, or it did not rest meanwhile")
	}
}

func tables(t *testing.T, dir string) []string {
	t.Helper()
	names, err := filepath.Glob(filepath.Join(dir, "*.sst"))
	if err != nil {
		t.Fatal(err)
	}
	return names
}

// expectUnharmed takes memory of the sizes of tables, which comes to lie where
// tables were, and sees what becomes of it.
func expectUnharmed(t *testing.T) {
	const many, size = 8, 1 << 20
	var taken [many][]byte
	for i := range taken {
		var err error
		if taken[i], err = unix.Mmap(-1, 0, size<<(i%3), unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE); err != nil {
			t.Error(err)
			return
		}
		for at := 0; at < len(taken[i]); at += os.Getpagesize() {
			taken[i][at] = 1
		}
	}
	for _, memory := range taken {
		for at := 0; at < len(memory); at += os.Getpagesize() {
			if memory[at] != 1 {
				t.Error("memory that is no table's is lost")
				break
			}
		}
		if err := unix.Munmap(memory); err != nil {
			t.Error(err)
		}
	}
}
