package storetest

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// checks holds Check against Reserve.
func checks(t *testing.T, open OpenSlots) {
	window := []quota.Window{{Limit: 15, Per: time.Hour}}
	for name, limits := range map[string]store.Limits{
		"no limit":   free,
		"file size":  {Quota: quota.Limits{MaxFileSize: 9}, Room: -1},
		"total size": {Quota: quota.Limits{MaxTotalSize: 15}, Room: -1},
		"bytes":      {Quota: quota.Limits{Bytes: window}, Room: -1},
		"uploads":    {Quota: quota.Limits{Uploads: []quota.Window{{Limit: 1, Per: time.Hour}}}, Room: -1},
		"storage":    {MaxStorage: 15, Room: -1},
		"room":       {Room: 15},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := open(t)
			remember(t, s, time.Hour)
			upload(t, s, reserve(t, s, NewSlot("a@example.com", 2, 0)), Epoch, 0)
			for i := range 3 {
				checkedReserve(t, s, NewSlot("a@example.com", 10, time.Duration(1+i)), limits)
				checkedReserve(t, s, NewSlot("b@example.com", 4, time.Duration(1+i)), limits)
			}
		})
	}
	t.Run("to the moment of the next grant", func(t *testing.T) {
		s, _ := open(t)
		remember(t, s, time.Hour)
		limits := store.Limits{Quota: quota.Limits{Bytes: window}, Room: -1}
		upload(t, s, reserve(t, s, NewSlot("a@example.com", 10, 0)), Epoch, 0)
		now := Epoch.Add(time.Minute)
		r, ok := errors.AsType[*quota.Refusal](s.Check(t.Context(), "a@example.com", 6, limits, now))
		if !ok || r.RetryAfter != 59*time.Minute || r.Used != 10 {
			t.Fatalf("refusal %+v, want one for 59 minutes", r)
		}
		if err := s.Check(t.Context(), "a@example.com", 6, limits, now.Add(r.RetryAfter-1)); err == nil {
			t.Error("granted too early")
		}
		if err := s.Check(t.Context(), "a@example.com", 6, limits, now.Add(r.RetryAfter)); err != nil {
			t.Error(err)
		}
	})
}

// checkedReserve reserves the slot if it can, after it was asked twice whether it
// can: the answers must be the same.
func checkedReserve(t *testing.T, s store.Slots, slot store.Slot, limits store.Limits) (granted bool) {
	t.Helper()
	first := s.Check(t.Context(), slot.JID, slot.Size, limits, slot.Reserved)
	again := s.Check(t.Context(), slot.JID, slot.Size, limits, slot.Reserved)
	err := s.Reserve(t.Context(), slot, limits)
	if answer(first) != answer(err) || answer(again) != answer(err) {
		t.Fatalf("checks say %q and %q, the reservation says %q", answer(first), answer(again), answer(err))
	}
	return err == nil
}

// answer is all that an error of a reservation tells.
func answer(err error) string {
	if r, ok := errors.AsType[*quota.Refusal](err); ok {
		return fmt.Sprintf("%+v", *r)
	}
	return fmt.Sprint(err)
}

// someLimits are tight now and then.
func someLimits(rnd *rand.Rand) store.Limits {
	switch rnd.IntN(5) {
	case 0:
		return store.Limits{Room: rnd.Int64N(1000)}
	case 1:
		return store.Limits{Room: -1, MaxStorage: 1 + rnd.Int64N(4000)}
	case 2:
		return store.Limits{Room: -1, Quota: quota.Limits{
			MaxTotalSize: 1 + rnd.Int64N(2000),
			Bytes:        []quota.Window{{Limit: 1 + rnd.Int64N(1000), Per: 10 * time.Minute}},
			Uploads:      []quota.Window{{Limit: 1 + rnd.Int64N(60), Per: time.Hour}},
		}}
	}
	return free
}

// compareViews asks a store for users, days and lists, and compares them with
// what the events add up to.
func compareViews(t *testing.T, s store.Slots, rnd *rand.Rand, events []*event, now time.Time) {
	t.Helper()
	if got, want := allUsers(t, s, 1+rnd.IntN(3)), usersOf(events); !slices.Equal(got, want) {
		t.Fatalf("users are\n%+v, want\n%+v", got, want)
	}
	got, err := s.Days(t.Context(), Epoch)
	if want := daysOf(events); err != nil || !slices.Equal(got, want) {
		t.Fatalf("days are\n%+v, %v, want\n%+v", got, err, want)
	}
	for _, state := range []store.State{0, store.Waiting, store.Uploaded, store.Expired} {
		q := store.Query{State: state, Now: now, Limit: 1 + rnd.IntN(50)}
		switch rnd.IntN(5) {
		case 0:
			q.JID = fmt.Sprint(rnd.IntN(3), "@example.com")
		case 1:
			q.From, q.To = now.Add(-time.Duration(rnd.Int64N(1e13))), now.Add(-time.Duration(rnd.Int64N(1e12)))
		case 2:
			q.Text = "1@"
		case 3:
			q.After = store.NewID(now.Add(-time.Duration(rnd.Int64N(1e13))))
		}
		if got, want := pages(t, s, q), listOf(events, q); !slices.Equal(got, want) {
			t.Fatalf("%+v lists\n%v, want\n%v", q, got, want)
		}
	}
}

