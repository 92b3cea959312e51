package admin

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
)

func now() time.Time { return time.Now() }

// keys returns the paths of all keys in a JSON value, in order.
func keys(v any) []string {
	found := make(map[string]bool)
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		switch v := v.(type) {
		case map[string]any:
			for k, inner := range v {
				found[prefix+k] = true
				walk(prefix+k+".", inner)
			}
		case []any:
			for _, inner := range v {
				walk(prefix, inner)
			}
		}
	}
	walk("", v)
	return slices.Sorted(maps.Keys(found))
}

const uploadKeys = "content_type expires_at id jid name reserved_at size state store uploaded_at"

func under(prefix, names string) string {
	var all []string
	for name := range strings.FieldsSeq(names) {
		all = append(all, prefix+"."+name)
	}
	return strings.Join(all, " ")
}

// The names that scripts rely on.
func TestAnswersHaveTheirFields(t *testing.T) {
	t.Parallel()
	s := start(t, "allow example.com {\nmax_file_size 1KiB\nmax_total_size 1MiB\nbytes 1MiB per 1h\nuploads 9 per 1d\n}")
	upload := id(s.upload(user, "a.txt", 10))
	s.upload("other@example.com", "b.txt", 10)
	window := "limit per room_in used"
	userKeys := "bytes " + under("bytes", window) + " jid max_file_size max_total_size rule " + under("rule", "deny index pattern") +
		" stored_bytes stored_files uploads " + under("uploads", window) + " waiting_bytes waiting_slots"
	for _, tc := range []struct{ method, path, want string }{
		{"GET", "uploads?limit=1", "next uploads " + under("uploads", uploadKeys)},
		{"GET", "uploads", "uploads " + under("uploads", uploadKeys)},
		{"GET", "uploads/" + upload, uploadKeys},
		{"GET", "users?limit=1", "next users " + under("users", "jid stored_bytes stored_files")},
		{"GET", "users/" + user, userKeys},
		{"GET", "check?jid=" + user + "&size=1", "granted rule " + under("rule", "deny index pattern")},
		{"GET", "check?jid=" + user + "&size=1025", "error granted limit message rule " + under("rule", "deny index pattern")},
		{"GET", "stats", "days " + under("days", "bytes day uploads") +
			" expired_files free_bytes " + under("free_bytes", "files slots") + " stored_bytes stored_files waiting_bytes waiting_slots"},
		{"POST", "verify", "files missing orphaned repaired slots wrong_size"},
		{"POST", "cleanup", "bytes discarded files missing orphaned published slots"},
		{"DELETE", "uploads/" + upload, "bytes files slots"},
		{"DELETE", "users/" + user, "bytes files slots"},
	} {
		got := strings.Join(keys(call[any](s, tc.method, tc.path)), " ")
		want := strings.Fields(tc.want)
		slices.Sort(want)
		if got != strings.Join(want, " ") {
			t.Errorf("%s %s has the fields\n%s\nwant\n%s", tc.method, tc.path, got, strings.Join(want, " "))
		}
	}
}

// No list is null, so that scripts need not ask.
func TestEmptyAnswersAreLists(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, tc := range []struct{ method, path, want string }{
		{"GET", "uploads", `{"uploads":[]}`},
		{"GET", "users", `{"users":[]}`},
		{"GET", "users/nobody@example.org", `{"jid":"nobody@example.org","rule":null,"max_file_size":0,"max_total_size":0,"stored_files":0,"stored_bytes":0,"waiting_slots":0,"waiting_bytes":0,"bytes":[],"uploads":[]}`},
		{"DELETE", "users/nobody@example.org", `{"slots":0,"files":0,"bytes":0}`},
		{"POST", "verify", `{"slots":0,"files":0,"missing":[],"orphaned":[],"wrong_size":[],"repaired":0}`},
		{"POST", "cleanup", `{"slots":0,"files":0,"bytes":0,"discarded":0,"orphaned":0,"missing":0,"published":0}`},
	} {
		status, _, body := s.request(tc.method, tc.path)
		if got := strings.TrimSpace(string(body)); status != 200 || got != tc.want {
			t.Errorf("%s %s: %d %s, want %s", tc.method, tc.path, status, got, tc.want)
		}
	}
}

