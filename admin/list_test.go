package admin_test

import (
	"context"
	"maps"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Whatever comes and goes between two pages, over one store and over several:
// what stays is listed once, newest first.
func TestAListingMissesNothingThatStays(t *testing.T) {
	for _, count := range []int{1, 3} {
		t.Run(map[int]string{1: "one store", 3: "three stores"}[count], func(t *testing.T) {
			dir := t.TempDir()
			h := &history{stores: make(map[string]*site), there: make(map[string]string)}
			for i := range count {
				h.sites = append(h.sites, serve(t, filepath.Join(dir, string(rune('a'+i))), nil))
			}
			h.all = hold(t, "")
			rapid.Check(t, func(rt *rapid.T) { h.run(rt) })
		})
	}
}

// history is what happened to the stores, over all runs of a property.
type history struct {
	all    *admin.Stores
	sites  []*site
	stores map[string]*site  // of each ID that ever was
	there  map[string]string // IDs that are there, and their JIDs
}

func (h *history) run(t *rapid.T) {
	defer h.clear(t)
	for range rapid.IntRange(0, 20).Draw(t, "slots") {
		h.add(t)
	}
	q := store.Query{
		JID:   rapid.SampledFrom([]string{"", "a@example.com", "b@example.com"}).Draw(t, "jid"),
		Limit: rapid.IntRange(1, 8).Draw(t, "limit"),
	}
	stay := make(map[string]bool)
	for id, jid := range h.there {
		stay[id] = q.JID == "" || jid == q.JID
	}
	var seen []admin.Upload
	for {
		page, err := h.all.List(t.Context(), q)
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Uploads) > q.Limit || page.Next != "" && len(page.Uploads) < q.Limit {
			t.Fatalf("a page of %d with the limit %d, next is %q", len(page.Uploads), q.Limit, page.Next)
		}
		seen = append(seen, page.Uploads...)
		if q.After = page.Next; page.Next == "" {
			break
		}
		for range rapid.IntRange(0, 3).Draw(t, "changes") {
			if rapid.Bool().Draw(t, "add") {
				h.add(t)
			} else {
				delete(stay, h.remove(t))
			}
		}
	}
	expectEachOnce(t, stay, seen)
}

func expectEachOnce(t *rapid.T, stay map[string]bool, seen []admin.Upload) {
	keys := make([]string, len(seen))
	for i, u := range seen {
		keys[i] = store.TimeOrdered(u.ID)
		if stays, known := stay[u.ID]; known && !stays {
			t.Fatalf("%s of %s does not match", u.ID, u.JID)
		}
		delete(stay, u.ID)
	}
	slices.Reverse(keys)
	if !slices.IsSorted(keys) || len(slices.Compact(keys)) != len(seen) {
		t.Fatalf("not newest first, or one twice: %q", keys)
	}
	for id, stays := range stay {
		if stays {
			t.Fatalf("%s was there all the time and is not listed", id)
		}
	}
}

func (h *history) add(t *rapid.T) {
	s := rapid.SampledFrom(h.sites).Draw(t, "store")
	jid := rapid.SampledFrom([]string{"a@example.com", "b@example.com"}).Draw(t, "jid")
	at := time.Now().Add(-time.Duration(rapid.IntRange(0, 20).Draw(t, "ms ago")) * time.Millisecond)
	id := s.reserve(jid, at)
	h.stores[id], h.there[id] = s, jid
}

// remove removes one and returns its ID.
func (h *history) remove(t *rapid.T) string {
	if len(h.there) == 0 {
		return ""
	}
	ids := slices.Sorted(maps.Keys(h.there))
	id := rapid.SampledFrom(ids).Draw(t, "id")
	h.delete(t, id)
	return id
}

func (h *history) delete(t *rapid.T, id string) {
	if _, err := h.stores[id].service.Value.Slots().Delete(context.Background(), id, time.Now()); err != nil {
		t.Fatal(err)
	}
	delete(h.there, id)
}

func (h *history) clear(t *rapid.T) {
	for id := range h.there {
		h.delete(t, id)
	}
}

func TestUsersOfSeveralStoresAreSummed(t *testing.T) {
	dir := t.TempDir()
	one, two := serve(t, filepath.Join(dir, "a"), nil), serve(t, filepath.Join(dir, "b"), nil)
	for _, u := range []struct {
		site *site
		jid  string
		size int64
	}{
		{one, "a@example.com", 300},
		{one, "c@example.com", 500},
		{two, "c@example.com", 200},
		{two, "b@example.com", 300},
		{one, "d@example.com", 100},
		{one, "d@example.com", 100},
		{two, "d@example.com", 100},
	} {
		u.site.upload(u.jid, u.size)
	}
	want := []admin.UserSum{{"c@example.com", 2, 700}, {"a@example.com", 1, 300}, {"b@example.com", 1, 300}, {"d@example.com", 3, 300}}
	stores := hold(t, "")
	for limit := range len(want) + 2 {
		var got []admin.UserSum
		for after := ""; ; {
			page, err := stores.Users(t.Context(), after, limit)
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, page.Users...)
			if after = page.Next; after == "" {
				break
			}
		}
		if !slices.Equal(got, want) {
			t.Errorf("by pages of %d: %v, want %v", limit, got, want)
		}
	}
}

// upload stores a file.
func (s *site) upload(jid string, size int64) {
	s.t.Helper()
	check := func(err error) {
		s.t.Helper()
		if err != nil {
			s.t.Fatal(err)
		}
	}
	ctx, now := s.t.Context(), time.Now()
	slots, files := s.service.Value.Slots(), s.service.Value.Files()
	slot := store.Slot{
		ID: store.NewID(now), JID: jid, Name: "a.txt", URLName: "a.txt", Size: size, Reserved: now, Deadline: now.Add(time.Hour),
	}
	check(slots.Reserve(ctx, slot, store.Limits{Room: -1}))
	_, err := slots.Begin(ctx, slot.ID, now)
	check(err)
	ref := slot.File()
	ref.Attempt = store.NewAttempt()
	file, err := files.Create(ctx, ref, size)
	check(err)
	_, err = file.Write(make([]byte, size))
	check(err)
	check(file.Commit(ctx))
	_, err = slots.Commit(ctx, slot.ID, store.Result{Attempt: ref.Attempt, At: now})
	check(err)
	check(file.Publish(ctx))
}
