package storetest

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Epoch is when the tests of slots take place.
var Epoch = time.Unix(1_700_000_000, 0)

// OpenSlots opens an empty store. Calling reopen ends it, as far as it can the
// way the death of its process would, and opens it again.
type OpenSlots func(t *testing.T) (s store.Slots, reopen func() store.Slots)

// NewSlot returns a slot of a file of size bytes, reserved d after Epoch, with
// a minute to begin the upload.
func NewSlot(jid string, size int64, d time.Duration) store.Slot {
	at := Epoch.Add(d)
	return store.Slot{
		ID: store.NewID(at), JID: jid, Name: "ü name.txt", URLName: "_name.txt", Size: size,
		ContentType: "text/plain", Reserved: at, Deadline: at.Add(time.Minute),
	}
}

// free are limits of nothing.
var free = store.Limits{Room: -1}

// Slots runs every test that a store of slots must pass.
func Slots(t *testing.T, open OpenSlots) {
	t.Run("a slot goes from waiting to uploaded", func(t *testing.T) { slotLife(t, open) })
	t.Run("errors tell what is wrong with a slot", func(t *testing.T) { slotErrors(t, open) })
	t.Run("of two racing uploads one wins", func(t *testing.T) { racingCommits(t, open) })
	t.Run("racing reservations never overrun a limit", func(t *testing.T) { racingReservations(t, open) })
	t.Run("the storage cap and the room count all users", func(t *testing.T) { storageCaps(t, open) })
	t.Run("an upload in flight holds its quota", func(t *testing.T) { inFlight(t, open) })
	t.Run("windows remember what was removed", func(t *testing.T) { memory(t, open) })
	t.Run("accounts survive the death of the process", func(t *testing.T) { histories(t, open) })
	t.Run("a check answers what a reservation would, and takes nothing", func(t *testing.T) { checks(t, open) })
	t.Run("a waiting slot tells of its upload in flight", func(t *testing.T) { tellsOfFlights(t, open) })
	t.Run("a late commit is never taken for an unused slot", func(t *testing.T) { lateCommits(t, open) })
	t.Run("expired ones are listed, longest ago first", func(t *testing.T) { expired(t, open) })
	t.Run("listings are right while slots come and go", func(t *testing.T) { listing(t, open) })
	t.Run("listings tell states of their time", func(t *testing.T) { states(t, open) })
	t.Run("listings go on after any ID, and after nothing else", func(t *testing.T) { cursors(t, open) })
	t.Run("users are listed by what they have stored", func(t *testing.T) { users(t, open) })
	t.Run("days count the uploads that were made", func(t *testing.T) { days(t, open) })
	t.Run("a copy is written whole or with an error", func(t *testing.T) { backup(t, open) })
	t.Run("deleting an upload in flight denies it the slot", func(t *testing.T) { deleteInFlight(t, open) })
}

func slotLife(t *testing.T, open OpenSlots) {
	s, reopen := open(t)
	slot := reserve(t, s, NewSlot("a@example.com", 10, 0))
	slot.State = store.Waiting
	expectSlot(t, s, slot)

	uploaded := upload(t, s, slot, slot.Deadline.Add(-1), time.Hour)
	slot.State, slot.Attempt, slot.ContentType = store.Uploaded, uploaded.Attempt, "image/png"
	slot.Uploaded, slot.Expires = slot.Deadline.Add(-1), slot.Deadline.Add(time.Hour-1)
	expectSlot(t, s, slot)

	s = reopen()
	expectSlot(t, s, slot)
	expectTotals(t, s, slot.Uploaded, store.Totals{StoredFiles: 1, StoredBytes: 10})
	if _, err := s.Delete(t.Context(), slot.ID, slot.Expires); err != nil {
		t.Fatal(err)
	}
	expectErr(t, "get after delete", second(s.Get(t.Context(), slot.ID)), store.ErrNotFound)
	expectTotals(t, s, slot.Uploaded, store.Totals{})
}

