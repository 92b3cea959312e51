package caddytest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
)

// crowd is how many users upload at once.
const crowd = 8

// member returns the bare JID of one of the crowd.
func member(i int) string { return fmt.Sprintf("user%d@localhost", i) }

func (s *stack) testUsers(t *testing.T) {
	for _, jid := range []string{"alice@localhost", "jürgen@localhost", `d\27artagnan@localhost`} {
		jobs := []job{{Name: "hello.txt", Size: 5}}
		s.expectStored(t, jobs, s.upload(t, jid, jobs...))
	}
}

// testRefusals compares with what ejabberd makes of each status. Every user
// works after the one before, so a refusal that hung ejabberd would show.
func (s *stack) testRefusals(t *testing.T) {
	const (
		granted  = ""
		denied   = "cancel not-allowed"
		tooLarge = "modify not-acceptable"
		quota    = "wait resource-constraint"
	)
	tests := []struct {
		jid   string
		sizes []int64
		want  []string
	}{
		{"blocked@localhost", []int64{10}, []string{denied}},
		{"stranger@localhost", []int64{10}, []string{denied}},
		{"alice@guarded.localhost", []int64{10, 10}, []string{denied, denied}},
		{"small@localhost", []int64{512 * kib, 512*kib + 1, 10}, []string{granted, tooLarge, granted}},
		{"total@localhost", []int64{700 * kib, 400 * kib, 300 * kib, 100 * kib}, []string{granted, quota, granted, quota}},
		{"hasty@localhost", []int64{10, 10, 10, 10}, []string{granted, granted, quota, quota}},
		{"heavy@localhost", []int64{800 * kib, 300 * kib, 200 * kib}, []string{granted, quota, granted}},
		{"alice@localhost", []int64{10}, []string{granted}},
	}
	for _, tt := range tests {
		var jobs []job
		for i, size := range tt.sizes {
			jobs = append(jobs, job{Name: "file.bin", Size: size, Seed: i})
		}
		for i, r := range s.upload(t, tt.jid, jobs...) {
			if r.Condition != tt.want[i] {
				t.Errorf("%s, upload %d of %d bytes: %q, want %q", tt.jid, i, tt.sizes[i], r.Condition, tt.want[i])
			}
			if r.Condition == granted && r.Status != http.StatusCreated {
				t.Errorf("%s, upload %d: status %d, want 201", tt.jid, i, r.Status)
			}
			if r.Seconds > patienceOfEjabberd/2 {
				t.Errorf("%s, upload %d: ejabberd took %.1f s", tt.jid, i, r.Seconds)
			}
		}
	}

	long := job{Name: strings.Repeat("ü", 128), Size: 10} // 256 bytes
	if r := s.upload(t, "alice@localhost", long)[0]; r.Condition != tooLarge {
		t.Errorf("a name of 256 bytes: %+v, want %s", r, tooLarge)
	}
}

// patienceOfEjabberd is after how many seconds ejabberd gives a slot request
// up. An answer that comes near was not given but waited for.
const patienceOfEjabberd = 5

func (s *stack) testCrowd(t *testing.T) {
	users := make([]user, crowd)
	for i := range users {
		users[i].JID = member(i)
		for n := range 4 {
			users[i].Jobs = append(users[i].Jobs, job{Name: "photo.jpg", Size: mib, Seed: 10*i + n})
		}
	}
	results := s.slixmpp(t, users...)
	seen := make(map[string]bool)
	for i, u := range users {
		s.expectStored(t, u.Jobs, results[i])
		for _, r := range results[i] {
			if seen[r.Get] {
				t.Errorf("two uploads share %s", r.Get)
			}
			seen[r.Get] = true
		}
	}
}
