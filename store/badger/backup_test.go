package badger_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/storetest"
)

func backup(t testing.TB, s *badger.Slots) []byte {
	t.Helper()
	var whole bytes.Buffer
	if err := s.Backup(t.Context(), &whole); err != nil {
		t.Fatal(err)
	}
	return whole.Bytes()
}

func restore(t testing.TB, dir string, whole []byte) {
	t.Helper()
	if err := badger.Restore(dir, bytes.NewReader(whole)); err != nil {
		t.Fatal(err)
	}
}

// upload reserves a slot and commits an upload to it.
func upload(ctx context.Context, s store.Slots, slot store.Slot) error {
	if err := s.Reserve(ctx, slot, store.Limits{Room: -1}); err != nil {
		return err
	}
	if _, err := s.Begin(ctx, slot.ID, slot.Reserved); err != nil {
		return err
	}
	_, err := s.Commit(ctx, slot.ID, store.Result{Attempt: store.NewAttempt(), At: slot.Reserved, Expires: slot.Reserved.Add(time.Hour)})
	return err
}

// TestACopyIsOfOneMoment makes copies while uploads come and go. What each knows
// must add up.
func TestACopyIsOfOneMoment(t *testing.T) {
	s := open(t, t.TempDir())
	ctx, stop := context.WithCancel(t.Context())
	var before atLeast
	var group sync.WaitGroup
	for worker := range 4 {
		group.Go(func() {
			for i := 0; ctx.Err() == nil; i++ {
				slot := storetest.NewSlot(fmt.Sprint(i%50, "@", worker), int64(1+i%7), time.Duration(i))
				if err := upload(t.Context(), s, slot); err != nil {
					t.Error(err)
				}
				before.add(slot.ID)
				if i%3 == 0 {
					if err := s.Reserve(t.Context(), storetest.NewSlot(slot.JID, 5, time.Duration(i)), store.Limits{Room: -1}); err != nil {
						t.Error(err)
					}
				}
			}
		})
	}
	for range 5 {
		committed := before.wait(200)
		dir := filepath.Join(t.TempDir(), "slots")
		restore(t, dir, backup(t, s))
		restored := open(t, dir)
		expectToAddUp(t, restored)
		for _, id := range committed {
			if _, err := restored.Get(t.Context(), id); err != nil {
				t.Fatalf("slot %s was committed before the copy began: %v", id, err)
			}
		}
	}
	stop()
	group.Wait()
}

// atLeast collects IDs, and lets one wait for more.
type atLeast struct {
	sync.Mutex
	ids  []string
	more *sync.Cond
}

func (a *atLeast) add(id string) {
	a.Lock()
	defer a.Unlock()
	a.ids = append(a.ids, id)
	if a.more != nil {
		a.more.Broadcast()
	}
}

// wait returns all IDs once there are n more than now.
func (a *atLeast) wait(n int) []string {
	a.Lock()
	defer a.Unlock()
	if a.more == nil {
		a.more = sync.NewCond(a)
	}
	for enough := len(a.ids) + n; len(a.ids) < enough; {
		a.more.Wait()
	}
	return append([]string(nil), a.ids...)
}

