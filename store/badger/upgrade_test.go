package badger

import (
	"encoding/binary"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/dgraph-io/badger/v4"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// formatOne writes a database as version 1 did: uploads of some users on some
// days, and a slot that waits.
func formatOne(t *testing.T, dir string, uploads []store.Slot, more map[string]string) {
	t.Helper()
	db, err := badger.Open(profile(dir))
	if err != nil {
		t.Fatal(err)
	}
	w := db.NewWriteBatch()
	set := func(key, value []byte) {
		if err := w.Set(key, value); err != nil {
			t.Fatal(err)
		}
	}
	var total sum
	accounts := make(map[string]sum)
	for _, slot := range uploads {
		set(append([]byte("s"), slot.ID[26:]+slot.ID[:26]...), encodeSlot(slot))
		set(append([]byte("j"+slot.JID+"\x00"), slot.ID[26:]+slot.ID[:26]...), encodeJournal(journal{slot.Claim(), journalGranted}))
		accounts[slot.JID] = accounts[slot.JID].add(1, slot.Size)
		total = total.add(1, slot.Size)
	}
	for jid, stored := range accounts {
		set([]byte("a"+jid), encodeSum(stored))
	}
	set([]byte("t"), encodeSum(total))
	set([]byte("f"), binary.AppendVarint([]byte{1}, int64(6*time.Minute)))
	for key, value := range more {
		set([]byte(key), []byte(value))
	}
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

var someDay = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

// someUploads are n of each of some users, on one day after the other.
func someUploads(users, n int) (uploads []store.Slot) {
	for u := range users {
		for i := range n {
			at := someDay.Add(time.Duration(i) * day)
			uploads = append(uploads, store.Slot{
				ID: store.NewID(at), JID: fmt.Sprintf("user%d@example.com", u), Name: "a", URLName: "a", Size: int64(1 + u/2),
				State: store.Uploaded, Reserved: at, Deadline: at.Add(time.Minute), Uploaded: at, Attempt: store.NewAttempt(),
			})
		}
	}
	return uploads
}

func openHere(t *testing.T, dir string) *Slots {
	t.Helper()
	s, err := Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestADatabaseOfTheFirstFormatIsUpgraded(t *testing.T) {
	stale := map[string]string{ // of an upgrade that did not end
		"u" + strings.Repeat("\xff", 7) + "\x00gone@example.com": string(encodeSum(sum{9, 255})),
		"d" + strings.Repeat("\x00", 8):                          string(encodeSum(sum{9, 255})),
	}
	for name, more := range map[string]map[string]string{"at once": nil, "at the second attempt": stale} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			formatOne(t, dir, someUploads(4, 3), more)
			for _, when := range []string{"at first", "once more"} {
				s, err := Open(dir)
				if err != nil {
					t.Fatal(err)
				}
				expectUpgraded(t, s, when)
				if err := s.Close(); err != nil {
					t.Fatal(err)
				}
			}
			db, err := badger.Open(profile(dir))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if err := db.View(func(txn *badger.Txn) error {
				item, err := txn.Get([]byte("f"))
				if err != nil {
					return err
				}
				return item.Value(func(v []byte) error {
					if v[0] != 2 || !slices.Equal(v[1:], binary.AppendVarint(nil, int64(6*time.Minute))) {
						t.Errorf("the format is %v", v)
					}
					return nil
				})
			}); err != nil {
				t.Error(err)
			}
		})
	}
}

func expectUpgraded(t *testing.T, s *Slots, when string) {
	t.Helper()
	var want []store.User
	for _, u := range []int{2, 3, 0, 1} {
		want = append(want, store.User{JID: fmt.Sprintf("user%d@example.com", u), StoredFiles: 3, StoredBytes: int64(3 * (1 + u/2))})
	}
	if got, next, err := s.Users(t.Context(), "", 10); err != nil || next != "" || !slices.Equal(got, want) {
		t.Errorf("%s, users are %+v, %q, %v; want %+v", when, got, next, err, want)
	}
	var days []store.Day
	for i := range 3 {
		days = append(days, store.Day{Start: someDay.Add(time.Duration(i)*day - 12*time.Hour), Uploads: 4, Bytes: 6})
	}
	if got, err := s.Days(t.Context(), time.Unix(0, 0)); err != nil || !slices.Equal(got, days) {
		t.Errorf("%s, days are %+v, %v; want %+v", when, got, err, days)
	}
	if totals, err := s.Totals(t.Context(), someDay); err != nil || totals != (store.Totals{StoredFiles: 12, StoredBytes: 18}) {
		t.Errorf("%s, totals are %+v, %v", when, totals, err)
	}
	page, err := s.List(t.Context(), store.Query{State: store.Uploaded, Now: someDay})
	if err != nil || len(page.Slots) != 12 {
		t.Errorf("%s, %d uploads, %v", when, len(page.Slots), err)
	}
}