// usersOf sums up what is stored.
func usersOf(events []*event) (users []store.User) {
	for _, e := range events {
		if e.State != store.Uploaded || e.removed {
			continue
		}
		i := slices.IndexFunc(users, func(u store.User) bool { return u.JID == e.JID })
		if i < 0 {
			i, users = len(users), append(users, store.User{JID: e.JID})
		}
		users[i].StoredFiles++
		users[i].StoredBytes += e.Size
	}
	slices.SortFunc(users, func(a, b store.User) int {
		return cmp.Or(cmp.Compare(b.StoredBytes, a.StoredBytes), cmp.Compare(a.JID, b.JID))
	})
	return users
}

// daysOf counts what was ever uploaded.
func daysOf(events []*event) (days []store.Day) {
	for _, e := range events {
		if e.State != store.Uploaded {
			continue
		}
		y, m, d := e.Uploaded.UTC().Date()
		start := time.Date(y, m, d, 0, 0, 0, 0, time.UTC)
		i := slices.IndexFunc(days, func(d store.Day) bool { return d.Start.Equal(start) })
		if i < 0 {
			i, days = len(days), append(days, store.Day{Start: start})
		}
		days[i].Uploads++
		days[i].Bytes += e.Size
	}
	slices.SortFunc(days, func(a, b store.Day) int { return a.Start.Compare(b.Start) })
	return days
}

// listOf picks what the query asks for, newest first.
func listOf(events []*event, q store.Query) (ids []string) {
	for _, e := range events {
		slot := e.Slot
		slot.InFlight = e.inFlight
		if !e.removed && (q.State == 0 || slot.StateAt(q.Now) == q.State) &&
			(q.JID == "" || slot.JID == q.JID) && strings.Contains(slot.JID, q.Text) &&
			(q.From.IsZero() || !slot.Reserved.Before(q.From)) && (q.To.IsZero() || slot.Reserved.Before(q.To)) &&
			(q.After == "" || store.TimeOrdered(slot.ID) < store.TimeOrdered(q.After)) {
			ids = append(ids, slot.ID)
		}
	}
	slices.SortFunc(ids, func(a, b string) int { return cmp.Compare(store.TimeOrdered(b), store.TimeOrdered(a)) })
	return ids
}

// allUsers pages through all users.
func allUsers(t *testing.T, s store.Slots, limit int) (users []store.User) {
	t.Helper()
	for after := ""; ; {
		page, next, err := s.Users(t.Context(), after, limit)
		if err != nil {
			t.Fatal(err)
		}
		if len(page) > limit || next != "" && len(page) < limit {
			t.Fatalf("a page of %d users, %d were asked for", len(page), limit)
		}
		users = append(users, page...)
		if after = next; after == "" {
			return users
		}
	}
}

func users(t *testing.T, open OpenSlots) {
	s, reopen := open(t)
	expect := func(when string, want ...store.User) {
		t.Helper()
		for _, limit := range []int{1, 2, 100} {
			if got := allUsers(t, s, limit); !slices.Equal(got, want) {
				t.Errorf("%s, %d on a page: %+v, want %+v", when, limit, got, want)
			}
		}
	}
	expect("at first")
	first := reserve(t, s, NewSlot("a@example.com", 10, 0))
	other := reserve(t, s, NewSlot("b@example.com", 10, 0))
	expect("nothing is stored yet")
	upload(t, s, first, Epoch, time.Hour)
	upload(t, s, other, Epoch, 0)
	a, b, c := store.User{JID: "a@example.com", StoredFiles: 1, StoredBytes: 10}, store.User{JID: "b@example.com", StoredFiles: 1, StoredBytes: 10}, store.User{JID: "c@example.com", StoredFiles: 2, StoredBytes: 300}
	expect("both have as much", a, b)
	for range 2 {
		upload(t, s, reserve(t, s, NewSlot("c@example.com", 150, 0)), Epoch, 0)
	}
	expect("one has more", c, a, b)
	s = reopen()
	expect("after a restart", c, a, b)
	if _, err := s.Delete(t.Context(), first.ID, Epoch); err != nil {
		t.Fatal(err)
	}
	expect("one has nothing left", c, b)
	upload(t, s, reserve(t, s, NewSlot("b@example.com", 1000, 0)), Epoch, 0)
	b.StoredFiles, b.StoredBytes = 2, 1010
	expect("another has more", b, c)
}