// expectToAddUp holds all sums of a store against its slots.
func expectToAddUp(t *testing.T, s *badger.Slots) {
	t.Helper()
	var want store.Totals
	users := make(map[string]store.User)
	for q := (store.Query{Limit: 1000}); ; {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, slot := range page.Slots {
			if slot.State == store.Waiting {
				want.WaitingSlots++
				want.WaitingBytes += slot.Size
				continue
			}
			want.StoredFiles++
			want.StoredBytes += slot.Size
			u := users[slot.JID]
			users[slot.JID] = store.User{JID: slot.JID, StoredFiles: u.StoredFiles + 1, StoredBytes: u.StoredBytes + slot.Size}
		}
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	if got, err := s.Totals(t.Context(), storetest.Epoch); err != nil || got != want {
		t.Fatalf("totals are %+v, %v; the slots add up to %+v", got, err, want)
	}
	got, _, err := s.Users(t.Context(), "", 1000)
	if err != nil || len(got) != len(users) {
		t.Fatalf("%d users, %v; the slots are of %d", len(got), err, len(users))
	}
	for _, u := range got {
		account, err := s.Usage(t.Context(), u.JID, quota.Limits{}, storetest.Epoch)
		if err != nil || u != users[u.JID] || account.StoredBytes != u.StoredBytes {
			t.Fatalf("user %+v has the account %+v, %v; the slots add up to %+v", u, account, err, users[u.JID])
		}
	}
	days, err := s.Days(t.Context(), storetest.Epoch)
	if err != nil || len(days) != 1 || days[0].Uploads != want.StoredFiles || days[0].Bytes != want.StoredBytes {
		t.Fatalf("days %+v, %v; want %d uploads", days, err, want.StoredFiles)
	}
}

func TestRestoreRefusesWhatIsNoWholeCopy(t *testing.T) {
	s := open(t, t.TempDir())
	for i := range 3 {
		if err := upload(t.Context(), s, storetest.NewSlot("a@example.com", 1, time.Duration(i))); err != nil {
			t.Fatal(err)
		}
	}
	whole := backup(t, s)
	dir := filepath.Join(t.TempDir(), "slots")
	refused := func(what string, b []byte, want string) {
		t.Helper()
		err := badger.Restore(dir, bytes.NewReader(b))
		if err == nil || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), dir) {
			t.Errorf("%s: %v; want an error with %q and the directory", what, err, want)
		}
		if names, _ := filepath.Glob(dir + "*"); len(names) > 0 {
			t.Fatalf("%s: %v is left", what, names)
		}
	}
	refused("nothing", nil, "no copy of slots")
	refused("a tape of another kind", []byte("ustar, and more than a few bytes of it"), "no copy of slots")
	newer := bytes.Clone(whole)
	newer[bytes.IndexByte(newer, '\n')+1]++
	refused("a copy of another form", newer, "this program knows 1")
	refused("one byte more", append(bytes.Clone(whole), 0), "damaged")
	for _, n := range []int{20, 21, 24, 25, len(whole) / 2, len(whole) - 5, len(whole) - 1} {
		refused(fmt.Sprint(n, " of ", len(whole), " bytes"), whole[:n], "cut off")
	}
	for _, i := range []int{20, 24, len(whole) / 2, len(whole) - 1} {
		flipped := bytes.Clone(whole)
		flipped[i] ^= 0x10
		refused(fmt.Sprint("byte ", i, " of ", len(whole), " damaged"), flipped, "")
	}
	restore(t, dir, whole)
	if totals, err := open(t, dir).Totals(t.Context(), storetest.Epoch); err != nil || totals.StoredFiles != 3 {
		t.Errorf("the whole copy: %+v, %v", totals, err)
	}
}

func TestRestoreTouchesNothingThatIsThere(t *testing.T) {
	s := open(t, t.TempDir())
	whole := backup(t, s)
	full := t.TempDir()
	if err := os.WriteFile(filepath.Join(full, "precious"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	interrupted := t.TempDir()
	if err := os.Mkdir(interrupted+".restoring", 0o700); err != nil {
		t.Fatal(err)
	}
	for what, tc := range map[string]struct{ dir, want string }{
		"a directory with a file":    {full, full + " is not empty"},
		"a file":                     {filepath.Join(full, "precious"), "not a directory"},
		"below a file":               {filepath.Join(full, "precious", "slots"), "not a directory"},
		"after an interrupted one":   {interrupted, interrupted + ".restoring is there"},
		"with a slash at the end":    {full + "/", full + " is not empty"},
		"the directory of the store": {interrupted + ".restoring/../" + filepath.Base(full), ""},
	} {
		err := badger.Restore(tc.dir, bytes.NewReader(whole))
		if err == nil && tc.want != "" || err != nil && !strings.Contains(err.Error(), tc.want) {
			t.Errorf("%s: %v, want %q", what, err, tc.want)
		}
	}
	if _, err := os.Stat(filepath.Join(full, "precious")); err != nil {
		t.Error(err)
	}

	empty, link := t.TempDir(), filepath.Join(t.TempDir(), "link")
	if err := os.Symlink(empty, link); err != nil {
		t.Fatal(err)
	}
	restore(t, link, whole) // follows it
	open(t, empty)
	if target, err := os.Readlink(link); err != nil || target != empty {
		t.Errorf("the link leads to %q, %v", target, err)
	}
}

// TestABackupEndsWithItsContext gives up in the middle.
func TestABackupEndsWithItsContext(t *testing.T) {
	s := open(t, t.TempDir())
	if err := upload(t.Context(), s, storetest.NewSlot("a@example.com", 1, 0)); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.Backup(ctx, io.Discard); err == nil {
		t.Error("a copy was made though nobody waits for it")
	}
}