func slotErrors(t *testing.T, open OpenSlots) {
	s, _ := open(t)
	ctx := t.Context()
	slot := reserve(t, s, NewSlot("a@example.com", 10, 0))
	unknown := store.NewID(Epoch)
	expectErr(t, "begin unknown", second(s.Begin(ctx, unknown, Epoch)), store.ErrNotFound)
	expectErr(t, "commit unknown", second(s.Commit(ctx, unknown, store.Result{At: Epoch})), store.ErrNotFound)
	expectErr(t, "delete unknown", second(s.Delete(ctx, unknown, Epoch)), store.ErrNotFound)
	expectErr(t, "get what is no ID", second(s.Get(ctx, "../../etc/passwd")), store.ErrNotFound)
	expectErr(t, "begin late", second(s.Begin(ctx, slot.ID, slot.Deadline)), store.ErrExpired)
	if _, err := s.Commit(ctx, slot.ID, store.Result{At: Epoch}); err == nil {
		t.Error("commit without begin succeeds")
	}
	upload(t, s, slot, Epoch, 0)
	expectErr(t, "begin when used", second(s.Begin(ctx, slot.ID, Epoch)), store.ErrUsed)
	for name, bad := range map[string]store.Slot{
		"no size":       {ID: store.NewID(Epoch), JID: "a@example.com", Reserved: Epoch},
		"negative size": {ID: store.NewID(Epoch), JID: "a@example.com", Reserved: Epoch, Size: -1},
		"no JID":        {ID: store.NewID(Epoch), Reserved: Epoch, Size: 1},
		"no ID":         {JID: "a@example.com", Reserved: Epoch, Size: 1},
	} {
		if err := s.Reserve(ctx, bad, free); err == nil {
			t.Errorf("%s: reserved", name)
		}
	}
}

func racingCommits(t *testing.T, open OpenSlots) {
	s, _ := open(t)
	for round := range 20 {
		slot := reserve(t, s, NewSlot("a@example.com", 10, time.Duration(round)))
		var attempts []string
		for range 8 {
			if _, err := s.Begin(t.Context(), slot.ID, slot.Reserved); err != nil {
				t.Fatal(err)
			}
			attempts = append(attempts, store.NewAttempt())
		}
		errs := race(len(attempts), func(i int) error {
			_, err := s.Commit(t.Context(), slot.ID, store.Result{Attempt: attempts[i], At: slot.Reserved})
			return errors.Join(err, s.GiveUp(t.Context(), slot.ID, slot.Reserved))
		})
		winner := slices.Index(errs, nil)
		for i, err := range errs {
			if i != winner && !errors.Is(err, store.ErrUsed) {
				t.Fatalf("commit: %v", err)
			}
		}
		if got, err := s.Get(t.Context(), slot.ID); err != nil || winner < 0 || got.Attempt != attempts[winner] {
			t.Fatalf("slot names %q, %v; the winner is number %d", got.Attempt, err, winner)
		}
	}
	expectTotals(t, s, Epoch, store.Totals{StoredFiles: 20, StoredBytes: 200})
}

