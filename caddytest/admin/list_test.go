package admin

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// seeded returns a service that holds these uploads, and their IDs.
func seeded(t *testing.T, uploads []rig.Stored, lines ...string) (*service, []string) {
	t.Helper()
	s := newService(t)
	ids := make([]string, len(uploads))
	for i, u := range uploads { // each in its time, as they came
		ids[i] = rig.Seed(t, s.Dir, u)[0].ID
	}
	s.Start(s.site(lines...))
	return s, ids
}

func TestListingsAreFiltered(t *testing.T) {
	t.Parallel()
	day := now().UTC().Truncate(24 * time.Hour).Add(-72 * time.Hour)
	s, all := seeded(t, []rig.Stored{
		{JID: "anna@example.com", Name: "Grüße.txt", Size: 10, At: day},
		{JID: "bert@example.com", Name: "photo.jpg", Size: 10, At: day.Add(time.Hour)},
		{JID: "anna@example.com", Name: "PHOTO.png", Size: 10, At: day.Add(24 * time.Hour)},
		{JID: "anna@example.com", Name: "last", Size: 10, At: day.Add(71 * time.Hour)},
	})
	waiting := id(s.ask("bert@example.com", "waiting photo", 5))
	all = append(all, waiting)
	pick := func(which ...int) (ids []string) {
		for _, i := range slices.Backward(which) {
			ids = append(ids, all[i])
		}
		return ids
	}
	rfc := func(t time.Time) string { return url.QueryEscape(t.Format(time.RFC3339)) }
	for query, want := range map[string][]string{
		"":                                   pick(0, 1, 2, 3, 4),
		"jid=anna@example.com":               pick(0, 2, 3),
		"jid=Anna@Example.COM/phone":         pick(0, 2, 3),
		"jid=nobody@example.com":             {},
		"state=uploaded":                     pick(0, 1, 2, 3),
		"state=waiting":                      pick(4),
		"state=expired":                      {},
		"state=waiting&jid=anna@example.com": {},
		"state=waiting&jid=bert@example.com": pick(4),
		"q=photo":                            pick(1, 2, 4),
		"q=" + url.QueryEscape("GRÜSSE"):     {}, // ß is no SS here
		"q=" + url.QueryEscape("grÜße"):      pick(0),
		"q=ANNA@":                            pick(0, 2, 3),
		"q=photo&jid=bert@example.com":       pick(1, 4),
		"q=photo&state=uploaded":             pick(1, 2),
		"from=" + rfc(day.Add(time.Hour)):    pick(1, 2, 3, 4),
		"to=" + rfc(day.Add(time.Hour)):      pick(0),
		"to=" + day.Format(time.DateOnly):    {},
		"from=" + day.Format(time.DateOnly) + "&to=" + day.Add(24*time.Hour).Format(time.DateOnly):                      pick(0, 1),
		"from=" + url.QueryEscape(day.Add(24*time.Hour).In(time.FixedZone("", 7200)).Format(time.RFC3339)) + "&q=photo": pick(2, 4),
		"from=2999-01-01":  {},
		"store=" + s.store: pick(0, 1, 2, 3, 4),
	} {
		if got := ids(get[admin.List](s, "uploads?"+query)); !slices.Equal(got, want) {
			t.Errorf("uploads?%s lists %q, want %q", query, got, want)
		}
		// The same, one by one.
		got := []string{}
		for after := ""; ; {
			list := get[admin.List](s, "uploads?limit=1&"+query+after)
			got = append(got, ids(list)...)
			if list.Next == "" {
				break
			}
			after = "&after=" + list.Next
		}
		if !slices.Equal(got, want) {
			t.Errorf("uploads?%s lists %q by pages of one, want %q", query, got, want)
		}
	}
}

