package admin

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// file returns the path of an upload's file.
func (s *service) file(id string) string {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.Dir, "files", "*", id+"-*"))
	if err != nil || len(found) != 1 {
		s.t.Fatalf("the files of %s are %q, %v", id, found, err)
	}
	return found[0]
}

// awaitCleanUp returns when the clean-up at the start has ended.
func (s *service) awaitCleanUp() {
	s.t.Helper()
	rig.Await(s.t, "the clean-up at the start", func() bool {
		resp, err := s.Get(s.t.Context(), "http://"+s.Admin+"/metrics", nil)
		check(s.t, err)
		defer resp.Body.Close()
		metrics, err := io.ReadAll(resp.Body)
		check(s.t, err)
		return ended.Match(metrics)
	})
}

var ended = regexp.MustCompile(`(?m)^caddy_xmpp_upload_cleanup_last_success_timestamp_seconds(\{.*\})? [1-9]`)

func check(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestCleanUpRemovesWhatIsAskedFor(t *testing.T) {
	t.Parallel()
	// One unused slot and one upload whose time has ended, one of each whose
	// time has not.
	for query, want := range map[string]admin.Removal{
		"":                              {Slots: 1, Files: 1, Bytes: 10},
		"?slots=true&files=true":        {Slots: 1, Files: 1, Bytes: 10},
		"?files=false":                  {Slots: 1},
		"?slots=false":                  {Files: 1, Bytes: 10},
		"?older_than=1us":               {Slots: 1, Files: 2, Bytes: 30},
		"?older_than=1us&slots=false":   {Files: 2, Bytes: 30},
		"?older_than=30d":               {Slots: 1, Files: 1, Bytes: 10},
		"?older_than=1us&files=false":   {Slots: 1},
		"?slots=false&files=false":      {},
		"?older_than=30d&progress=true": {Slots: 1, Files: 1, Bytes: 10},
	} {
		t.Run(query, func(t *testing.T) {
			t.Parallel()
			s := start(t, "allow short@example.com {\nkeep 3s\n}\nallow long@example.com", "put_timeout 3s")
			s.awaitCleanUp() // which would remove them
			s.upload("short@example.com", "a", 10)
			s.ask("short@example.com", "a", 10)
			rig.Await(t, "the end of their time", func() bool {
				return len(get[admin.List](s, "uploads?state=expired").Uploads) == 2
			})
			check(t, s.Reload(s.site("allow long@example.com", "put_timeout 1h")))
			s.upload("long@example.com", "a", 20)
			s.ask("long@example.com", "a", 20)

			if got := s.cleanUp(query); got != (admin.CleanUp{Removal: want}) {
				t.Errorf("removed %+v, want %+v", got, want)
			}
			if got := len(get[admin.List](s, "uploads").Uploads); got != 4-int(want.Slots+want.Files) {
				t.Errorf("%d are left", got)
			}
			if got := s.stored(); got != 2-int(want.Files) {
				t.Errorf("%d files are left", got)
			}
		})
	}
}

// cleanUp returns the answer, which is the last line if there are several.
func (s *service) cleanUp(query string) admin.CleanUp {
	s.t.Helper()
	status, _, body := s.request("POST", "cleanup"+query)
	lines := strings.Split(strings.TrimSpace(string(body)), "\n")
	if status != http.StatusOK {
		s.t.Fatalf("cleanup%s: %d %s", query, status, body)
	}
	return decode[admin.CleanUp](s, []byte(lines[len(lines)-1]))
}

func TestVerifyFindsAndMendsDamage(t *testing.T) {
	t.Parallel()
	at := now().Add(-time.Hour)
	var uploads []rig.Stored
	for range 6 {
		uploads = append(uploads, rig.Stored{JID: user, Name: "a.txt", Size: 100, At: at})
	}
	s, all := seeded(t, uploads)
	s.awaitCleanUp()
	missing, short, long := all[0], all[1], all[2]
	check(t, os.Remove(s.file(missing)))
	check(t, os.Truncate(s.file(short), 99))
	check(t, os.Truncate(s.file(long), 101))
	orphan := store.NewID(now())
	name := filepath.Join(filepath.Dir(s.file(all[3])), orphan+"-b.txt")
	check(t, os.WriteFile(name, []byte("x"), 0o600))
	check(t, os.Rename(name, filepath.Join(s.Dir, "files", shard(s, orphan), orphan+"-b.txt")))

	slices.Sort(all[1:3])
	expect := func(v admin.Verification, repaired int64) {
		t.Helper()
		slices.Sort(v.WrongSize)
		if !slices.Equal(v.Missing, []string{missing}) || !slices.Equal(v.WrongSize, all[1:3]) ||
			len(v.Orphaned) != 1 || !strings.Contains(v.Orphaned[0], orphan) || v.Repaired != repaired || v.Slots != 6 || v.Files != 6 {
			t.Errorf("found %+v", v)
		}
	}
	expect(call[admin.Verification](s, "POST", "verify"), 0)
	expect(call[admin.Verification](s, "POST", "verify?repair=false"), 0)
	expect(call[admin.Verification](s, "POST", "verify?repair=true"), 4)
	clean := call[admin.Verification](s, "POST", "verify?repair=true")
	if want := (admin.Verification{Slots: 3, Files: 3, Missing: []string{}, Orphaned: []string{}, WrongSize: []string{}}); text(t, clean) != text(t, want) {
		t.Errorf("after the repair verify finds %+v", clean)
	}
	if u := get[admin.User](s, "users/"+user); u.StoredFiles != 3 || u.StoredBytes != 300 {
		t.Errorf("after the repair the user has %d files of %d bytes", u.StoredFiles, u.StoredBytes)
	}
	s.logsRemoval("stores verified and repaired", `"missing":1`, `"orphaned":1`, `"wrong_size":2`, `"repaired":4`)
}

// shard returns where the file of an ID belongs, and makes that directory.
func shard(s *service, id string) string {
	s.t.Helper()
	dir := filepath.Join(s.Dir, "files", id[:2])
	check(s.t, os.MkdirAll(dir, 0o700))
	return id[:2]
}

// A directory that is not mounted is no reason to remove everything.
func TestVerifyRemovesNothingIfAllFilesAreGone(t *testing.T) {
	t.Parallel()
	s := start(t)
	for range 40 {
		s.upload(user, "a", 1)
	}
	s.awaitCleanUp()
	files, err := filepath.Glob(filepath.Join(s.Dir, "files", "*", "*-a"))
	check(t, err)
	for _, file := range files {
		check(t, os.Remove(file))
	}
	s.refused("POST", "verify?repair=true", http.StatusConflict, "nothing was removed", "files directory")
	s.refused("POST", "cleanup", http.StatusConflict, "nothing was removed", "files directory")
	if _, _, body := s.request("POST", "verify?repair=true&progress=true"); !strings.Contains(string(body), `{"error":"`) || !strings.Contains(string(body), "files directory") {
		t.Errorf("with progress: %s", body)
	}
	if got := len(get[admin.List](s, "uploads").Uploads); got != 40 {
		t.Errorf("%d uploads are left, want 40", got)
	}
}

func TestStatsCountDays(t *testing.T) {
	t.Parallel()
	today := now().UTC().Truncate(24 * time.Hour)
	s, _ := seeded(t, []rig.Stored{
		{JID: user, Name: "a", Size: 1000, At: today.AddDate(0, 0, -30), Keep: 60 * 24 * time.Hour}, // not in the last 30
		{JID: user, Name: "a", Size: 100, At: today.AddDate(0, 0, -29), Keep: 60 * 24 * time.Hour},
		{JID: user, Name: "a", Size: 10, At: today.Add(-time.Nanosecond)},
		{JID: user, Name: "a", Size: 20, At: today.Add(-time.Hour)},
		{JID: user, Name: "a", Size: 5, At: today},
	})
	deleted := s.upload(user, "a", 2)
	s.ask(user, "a", 9)
	s.removes("DELETE", "uploads/"+id(deleted), admin.Removal{Files: 1, Bytes: 2})

	got := get[admin.Stats](s, "stats")
	want := make([]admin.Day, 30)
	for i := range want {
		want[i].Day = today.AddDate(0, 0, i-29).Format(time.DateOnly)
	}
	want[0].Uploads, want[0].Bytes = 1, 100
	want[28].Uploads, want[28].Bytes = 2, 30
	want[29].Uploads, want[29].Bytes = 2, 7
	if !slices.Equal(got.Days, want) {
		t.Errorf("the days are %v, want %v", got.Days, want)
	}
	if got.StoredFiles != 5 || got.StoredBytes != 1135 || got.WaitingSlots != 1 || got.WaitingBytes != 9 || got.ExpiredFiles != 0 {
		t.Errorf("the sums are %+v", got)
	}
	if free := got.FreeBytes; free.Slots == nil || free.Files == nil || *free.Slots <= 0 || *free.Files <= 0 {
		t.Errorf("%+v is free", free)
	}
}
