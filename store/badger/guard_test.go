package badger_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"time"

	bdb "github.com/dgraph-io/badger/v4"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/storetest"
)

// What a database is about to do when it is opened after it was killed twice:
// it writes the table of its log, and merges it with the table from before.
const (
	oldTable = iota + 1
	youngTable
	firstNewTable
)

// killedTwice returns a directory of slots as it is left by a process that was
// killed twice, and what is in it. Among the later changes are ones to earlier
// slots.
func killedTwice(t testing.TB) (dir string, b *book) {
	t.Helper()
	b = newBook()
	dir = t.TempDir()
	s := open(t, dir)
	for range 5000 {
		if err := b.reserve(s); err != nil {
			t.Fatal(err)
		}
	}
	b.upload(t, s, 200)
	dir = image(t, dir)
	s = open(t, dir)
	b.upload(t, s, 200)
	b.remove(t, s, 100)
	await(t, "the table of the log", func() bool {
		logs, err := filepath.Glob(filepath.Join(dir, "*.mem"))
		return err == nil && len(logs) == 1
	})
	return image(t, dir), b
}

// book is what should be in a store.
type book struct {
	uploaded, waiting map[string]store.Slot
	removed           []string
	n                 int
}

func newBook() *book {
	return &book{uploaded: make(map[string]store.Slot), waiting: make(map[string]store.Slot)}
}

func (b *book) clone() *book {
	return &book{maps.Clone(b.uploaded), maps.Clone(b.waiting), slices.Clone(b.removed), b.n}
}

func (b *book) reserve(s *badger.Slots) error {
	slot := storetest.NewSlot(fmt.Sprintf("user%d@example.com", b.n%50), 10, time.Duration(b.n)*time.Millisecond)
	slot.Name = string(noise(250))
	b.n++
	err := s.Reserve(context.Background(), slot, store.Limits{Room: -1})
	if err == nil {
		b.waiting[slot.ID] = slot
	}
	return err
}

// noise can't be made smaller.
func noise(n int) []byte {
	const letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_"
	b := make([]byte, n)
	for i := range b {
		b[i] = letters[rand.IntN(len(letters))]
	}
	return b
}

func (b *book) upload(t testing.TB, s *badger.Slots, n int) {
	t.Helper()
	for id, slot := range b.waiting {
		if n--; n < 0 {
			return
		}
		if _, err := s.Begin(t.Context(), id, slot.Reserved); err != nil {
			t.Fatal(err)
		}
		var err error
		if b.uploaded[id], err = s.Commit(t.Context(), id, store.Result{At: slot.Reserved, Attempt: "a"}); err != nil {
			t.Fatal(err)
		}
		delete(b.waiting, id)
	}
}

func (b *book) remove(t testing.TB, s *badger.Slots, n int) {
	t.Helper()
	for _, slots := range []map[string]store.Slot{b.uploaded, b.waiting} {
		left := n
		for id, slot := range slots {
			if left--; left < 0 {
				break
			}
			if _, err := s.Delete(t.Context(), id, slot.Reserved); err != nil {
				t.Fatal(err)
			}
			delete(slots, id)
			b.removed = append(b.removed, id)
		}
	}
}

// check holds the store against the book.
func (b *book) check(t testing.TB, s *badger.Slots) {
	t.Helper()
	missing, stale, back := 0, 0, 0
	for state, slots := range map[store.State]map[string]store.Slot{store.Waiting: b.waiting, store.Uploaded: b.uploaded} {
		for id, want := range slots {
			switch slot, err := s.Get(t.Context(), id); {
			case err != nil:
				missing++
			case slot.State != state || slot.JID != want.JID:
				stale++
			}
		}
	}
	for _, id := range b.removed {
		if _, err := s.Get(t.Context(), id); err == nil {
			back++
		}
	}
	if missing+stale+back > 0 {
		t.Errorf("%d slots are missing, %d are as they were before, %d removed ones are back", missing, stale, back)
	}
	if totals, err := s.Totals(t.Context(), storetest.Epoch); err != nil || totals.StoredFiles != int64(len(b.uploaded)) {
		t.Errorf("totals are %+v, want %d files: %v", totals, len(b.uploaded), err)
	}
	var files int64
	users, _, err := s.Users(t.Context(), "", 100)
	for _, u := range users {
		files += u.StoredFiles
	}
	if err != nil || files != int64(len(b.uploaded)) {
		t.Errorf("users have stored %d files, want %d: %v", files, len(b.uploaded), err)
	}
}