func TestAnUploadIsTold(t *testing.T) {
	t.Parallel()
	s := start(t, "put_timeout 1h", "keep 2h")
	begun := now()
	waiting := id(s.ask("User@Example.com/phone", "häßlich  <b>.txt", 7))
	uploaded := id(s.upload(user, "done.txt", 9))

	got := get[admin.Upload](s, "uploads/"+waiting)
	if near(t, got.ReservedAt, begun); got.ExpiresAt == nil {
		t.Fatal("a waiting slot expires never")
	}
	near(t, *got.ExpiresAt, begun.Add(time.Hour))
	got.ReservedAt, got.ExpiresAt = time.Time{}, nil
	if want := (admin.Upload{ID: waiting, JID: user, Name: "häßlich  <b>.txt", Size: 7, State: "waiting", Store: s.store}); got != want {
		t.Errorf("a waiting slot is %+v, want %+v", got, want)
	}

	got = get[admin.Upload](s, "uploads/"+uploaded)
	if got.UploadedAt == nil || got.ExpiresAt == nil {
		t.Fatalf("an upload is %+v", got)
	}
	near(t, *got.UploadedAt, begun)
	near(t, *got.ExpiresAt, begun.Add(2*time.Hour))
	got.ReservedAt, got.ExpiresAt, got.UploadedAt = time.Time{}, nil, nil
	if want := (admin.Upload{ID: uploaded, JID: user, Name: "done.txt", Size: 9, ContentType: "text/plain", State: "uploaded", Store: s.store}); got != want {
		t.Errorf("an upload is %+v, want %+v", got, want)
	}
}

// near expects a time in UTC, some seconds from another at most.
func near(t *testing.T, got, want time.Time) {
	t.Helper()
	if d := got.Sub(want).Abs(); d > rigSlack || got.Location() != time.UTC {
		t.Errorf("got the time %v, want %v", got, want)
	}
}

// rigSlack is how much a busy machine may be late.
const rigSlack = 30 * time.Second

func TestAFileThatStaysForeverHasNoEnd(t *testing.T) {
	t.Parallel()
	s := start(t, "keep forever")
	if u := get[admin.Upload](s, "uploads/"+id(s.upload(user, "a", 1))); u.ExpiresAt != nil || u.State != "uploaded" {
		t.Errorf("got %+v", u)
	}
}

// The lines of progress end with the answer.
func TestProgressIsToldInLines(t *testing.T) {
	t.Parallel()
	s := start(t)
	s.upload(user, "a.txt", 10)
	for path, want := range map[string]string{
		"verify?progress=true":  `{"slots":1,"files":1,"missing":[],"orphaned":[],"wrong_size":[],"repaired":0}`,
		"cleanup?progress=true": `{"slots":0,"files":0,"bytes":0,"discarded":0,"orphaned":0,"missing":0,"published":0}`,
	} {
		status, header, body := s.request("POST", path)
		if status != 200 || header.Get("Content-Type") != "application/x-ndjson" {
			t.Errorf("%s: %d %s %s", path, status, header.Get("Content-Type"), body)
		}
		lines := strings.Split(strings.TrimSuffix(string(body), "\n"), "\n")
		last := len(lines) - 1
		if lines[last] != want {
			t.Errorf("%s ends with %s, want %s", path, lines[last], want)
		}
		for _, line := range lines[:last] {
			var p struct{ Done, Total *int64 }
			if err := json.Unmarshal([]byte(line), &p); err != nil || p.Done == nil || p.Total == nil || *p.Done > *p.Total {
				t.Errorf("%s: %s is no progress, %v", path, line, err)
			}
		}
		if last == 0 {
			t.Errorf("%s told no progress: %s", path, body)
		}
	}
}