// TestAnUpgradedDatabaseGoesOn removes and adds, and looks at the index.
func TestAnUpgradedDatabaseGoesOn(t *testing.T) {
	dir := t.TempDir()
	uploads := someUploads(2, 2)
	formatOne(t, dir, uploads, nil)
	s := openHere(t, dir)
	for _, slot := range uploads[:3] {
		if _, err := s.Delete(t.Context(), slot.ID, someDay); err != nil {
			t.Fatal(err)
		}
	}
	got, _, err := s.Users(t.Context(), "", 10)
	if want := []store.User{{JID: "user1@example.com", StoredFiles: 1, StoredBytes: 1}}; err != nil || !slices.Equal(got, want) {
		t.Errorf("users are %+v, %v; want %+v", got, err, want)
	}
}

// TestAnUpgradeOfManyUsersTakesSeveralBatches is about the bounds of one.
func TestAnUpgradeOfManyUsersTakesSeveralBatches(t *testing.T) {
	dir := t.TempDir()
	const users = 20_000
	formatOne(t, dir, someUploads(users, 1), nil)
	s := openHere(t, dir)
	seen := 0
	for after := ""; ; {
		page, next, err := s.Users(t.Context(), after, 1000)
		if err != nil {
			t.Fatal(err)
		}
		seen += len(page)
		if after = next; after == "" {
			break
		}
	}
	if seen != users {
		t.Errorf("%d users, want %d", seen, users)
	}
}

func TestANewerFormatIsRefused(t *testing.T) {
	dir := t.TempDir()
	formatOne(t, dir, nil, map[string]string{"f": "\x03\x00"})
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "format 3") || !strings.Contains(err.Error(), dir) {
		t.Errorf("a database of format 3: %v", err)
	}
	if _, err := Open(dir); err == nil || !strings.Contains(err.Error(), "format 3") {
		t.Errorf("the second time: %v", err)
	}
}

// TestDaysThatNobodyAsksForAreDropped uploads a file, and one long after that.
func TestDaysThatNobodyAsksForAreDropped(t *testing.T) {
	s := openHere(t, t.TempDir())
	for _, at := range []time.Time{someDay, someDay.Add(365 * day)} {
		slot := store.Slot{ID: store.NewID(at), JID: "a@example.com", Size: 1, Reserved: at, Deadline: at.Add(time.Minute)}
		if err := s.Reserve(t.Context(), slot, store.Limits{Room: -1}); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Begin(t.Context(), slot.ID, at); err != nil {
			t.Fatal(err)
		}
		if _, err := s.Commit(t.Context(), slot.ID, store.Result{At: at}); err != nil {
			t.Fatal(err)
		}
	}
	if days, err := s.Days(t.Context(), time.Unix(0, 0)); err != nil || len(days) != 1 || days[0].Start.Year() != 2027 {
		t.Errorf("days are %+v, %v", days, err)
	}
}

// TestABatchOfTheLongestJIDsFits commits more at once than one batch takes.
func TestABatchOfTheLongestJIDsFits(t *testing.T) {
	s := openHere(t, t.TempDir())
	const uploads = 2 * batchJobs
	slot := func(i int) store.Slot {
		jid := fmt.Sprintf("%s%d@%s", strings.Repeat("a", 1019), 1000+i, strings.Repeat("b", 1023))
		name := strings.Repeat("ü", 127)
		return store.Slot{
			ID: store.NewID(someDay), JID: jid, Name: name, URLName: strings.Repeat("_", 255), Size: int64(1 + i),
			ContentType: strings.Repeat("t", 255), Reserved: someDay, Deadline: someDay.Add(time.Minute),
		}
	}
	errs := make(chan error)
	for i := range uploads {
		go func() {
			slot := slot(i)
			errs <- func() error {
				if err := s.Reserve(t.Context(), slot, store.Limits{Room: -1}); err != nil {
					return err
				}
				if _, err := s.Begin(t.Context(), slot.ID, someDay); err != nil {
					return err
				}
				if _, err := s.Commit(t.Context(), slot.ID, store.Result{ContentType: slot.ContentType, Attempt: store.NewAttempt(), At: someDay, Expires: someDay.Add(day)}); err != nil {
					return err
				}
				if i%2 == 0 {
					_, err := s.Delete(t.Context(), slot.ID, someDay)
					return err
				}
				return nil
			}()
		}()
	}
	for range uploads {
		if err := <-errs; err != nil {
			t.Error(err)
		}
	}
	if u, err := s.Usage(t.Context(), slot(1).JID, quota.Limits{}, someDay); err != nil || u.StoredBytes != 2 {
		t.Errorf("usage %+v, %v", u, err)
	}
	if users, _, err := s.Users(t.Context(), "", uploads); err != nil || len(users) != uploads/2 {
		t.Errorf("%d users, %v; want %d", len(users), err, uploads/2)
	}
}
