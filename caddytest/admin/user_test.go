package admin

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const limited = `
allow vip@example.com
deny blocked@example.com
allow *.example.com example.com {
	max_file_size 1KiB
	max_total_size 4KiB
	bytes 2KiB per 1h
	bytes 3KiB per 2d
	uploads 3 per 90m
}`

func TestAUserIsTold(t *testing.T) {
	t.Parallel()
	s := start(t, limited, "put_timeout 6m")
	want := admin.User{
		JID: user, Rule: &admin.Rule{Index: 2, Pattern: "example.com"}, MaxFileSize: 1024, MaxTotalSize: 4096,
		Bytes:   []admin.Window{{Limit: 2048, Per: "1h"}, {Limit: 3072, Per: "2d"}},
		Uploads: []admin.Window{{Limit: 3, Per: "1h30m"}},
	}
	expect := func(what string) {
		t.Helper()
		got, want := text(t, get[admin.User](s, "users/"+url.PathEscape("User@example.com/phone"))), text(t, want)
		if got != want {
			t.Errorf("%s the user is\n%s\nwant\n%s", what, got, want)
		}
	}
	use := func(bytes, uploads int64) {
		for i := range want.Bytes {
			want.Bytes[i].Used += bytes
		}
		want.Uploads[0].Used += uploads
	}
	expect("before any upload")

	slot := s.ask(user, "a", 1000)
	want.WaitingSlots, want.WaitingBytes = 1, 1000
	use(1000, 1)
	expect("with a slot")

	if err := s.Put(t.Context(), slot.Put, "", 1000, rig.Content(1, 1000)); err != nil {
		t.Fatal(err)
	}
	want.WaitingSlots, want.WaitingBytes, want.StoredFiles, want.StoredBytes = 0, 0, 1, 1000
	expect("with an upload")

	s.upload(user, "b", 1000)
	want.StoredFiles, want.StoredBytes = 2, 2000
	use(1000, 1)
	expect("with another upload")

	call[admin.Removal](s, "DELETE", "uploads/"+id(slot))
	want.StoredFiles, want.StoredBytes = 1, 1000
	expect("after a deletion, which windows don't care for,")
}

func text(t *testing.T, v any) string {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestRoomComesBack(t *testing.T) {
	t.Parallel()
	s := start(t, "allow example.com {\nuploads 1 per 1h\nbytes 10 per 2h\n}", "put_timeout 5m")
	slot := s.ask(user, "a", 10)
	soon := func(w admin.Window, seconds int64) {
		t.Helper()
		if w.RoomIn > seconds || w.RoomIn < seconds-30 {
			t.Errorf("room comes back in %d seconds, want %d at most, and not much less", w.RoomIn, seconds)
		}
	}
	u := get[admin.User](s, "users/"+user)
	soon(u.Uploads[0], 300)
	soon(u.Bytes[0], 300) // when the slot lapses
	if err := s.Put(t.Context(), slot.Put, "", 10, rig.Content(1, 10)); err != nil {
		t.Fatal(err)
	}
	u = get[admin.User](s, "users/"+user)
	soon(u.Uploads[0], 3600)
	soon(u.Bytes[0], 7200)
}

func TestTheRuleOfAUser(t *testing.T) {
	t.Parallel()
	s := start(t, limited)
	for jid, want := range map[string]*admin.Rule{
		"vip@example.com":          {Index: 0, Pattern: "vip@example.com"},
		"blocked@example.com":      {Index: 1, Pattern: "blocked@example.com", Deny: true},
		"Blocked@EXAMPLE.com/home": {Index: 1, Pattern: "blocked@example.com", Deny: true},
		"a@b.example.com":          {Index: 2, Pattern: "*.example.com"},
		"example.com":              {Index: 2, Pattern: "example.com"},
		"me@example.org":           nil,
	} {
		if got := get[admin.User](s, "users/"+url.PathEscape(jid)).Rule; text(t, got) != text(t, want) {
			t.Errorf("the rule of %s is %s, want %s", jid, text(t, got), text(t, want))
		}
		if got := get[admin.Check](s, "check?size=1&jid="+url.QueryEscape(jid)).Rule; text(t, got) != text(t, want) {
			t.Errorf("check names the rule %s for %s, want %s", text(t, got), jid, text(t, want))
		}
	}
}

// What check tells is what the slot API then answers.
func TestCheckTellsWhatTheSlotAPIAnswers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		code  string // empty: granted
		rules string
		size  int64
		used  []int64 // sizes of slots that are taken before
	}{
		{"", "allow example.com", 1 << 20, nil},
		{"", "allow example.com {\nmax_file_size 10\nmax_total_size 30\nbytes 30 per 1h\nuploads 3 per 1h\n}", 10, []int64{10, 10}},
		{"not_allowed", "allow example.org", 1, nil},
		{"not_allowed", "deny user@example.com\nallow *", 1, nil},
		{"file_too_large", "allow * {\nmax_file_size 10\nmax_total_size 5\n}", 11, nil},
		{"total_quota", "allow * {\nmax_total_size 30\nuploads 1 per 1h\n}", 11, []int64{20}},
		{"rate_quota", "allow * {\nbytes 30 per 1h\n}", 11, []int64{20}},
		{"rate_quota", "allow * {\nbytes 30 per 1h\n}", 31, nil},
		{"rate_quota", "allow * {\nuploads 2 per 1h\nbytes 30 per 10s\n}\nput_timeout 10m", 11, []int64{15, 5}},
		{"storage_full", "allow *\nmax_storage 30", 11, []int64{20}},
		{"storage_full", "allow *\nmin_free_space 1000TiB", 1, nil},
	} {
		t.Run(tc.code, func(t *testing.T) {
			t.Parallel()
			s := start(t, tc.rules)
			for i, size := range tc.used {
				s.ask(user, fmt.Sprint(i), size)
			}
			checked := get[admin.Check](s, fmt.Sprintf("check?jid=%s&size=%d", user, tc.size))
			again := get[admin.Check](s, fmt.Sprintf("check?jid=%s&size=%d", user, tc.size))
			answered := s.answer(user, tc.size)
			if checked.Granted != (tc.code == "") || again.Granted != checked.Granted {
				t.Errorf("check answers %s, and then %s", text(t, checked), text(t, again))
			}
			if (checked.Refusal == nil) != (answered == nil) {
				t.Fatalf("check answers %s, the slot API %s", text(t, checked), text(t, answered))
			}
			if answered == nil {
				return
			}
			if checked.Code != tc.code {
				t.Errorf("check answers %q, want %q", checked.Code, tc.code)
			}
			// A second may have begun between the two.
			if checked.RetryAfter-answered.RetryAfter <= 5 {
				checked.RetryAfter = answered.RetryAfter
			}
			if text(t, checked.Refusal) != text(t, answered) {
				t.Errorf("check answers %s, the slot API %s", text(t, checked.Refusal), text(t, answered))
			}
		})
	}
}