// manyAtOnce uploads for many users from many connections, and deletes half.
func manyAtOnce(t *testing.T, s store.Slots) (events []*event) {
	t.Helper()
	all := make([]*event, 400)
	for i, err := range race(len(all), func(i int) error {
		slot := NewSlot(fmt.Sprint(i%20, "@example.com"), int64(1+i), time.Duration(i))
		if err := s.Reserve(t.Context(), slot, free); err != nil {
			return err
		}
		if _, err := s.Begin(t.Context(), slot.ID, Epoch); err != nil {
			return err
		}
		slot, err := s.Commit(t.Context(), slot.ID, store.Result{Attempt: store.NewAttempt(), At: Epoch})
		if err == nil && i%2 == 0 {
			_, err = s.Delete(t.Context(), slot.ID, Epoch)
		}
		all[i] = &event{Slot: slot, removed: i%2 == 0}
		return err
	}) {
		if err != nil {
			t.Fatalf("upload %d: %v", i, err)
		}
	}
	return all
}

func days(t *testing.T, open OpenSlots) {
	s, reopen := open(t)
	midnight := Epoch.UTC().Truncate(24 * time.Hour)
	expect := func(when string, from time.Time, want ...store.Day) {
		t.Helper()
		if got, err := s.Days(t.Context(), from); err != nil || !slices.Equal(got, want) {
			t.Errorf("%s: %+v, %v; want %+v", when, got, err, want)
		}
	}
	store1 := func(at time.Time, size int64) store.Slot {
		return upload(t, s, reserve(t, s, NewSlot("a@example.com", size, at.Sub(Epoch))), at, time.Minute)
	}
	reserve(t, s, NewSlot("a@example.com", 7, 0))
	expect("a slot is no upload", midnight)
	gone := store1(midnight.Add(24*time.Hour-1), 10)
	store1(midnight.Add(24*time.Hour), 20)
	store1(midnight.Add(24*time.Hour+time.Minute), 30)
	today, tomorrow := store.Day{Start: midnight, Uploads: 1, Bytes: 10}, store.Day{Start: midnight.Add(24 * time.Hour), Uploads: 2, Bytes: 50}
	expect("two days", midnight, today, tomorrow)
	expect("from some hour on", midnight.Add(time.Hour), today, tomorrow)
	expect("from the second on", midnight.Add(24*time.Hour), tomorrow)
	expect("in another zone", midnight.Add(24*time.Hour).In(time.FixedZone("west", -9*3600)), tomorrow)
	s = reopen()
	if _, err := s.Delete(t.Context(), gone.ID, midnight); err != nil {
		t.Fatal(err)
	}
	expect("what was removed was uploaded all the same", midnight, today, tomorrow)

	last := midnight.Add((store.DaysKept - 1) * 24 * time.Hour)
	store1(last, 5)
	if err := s.Forget(t.Context(), last.Add(24*time.Hour-1)); err != nil {
		t.Fatal(err)
	}
	expect("as many as must be kept", midnight, today, tomorrow, store.Day{Start: last, Uploads: 1, Bytes: 5})

	s, _ = open(t)
	events := manyAtOnce(t, s)
	expect("many at once", midnight, daysOf(events)...)
	if got, want := allUsers(t, s, 7), usersOf(events); !slices.Equal(got, want) {
		t.Errorf("users of many at once: %+v, want %+v", got, want)
	}
}

// backup asks for a copy; what can be done with it is the store's own.
func backup(t *testing.T, open OpenSlots) {
	s, _ := open(t)
	manyAtOnce(t, s)
	var whole bytes.Buffer
	if err := s.Backup(t.Context(), &whole); errors.Is(err, errors.ErrUnsupported) {
		return
	} else if err != nil || whole.Len() == 0 {
		t.Fatalf("a copy of %d bytes, %v", whole.Len(), err)
	}
	stuck := errors.New("pipe is broken")
	expectErr(t, "backup", s.Backup(t.Context(), &narrow{left: int64(whole.Len() / 2), err: stuck}), stuck)
	expectErr(t, "backup", s.Backup(t.Context(), &narrow{left: int64(whole.Len() - 1), err: stuck}), stuck)
}

// narrow is a writer that fails after left bytes.
type narrow struct {
	left int64
	err  error
}

func (n *narrow) Write(b []byte) (int, error) {
	if n.left -= int64(len(b)); n.left < 0 {
		return 0, n.err
	}
	return len(b), nil
}

var _ io.Writer = (*narrow)(nil)