func racingReservations(t *testing.T, open OpenSlots) {
	window := func(n int64) []quota.Window { return []quota.Window{{Limit: n, Per: time.Hour}} }
	for name, tc := range map[string]struct {
		limits  quota.Limits
		granted int64
	}{
		"total":   {quota.Limits{MaxTotalSize: 75}, 7},
		"bytes":   {quota.Limits{Bytes: window(99)}, 9},
		"uploads": {quota.Limits{Uploads: window(11)}, 11},
	} {
		t.Run(name, func(t *testing.T) {
			s, reopen := open(t)
			remember(t, s, time.Hour)
			limits := store.Limits{Quota: tc.limits, Room: -1}
			// Two users at once, each from many connections.
			errs := race(64, func(i int) error {
				return s.Reserve(t.Context(), NewSlot(fmt.Sprint(i%2, "@example.com"), 10, time.Duration(i)), limits)
			})
			var refusals int
			for _, err := range errs {
				if _, ok := errors.AsType[*quota.Refusal](err); ok {
					refusals++
				} else if err != nil {
					t.Fatal(err)
				}
			}
			if granted := int64(64 - refusals); granted != 2*tc.granted {
				t.Errorf("%d slots granted, want %d for each", granted, tc.granted)
			}
			s = reopen()
			remember(t, s, time.Hour)
			u := usage(t, s, "0@example.com", tc.limits, Epoch.Add(time.Second))
			if u.WaitingSlots != tc.granted {
				t.Errorf("%d slots wait after restart, want %d", u.WaitingSlots, tc.granted)
			}
			if err := s.Reserve(t.Context(), NewSlot("0@example.com", 10, time.Second), limits); err == nil {
				t.Error("the restart gave quota back")
			}
		})
	}
}

func storageCaps(t *testing.T, open OpenSlots) {
	for name, limits := range map[string]store.Limits{
		"cap":  {MaxStorage: 100, Room: -1},
		"room": {Room: 100},
	} {
		t.Run(name, func(t *testing.T) {
			s, reopen := open(t)
			errs := race(30, func(i int) error {
				return s.Reserve(t.Context(), NewSlot(fmt.Sprint(i, "@example.com"), 10, 0), limits)
			})
			granted := 0
			for _, err := range errs {
				if err == nil {
					granted++
				} else if !errors.Is(err, store.ErrNoSpace) {
					t.Fatal(err)
				}
			}
			if granted != 10 {
				t.Errorf("%d slots granted, want 10", granted)
			}
			s = reopen()
			late := NewSlot("late@example.com", 1, 30*time.Second)
			expectErr(t, "reserve when full", s.Reserve(t.Context(), late, limits), store.ErrNoSpace)
			later := NewSlot("later@example.com", 100, time.Minute+time.Second)
			if err := s.Reserve(t.Context(), later, limits); err != nil {
				t.Errorf("lapsed slots still take room: %v", err)
			}
		})
	}
}

func inFlight(t *testing.T, open OpenSlots) {
	s, reopen := open(t)
	ctx := t.Context()
	limits := store.Limits{Quota: quota.Limits{MaxTotalSize: 10}, MaxStorage: 10, Room: -1}
	slot := reserve(t, s, NewSlot("a@example.com", 10, 0))
	if _, err := s.Begin(ctx, slot.ID, Epoch); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Begin(ctx, slot.ID, Epoch); err != nil {
		t.Fatal(err)
	}
	late := slot.Deadline.Add(time.Hour)
	more := NewSlot("a@example.com", 1, time.Hour)
	expectTotals(t, s, late, store.Totals{WaitingSlots: 1, WaitingBytes: 10})
	if _, refused := errors.AsType[*quota.Refusal](s.Reserve(ctx, more, limits)); !refused {
		t.Error("the quota of an upload in flight was given away")
	}
	if err := s.GiveUp(ctx, slot.ID, late); err != nil {
		t.Fatal(err)
	}
	expectTotals(t, s, late, store.Totals{WaitingSlots: 1, WaitingBytes: 10})
	if err := s.GiveUp(ctx, slot.ID, late); err != nil {
		t.Fatal(err)
	}
	expectTotals(t, s, late, store.Totals{})
	if err := s.Reserve(ctx, more, limits); err != nil {
		t.Errorf("the upload has ended, its quota has not returned: %v", err)
	}

	// An upload that died with the process: its slot is usable in time, and
	// lapses after that.
	slot = reserve(t, s, NewSlot("b@example.com", 10, 0))
	if _, err := s.Begin(ctx, slot.ID, Epoch); err != nil {
		t.Fatal(err)
	}
	s = reopen()
	if _, err := s.Begin(t.Context(), slot.ID, slot.Deadline.Add(-1)); err != nil {
		t.Errorf("begin after restart: %v", err)
	}
}