// answer asks for a slot and returns the refusal, nil if it was granted.
func (s *service) answer(jid string, size int64) *admin.Refusal {
	s.t.Helper()
	q := url.Values{"jid": {jid}, "name": {"a"}, "size": {fmt.Sprint(size)}, "output": {"application/json"}}
	resp, err := s.Get(s.t.Context(), "http://"+s.Addr+"/slot/?"+q.Encode(), nil)
	if err == nil {
		resp.Body.Close()
		return nil
	}
	var refused *rig.StatusError
	if !errors.As(err, &refused) {
		s.t.Fatal(err)
	}
	r := decode[admin.Refusal](s, []byte(refused.Body))
	return &r
}

func TestUsersAreListedByBytes(t *testing.T) {
	t.Parallel()
	at := now().Add(-time.Hour)
	s, ids := seeded(t, []rig.Stored{
		{JID: "b@example.com", Name: "1", Size: 10, At: at},
		{JID: "b@example.com", Name: "2", Size: 20, At: at},
		{JID: "a@example.com", Name: "1", Size: 30, At: at},
		{JID: "c@example.com", Name: "1", Size: 100, At: at},
		{JID: "d@example.com", Name: "1", Size: 5, At: at},
		{JID: "unused@example.com", Name: "1", Size: 500, At: at, Unused: true},
	})
	expect := func(want ...admin.UserSum) {
		t.Helper()
		for _, limit := range []string{"", "limit=1", "limit=2", "limit=10000"} {
			var got []admin.UserSum
			for after := ""; ; {
				page := get[admin.Users](s, "users?"+strings.TrimPrefix(limit+after, "&"))
				got = append(got, page.Users...)
				if page.Next == "" {
					break
				}
				after = "&after=" + url.QueryEscape(page.Next)
			}
			if !slices.Equal(got, want) {
				t.Errorf("users?%s lists %v, want %v", limit, got, want)
			}
		}
	}
	sum := func(jid string, files, bytes int64) admin.UserSum {
		return admin.UserSum{JID: jid, StoredFiles: files, StoredBytes: bytes}
	}
	c, d := sum("c@example.com", 1, 100), sum("d@example.com", 1, 5)
	expect(c, sum("a@example.com", 1, 30), sum("b@example.com", 2, 30), d)
	call[admin.Removal](s, "DELETE", "uploads/"+ids[1])
	call[admin.Removal](s, "DELETE", "users/a@example.com")
	s.upload("new@example.com", "1", 50)
	expect(c, sum("new@example.com", 1, 50), sum("b@example.com", 1, 10), d)
}
