package storetest

import (
	"encoding/base64"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// listing pages through slots while others come and go.
func listing(t *testing.T, open OpenSlots) {
	s, _ := open(t)
	ctx := t.Context()
	var stay []string
	for i := range 30 {
		slot := NewSlot(fmt.Sprint("u", i%3, "@example.com"), 1, time.Duration(i)*time.Second)
		slot.Name = fmt.Sprint("Photo ", i, ".JPG")
		reserve(t, s, slot)
		if i%2 == 0 {
			stay = append(stay, slot.ID)
		}
	}
	slices.Reverse(stay)
	gone := pages(t, s, store.Query{Limit: 100})
	if len(gone) != 30 {
		t.Fatalf("%d slots listed, want 30", len(gone))
	}

	var seen []string
	q := store.Query{Limit: 4}
	for i := 0; ; i++ {
		page, err := s.List(ctx, q)
		if err != nil {
			t.Fatal(err)
		}
		for _, slot := range page.Slots {
			seen = append(seen, slot.ID)
		}
		for _, id := range gone[min(4*i, 29):min(4*i+6, 30)] { // around the cursor
			if !slices.Contains(stay, id) {
				_, _ = s.Delete(ctx, id, Epoch)
			}
		}
		reserve(t, s, NewSlot("new@example.com", 1, time.Hour))
		if q.After = page.Next; q.After == "" {
			break
		}
	}
	var stayed []string
	for _, id := range seen {
		if slices.Contains(stay, id) {
			stayed = append(stayed, id)
		}
	}
	if !slices.Equal(stayed, stay) {
		t.Errorf("of the slots that stayed the listing had\n%v, want\n%v", stayed, stay)
	}

	upload(t, s, mustGet(t, s, stay[0]), Epoch, 0)
	for name, tc := range map[string]struct {
		q    store.Query
		want int
	}{
		"all":               {store.Query{To: Epoch.Add(time.Minute)}, 15},
		"one JID":           {store.Query{JID: "u0@example.com"}, 5},
		"no such JID":       {store.Query{JID: "u@example.com"}, 0},
		"text of name":      {store.Query{Text: "photo 2"}, 6}, // 2, 20, 22 ... 28
		"text of JID":       {store.Query{Text: "U1@EXAMPLE"}, 5},
		"uploaded":          {store.Query{State: store.Uploaded}, 1},
		"from is inclusive": {store.Query{From: Epoch.Add(26 * time.Second), To: Epoch.Add(time.Minute)}, 2},
		"to is exclusive":   {store.Query{To: Epoch.Add(2 * time.Second)}, 1},
	} {
		tc.q.Limit = 2
		if got := pages(t, s, tc.q); len(got) != tc.want {
			t.Errorf("%s: %d slots, want %d", name, len(got), tc.want)
		}
	}
}

func mustGet(t *testing.T, s store.Slots, id string) store.Slot {
	t.Helper()
	slot, err := s.Get(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

// pages returns the IDs of all pages.
func pages(t *testing.T, s store.Slots, q store.Query) (ids []string) {
	t.Helper()
	for {
		page, err := s.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		for _, slot := range page.Slots {
			ids = append(ids, slot.ID)
		}
		if q.After = page.Next; q.After == "" {
			return ids
		}
	}
}

// tellsOfFlights asks for one slot and for the list at each step of its life.
func tellsOfFlights(t *testing.T, open OpenSlots) {
	s, reopen := open(t)
	ctx := t.Context()
	slot := reserve(t, s, NewSlot("a@example.com", 1, 0))
	expect := func(when string, want bool) {
		t.Helper()
		page, err := s.List(ctx, store.Query{JID: slot.JID})
		if err != nil || len(page.Slots) != 1 {
			t.Fatalf("%s: %d slots, %v", when, len(page.Slots), err)
		}
		if got, listed := mustGet(t, s, slot.ID).InFlight, page.Slots[0].InFlight; got != want || listed != want {
			t.Errorf("%s: in flight is %v, and %v in the list; want %v", when, got, listed, want)
		}
	}
	begin := func() {
		t.Helper()
		if _, err := s.Begin(ctx, slot.ID, Epoch); err != nil {
			t.Fatal(err)
		}
	}
	expect("before", false)
	begin()
	begin()
	expect("two uploads", true)
	for _, left := range []bool{true, false} {
		if err := s.GiveUp(ctx, slot.ID, Epoch); err != nil {
			t.Fatal(err)
		}
		expect("one upload has ended", left)
	}
	begin()
	s = reopen()
	expect("the process has died", false)
	begin()
	if _, err := s.Commit(ctx, slot.ID, store.Result{At: Epoch}); err != nil {
		t.Fatal(err)
	}
	expect("uploaded", false)
}

// lateCommits commits after the deadline, while others look for what has expired:
// they would remove the slot of a file that was stored.
func lateCommits(t *testing.T, open OpenSlots) {
	s, _ := open(t)
	ctx := t.Context()
	for round := range 300 {
		slot := reserve(t, s, NewSlot("a@example.com", 1, time.Duration(round)))
		if _, err := s.Begin(ctx, slot.ID, Epoch); err != nil {
			t.Fatal(err)
		}
		late := slot.Deadline.Add(time.Hour)
		committed := make(chan error)
		go func() {
			_, err := s.Commit(ctx, slot.ID, store.Result{At: late})
			committed <- err
		}()
		for done := false; !done; {
			select {
			case err := <-committed:
				if done = true; err != nil {
					t.Fatal(err)
				}
			default:
			}
			expired, _, err := s.Expired(ctx, late, "", 10)
			if err != nil || len(expired) > 0 {
				t.Fatalf("expired are %v, %v", expired, err)
			}
			page, err := s.List(ctx, store.Query{State: store.Expired, Now: late})
			if err != nil || len(page.Slots) > 0 {
				t.Fatalf("listed as expired are %v, %v", page.Slots, err)
			}
		}
	}
}

// states lists by state at several times.
func states(t *testing.T, open OpenSlots) {
	s, _ := open(t)
	ids := make(map[string]string)
	for i, name := range []string{"kept", "file", "unused", "flying", "late"} {
		slot := NewSlot(fmt.Sprint("u", i%2, "@example.com"), 1, time.Duration(i)*time.Minute)
		reserve(t, s, slot)
		ids[slot.ID] = name
		switch name {
		case "kept":
			upload(t, s, slot, slot.Reserved, 0)
		case "file":
			upload(t, s, slot, slot.Reserved, 10*time.Minute)
		case "flying":
			if _, err := s.Begin(t.Context(), slot.ID, slot.Reserved); err != nil {
				t.Fatal(err)
			}
		}
	}
	at := func(minutes float64) time.Time { return Epoch.Add(time.Duration(minutes * float64(time.Minute))) }
	for name, tc := range map[string]struct {
		q    store.Query
		want []string
	}{
		"waiting at once":           {store.Query{State: store.Waiting, Now: at(2.5)}, []string{"late", "flying", "unused"}},
		"waiting later":             {store.Query{State: store.Waiting, Now: at(3)}, []string{"late", "flying"}},
		"waiting after long":        {store.Query{State: store.Waiting, Now: at(1e5)}, []string{"flying"}},
		"waiting at no time":        {store.Query{State: store.Waiting}, []string{"late", "flying", "unused"}},
		"waiting of one JID":        {store.Query{State: store.Waiting, Now: at(4), JID: "u0@example.com"}, []string{"late"}},
		"waiting in a span":         {store.Query{State: store.Waiting, Now: at(1e5), From: at(2.5), To: at(3.5)}, []string{"flying"}},
		"uploaded at once":          {store.Query{State: store.Uploaded, Now: at(1)}, []string{"file", "kept"}},
		"uploaded later":            {store.Query{State: store.Uploaded, Now: at(11)}, []string{"kept"}},
		"uploaded at no time":       {store.Query{State: store.Uploaded}, []string{"file", "kept"}},
		"expired at once":           {store.Query{State: store.Expired, Now: at(2.9)}, nil},
		"expired when unused":       {store.Query{State: store.Expired, Now: at(3)}, []string{"unused"}},
		"expired later":             {store.Query{State: store.Expired, Now: at(11)}, []string{"late", "unused", "file"}},
		"expired at no time":        {store.Query{State: store.Expired}, nil},
		"expired, of one JID":       {store.Query{State: store.Expired, Now: at(11), JID: "u1@example.com"}, []string{"file"}},
		"expired, with a text":      {store.Query{State: store.Expired, Now: at(11), Text: "U0@"}, []string{"late", "unused"}},
		"expired, in a span":        {store.Query{State: store.Expired, Now: at(11), From: at(2), To: at(4)}, []string{"unused"}},
		"any state, at a time":      {store.Query{Now: at(11)}, []string{"late", "flying", "unused", "file", "kept"}},
		"a text and a state":        {store.Query{State: store.Waiting, Now: at(4), Text: "u0"}, []string{"late"}},
		"a JID that has no uploads": {store.Query{State: store.Expired, Now: at(11), JID: "u@example.com"}, nil},
	} {
		for _, limit := range []int{1, 2, 100} {
			tc.q.Limit = limit
			var got []string
			for _, id := range pages(t, s, tc.q) {
				got = append(got, ids[id])
			}
			if !slices.Equal(got, tc.want) {
				t.Errorf("%s, %d on a page: %v, want %v", name, limit, got, tc.want)
			}
		}
	}
}

// cursors goes on after IDs that are gone, or were never there, and after what
// is none.
func cursors(t *testing.T, open OpenSlots) {
	s, _ := open(t)
	ctx := t.Context()
	older := reserve(t, s, NewSlot("a@example.com", 1, 0))
	newer := reserve(t, s, NewSlot("a@example.com", 1, time.Hour))
	now := newer.Deadline
	for name, tc := range map[string]struct {
		after time.Duration
		to    time.Time
		want  []string
	}{
		"an ID before all":                  {-time.Hour, time.Time{}, nil},
		"an ID in between":                  {time.Minute, time.Time{}, []string{older.ID}},
		"an ID after all":                   {2 * time.Hour, time.Time{}, []string{newer.ID, older.ID}},
		"an ID after the end of a span":     {2 * time.Hour, newer.Reserved, []string{older.ID}},
		"an ID long after the end of it":    {1e6 * time.Hour, newer.Reserved, []string{older.ID}},
		"an ID before the beginning of all": {-1e5 * time.Hour, newer.Reserved, nil},
	} {
		after := store.NewID(Epoch.Add(tc.after))
		for _, q := range []store.Query{{}, {JID: "a@example.com"}, {State: store.Expired, Now: now}, {State: store.Waiting}} {
			q.After, q.To = after, tc.to
			if got := pages(t, s, q); !slices.Equal(got, tc.want) {
				t.Errorf("%s, state %d of %q: %v, want %v", name, q.State, q.JID, got, tc.want)
			}
		}
	}
	for _, bad := range []string{"no cursor", "AAAA", "../../etc/passwd", base64.RawURLEncoding.EncodeToString(make([]byte, 64))} {
		_, err := s.List(ctx, store.Query{After: bad})
		expectErr(t, "list after "+bad, err, store.ErrCursor)
		_, _, err = s.Expired(ctx, now, bad, 1)
		expectErr(t, "expired after "+bad, err, store.ErrCursor)
		_, _, err = s.Users(ctx, bad, 1)
		expectErr(t, "users after "+bad, err, store.ErrCursor)
	}
	for _, bad := range []string{newer.ID + "0", newer.ID[1:], newer.ID[1:] + "z"} {
		_, err := s.List(ctx, store.Query{After: bad})
		expectErr(t, "list after "+bad, err, store.ErrCursor)
	}
}