func memory(t *testing.T, open OpenSlots) {
	s, reopen := open(t)
	limits := quota.Limits{Uploads: []quota.Window{{Limit: 2, Per: time.Hour}}, MaxTotalSize: 20}
	remember(t, s, time.Hour)
	stored := reserve(t, s, NewSlot("a@example.com", 10, 0))
	upload(t, s, stored, Epoch, time.Minute)
	waiting := reserve(t, s, NewSlot("a@example.com", 10, 1))
	for _, slot := range []store.Slot{stored, waiting} {
		if _, err := s.Delete(t.Context(), slot.ID, Epoch.Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
	}
	for range 2 {
		u := usage(t, s, "a@example.com", limits, Epoch.Add(time.Minute))
		if u.StoredFiles != 0 || u.WaitingSlots != 0 || u.Uploads[0].Used != 1 {
			t.Errorf("usage %+v, want one remembered upload and nothing else", u)
		}
		if err := s.Forget(t.Context(), Epoch.Add(time.Hour-1)); err != nil {
			t.Fatal(err)
		}
		s = reopen()
		remember(t, s, time.Hour)
	}
	if err := s.Forget(t.Context(), Epoch.Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if u := usage(t, s, "a@example.com", limits, Epoch.Add(time.Hour)); u.Uploads[0].Used != 0 {
		t.Errorf("usage %+v after the hour", u)
	}
}

func expired(t *testing.T, open OpenSlots) {
	s, _ := open(t)
	ctx := t.Context()
	kept := reserve(t, s, NewSlot("a@example.com", 1, 0))
	upload(t, s, kept, Epoch, 0) // forever
	file := reserve(t, s, NewSlot("a@example.com", 1, 1))
	upload(t, s, file, Epoch, 30*time.Second)
	unused := reserve(t, s, NewSlot("b@example.com", 1, 2))
	flying := reserve(t, s, NewSlot("b@example.com", 1, 3))
	if _, err := s.Begin(ctx, flying.ID, Epoch); err != nil {
		t.Fatal(err)
	}
	other := reserve(t, s, NewSlot("c@example.com", 1, 4))
	for _, tc := range []struct {
		now  time.Time
		want []string
	}{
		{Epoch, nil},
		{Epoch.Add(30*time.Second - 1), nil},
		{Epoch.Add(30 * time.Second), []string{file.ID}},
		{unused.Deadline, []string{file.ID, unused.ID}},
		{Epoch.Add(time.Hour), []string{file.ID, unused.ID, other.ID}},
	} {
		var got []string
		for after := ""; ; {
			slots, next, err := s.Expired(ctx, tc.now, after, 1)
			if err != nil {
				t.Fatal(err)
			}
			for _, slot := range slots {
				got = append(got, slot.ID)
			}
			if after = next; after == "" {
				break
			}
		}
		if !slices.Equal(got, tc.want) {
			t.Errorf("expired at %s: %v, want %v", tc.now, got, tc.want)
		}
	}
}

func deleteInFlight(t *testing.T, open OpenSlots) {
	s, _ := open(t)
	ctx := t.Context()
	slot := reserve(t, s, NewSlot("a@example.com", 10, 0))
	if _, err := s.Begin(ctx, slot.ID, Epoch); err != nil {
		t.Fatal(err)
	}
	if _, err := s.Delete(ctx, slot.ID, Epoch); err != nil {
		t.Fatal(err)
	}
	expectErr(t, "commit", second(s.Commit(ctx, slot.ID, store.Result{At: Epoch})), store.ErrNotFound)
	if err := s.GiveUp(ctx, slot.ID, Epoch); err != nil {
		t.Error(err)
	}
	expectTotals(t, s, Epoch, store.Totals{})
	if u := usage(t, s, slot.JID, quota.Limits{}, Epoch); u.WaitingSlots != 0 {
		t.Errorf("usage %+v", u)
	}
}