func TestExpiredUploadsAreListedUntilCleanUp(t *testing.T) {
	t.Parallel()
	s := start(t, "put_timeout 3s", "keep 3s")
	s.awaitCleanUp() // which would remove them
	unused, used := id(s.ask(user, "unused", 5)), id(s.upload(user, "used", 5))
	rig.Await(t, "the end of their time", func() bool {
		return len(get[admin.List](s, "uploads?state=expired").Uploads) == 2 && get[admin.Stats](s, "stats").WaitingSlots == 0
	})
	for _, u := range get[admin.List](s, "uploads").Uploads {
		if u.State != "expired" || (u.UploadedAt != nil) != (u.ID == used) || (u.UploadedAt == nil) != (u.ID == unused) {
			t.Errorf("after its time an upload is %+v", u)
		}
	}
	if got := get[admin.Stats](s, "stats"); got.ExpiredFiles != 1 || got.StoredFiles != 1 {
		t.Errorf("the stats are %+v", got)
	}
	for _, state := range []string{"waiting", "uploaded"} {
		if got := ids(get[admin.List](s, "uploads?state="+state)); len(got) > 0 {
			t.Errorf("%s: %q", state, got)
		}
	}
	if got, want := call[admin.CleanUp](s, "POST", "cleanup").Removal, (admin.Removal{Slots: 1, Files: 1, Bytes: 5}); got != want {
		t.Errorf("the clean-up removed %+v, want %+v", got, want)
	}
	if got := ids(get[admin.List](s, "uploads")); len(got) > 0 {
		t.Errorf("after the clean-up there are %q", got)
	}
}

func TestPagesHaveTheirLimit(t *testing.T) {
	t.Parallel()
	s := start(t)
	const count = 230
	for i := range count {
		s.ask(user, strconv.Itoa(i), 1)
	}
	for query, want := range map[string]int{"": 100, "limit=7": 7, "limit=230": 230, "limit=10000": 230, "limit=9223372036854775807": 230} {
		list := get[admin.List](s, "uploads?"+query)
		if len(list.Uploads) != want || (list.Next != "") != (want < count) {
			t.Errorf("uploads?%s has %d and next %q, want %d", query, len(list.Uploads), list.Next, want)
		}
	}
}

// While others ask for slots, upload and delete, a walk through all pages sees
// whatever stays, once.
func TestPagesStayRightUnderLoad(t *testing.T) {
	t.Parallel()
	s := start(t)
	var stay []string
	for i := range 120 {
		stay = append(stay, id(s.ask(user, strconv.Itoa(i), 1)))
		s.ask("gone@example.com", strconv.Itoa(i), 1)
	}
	var ended atomic.Bool
	var load sync.WaitGroup
	load.Go(func() {
		for i := 0; !ended.Load(); i++ {
			if _, err := s.Slot(t.Context(), rig.Ask{JID: "new@example.com", Name: strconv.Itoa(i), Size: 1}); err != nil {
				t.Error(err)
				return
			}
		}
	})
	gone := ids(get[admin.List](s, "uploads?limit=1000&jid=gone@example.com"))
	load.Go(func() {
		for _, id := range gone {
			if status, _, body := s.request("DELETE", "uploads/"+id); status != 200 {
				t.Errorf("deleting %s: %d %s", id, status, body)
			}
		}
	})
	defer load.Wait()
	defer ended.Store(true)
	for _, limit := range []int{1, 7, 50} {
		var seen []string
		for after := ""; ; {
			list := get[admin.List](s, fmt.Sprintf("uploads?limit=%d%s", limit, after))
			seen = append(seen, ids(list)...)
			if list.Next == "" {
				break
			}
			after = "&after=" + list.Next
		}
		count := make(map[string]int)
		for _, id := range seen {
			if count[id]++; count[id] > 1 {
				t.Fatalf("by pages of %d, %s is listed twice", limit, id)
			}
		}
		for _, id := range stay {
			if count[id] != 1 {
				t.Fatalf("by pages of %d, %s is not listed", limit, id)
			}
		}
		if !slices.IsSortedFunc(seen, func(a, b string) int {
			return -strings.Compare(store.TimeOrdered(a), store.TimeOrdered(b))
		}) {
			t.Fatalf("by pages of %d the newest are not first", limit)
		}
	}
}