// image returns a copy of a directory, as a process leaves it that is killed now.
func image(t testing.TB, dir string) string {
	t.Helper()
	copied := t.TempDir()
	if err := os.CopyFS(copied, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	return copied
}

func tablePath(dir string, id int) string { return filepath.Join(dir, fmt.Sprintf("%06d.sst", id)) }

// block makes it impossible to write a table: something is in its place.
func block(t testing.TB, dir string, ids ...int) {
	t.Helper()
	for _, id := range ids {
		if err := os.Mkdir(tablePath(dir, id), 0o700); err != nil {
			t.Fatal(err)
		}
	}
}

// awaitMerge returns when the two tables were merged.
func awaitMerge(t testing.TB, dir string) {
	t.Helper()
	await(t, "tables to be merged", func() bool {
		_, old := os.Stat(tablePath(dir, oldTable))
		_, young := os.Stat(tablePath(dir, youngTable))
		return old != nil && young != nil
	})
}

func await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

func TestWhatAMergeOfTablesCouldNotWriteIsNotLost(t *testing.T) {
	dir, b := killedTwice(t)
	for name, blocked := range map[string][]int{
		"nothing fails":      nil,
		"the first table":    {firstNewTable},
		"the second table":   {firstNewTable + 1},
		"all tables but one": {firstNewTable, firstNewTable + 2},
		"all tables":         {firstNewTable, firstNewTable + 1, firstNewTable + 2},
	} {
		t.Run(name, func(t *testing.T) {
			dir, b := image(t, dir), b.clone()
			block(t, dir, blocked...)
			s, err := badger.Open(dir)
			if err != nil {
				t.Fatal(err)
			}
			stop := b.use(t, s)
			awaitMerge(t, dir)
			stop()
			b.check(t, s)
			if err := s.Close(); err != nil {
				t.Fatal(err)
			}
			if _, err := os.Stat(filepath.Join(dir, "kept")); err == nil {
				t.Error("tables are kept that nobody needs")
			}
			b.check(t, open(t, dir))
		})
	}
}

// use reads what is in the store, and writes more, until it is stopped. It never
// misses anything.
func (b *book) use(t testing.TB, s *badger.Slots) (stop func()) {
	quit := make(chan struct{})
	var users sync.WaitGroup
	failed := 0
	known := b.clone()
	users.Go(func() {
		for {
			for id, want := range known.uploaded {
				select {
				case <-quit:
					return
				default:
				}
				if slot, err := s.Get(context.Background(), id); err != nil || slot.State != want.State {
					t.Errorf("an upload is %+v: %v", slot, err)
					return
				}
			}
			for _, id := range known.removed {
				if _, err := s.Get(context.Background(), id); !errors.Is(err, store.ErrNotFound) {
					t.Errorf("a removed upload: %v", err)
					return
				}
			}
		}
	})
	users.Go(func() {
		for {
			select {
			case <-quit:
				return
			default:
				if err := b.reserve(s); err != nil {
					failed++
				}
			}
		}
	})
	return func() {
		close(quit)
		users.Wait()
		if failed > 1 {
			t.Errorf("%d reservations have failed, and only one can have been under way", failed)
		}
	}
}

// A process that dies before it has written again what was lost leaves the tables
// to the next one.
func TestTheNextProcessWritesAgainWhatWasLost(t *testing.T) {
	killed, b := killedTwice(t)
	complete := image(t, killed)
	unguarded(t, complete, 0, func() {}) // writes the table of the log
	lossy := image(t, complete)
	block(t, lossy, firstNewTable, firstNewTable+1)
	unguarded(t, lossy, 2, func() { awaitMerge(t, lossy) })
	for _, id := range []int{firstNewTable, firstNewTable + 1} {
		if err := os.Remove(tablePath(lossy, id)); err != nil {
			t.Fatal(err)
		}
	}
	for name, dir := range map[string]string{"all was lost": lossy, "it had written all but died again": image(t, complete)} {
		t.Run(name, func(t *testing.T) {
			for _, id := range []int{oldTable, youngTable} {
				whole, err := os.ReadFile(tablePath(complete, id))
				if err != nil {
					t.Fatal(err)
				}
				kept := tablePath(filepath.Join(dir, "kept"), id)
				if err := errors.Join(os.MkdirAll(filepath.Dir(kept), 0o700), os.WriteFile(kept, whole, 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			b.check(t, open(t, dir))
			if _, err := os.Stat(filepath.Join(dir, "kept")); err == nil {
				t.Error("the tables are kept for longer")
			}
		})
	}
}

// unguarded opens the database with nobody to see what Badger does.
func unguarded(t testing.TB, dir string, compactors int, do func()) {
	t.Helper()
	db, err := bdb.Open(bdb.DefaultOptions(dir).WithLogger(nil).WithNumLevelZeroTables(2).WithNumCompactors(compactors).
		WithMemTableSize(8 << 20).WithValueThreshold(64 << 10))
	if err != nil {
		t.Fatal(err)
	}
	do()
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

// The store may be closed before, while and after something is lost.
func TestWhatAMergeOfTablesCouldNotWriteIsNotLostByClosing(t *testing.T) {
	dir, b := killedTwice(t)
	for range 6 {
		dir, b := image(t, dir), b.clone()
		block(t, dir, firstNewTable, firstNewTable+1)
		s, err := badger.Open(dir)
		if err != nil {
			t.Fatal(err)
		}
		moment := rand.N(1200 * time.Millisecond) // Badger begins to merge within a second
		time.Sleep(moment)
		if err := b.reserve(s); err != nil { // which becomes a table too
			t.Fatal(err)
		}
		if err := s.Close(); err != nil {
			t.Fatal(err)
		}
		if b.check(t, open(t, dir)); t.Failed() {
			t.Fatalf("after closing it when it was open for %s", moment)
		}
	}
}

// A server that dies again and again as soon as it has begun leaves more tables
// than Badger goes on with before it has merged them.
func TestAServerThatDiedManyTimesStarts(t *testing.T) {
	first := t.TempDir()
	s, b := open(t, first), newBook()
	if err := b.reserve(s); err != nil {
		t.Fatal(err)
	}
	dir := image(t, first)
	log, err := os.ReadFile(filepath.Join(dir, "00001.mem"))
	if err != nil {
		t.Fatal(err)
	}
	for i := 2; i < 24; i++ {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%05d.mem", i)), log, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	b.check(t, open(t, dir))
}
