package command

import (
	"bufio"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// Following the cursors of 20,000 slots, list --all tells each of them once.
func TestListAll(t *testing.T) {
	const n = 20_000
	s := &server{rig.New(t), t}
	var uploads []rig.Stored
	at := time.Now().Truncate(time.Millisecond)
	for i := range n {
		uploads = append(uploads, rig.Stored{
			JID: fmt.Sprintf("user%d@example.com", i%100), Name: fmt.Sprintf("%d.bin", i), Size: 1, At: at, Unused: true,
		})
	}
	known := make(map[string]bool)
	for _, slot := range rig.Seed(t, s.Dir, uploads...) {
		known[slot.ID] = true
	}
	s.Start(s.site(s.Dir))

	seen := make(map[string]bool)
	pages := bufio.NewScanner(strings.NewReader(s.must("list", "--all", "--json")))
	pages.Buffer(nil, 1<<20)
	for pages.Scan() { // one answer on each line
		var page admin.List
		if err := json.Unmarshal(pages.Bytes(), &page); err != nil {
			t.Fatal(err)
		}
		for _, u := range page.Uploads {
			if seen[u.ID] || !known[u.ID] {
				t.Fatalf("%s is told twice, or does not exist", u.ID)
			}
			seen[u.ID] = true
		}
	}
	if err := pages.Err(); err != nil || len(seen) != n {
		t.Fatalf("%d of %d are told, %v", len(seen), n, err)
	}

	lines := strings.Split(strings.TrimSuffix(s.must("list", "--all"), "\n"), "\n")
	if len(lines) != n+1 {
		t.Fatalf("the table has %d lines, want a title and %d", len(lines), n)
	}
	for _, line := range lines[1:] {
		if id, _, _ := strings.Cut(line, " "); !known[id] {
			t.Fatalf("the table has %q", line)
		}
	}
	if got := strings.Count(s.must("list", "--all", "--jid", "user7@example.com"), "\n"); got != n/100+1 {
		t.Errorf("the table of one user has %d lines, want %d", got, n/100+1)
	}
}

// A list that is cut into pages by hand has the same uploads.
func TestListPages(t *testing.T) {
	s, slots := start(t, some()...)
	var ids []string
	after := []string{}
	for range len(slots) + 1 {
		got := s.run(append([]string{"list", "--limit", "1"}, after...)...)
		rows := strings.Split(strings.TrimSuffix(got.stdout, "\n"), "\n")
		if got.status != 0 || len(rows) > 2 {
			t.Fatalf("exit status %d:\n%s%s", got.status, got.stdout, got.stderr)
		}
		if len(rows) == 2 {
			ids = append(ids, strings.Fields(rows[1])[0])
		}
		cursor, more := strings.CutPrefix(strings.TrimSuffix(got.stderr, "\n"), "There are more; add --after ")
		if !more {
			break
		}
		after = []string{"--after", cursor}
	}
	want := []string{slots[3].ID, slots[2].ID, slots[1].ID, slots[0].ID}
	if strings.Join(ids, " ") != strings.Join(want, " ") {
		t.Errorf("got %q, want %q", ids, want)
	}
}
