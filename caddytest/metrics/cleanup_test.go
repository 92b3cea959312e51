package metrics_test

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// All that a clean-up can find: what has expired, what a crash left behind, and
// what somebody did by hand.
func TestCleanUpIsCounted(t *testing.T) {
	t.Parallel()
	c := rig.New(t)
	now := time.Now()
	old := now.Add(-time.Hour)
	rig.Seed(t, c.Dir,
		rig.Stored{JID: "me@example.com", Name: "expired1", Size: 10, At: old, Keep: time.Minute},
		rig.Stored{JID: "me@example.com", Name: "expired2", Size: 10, At: old, Keep: time.Minute},
		rig.Stored{JID: "me@example.com", Name: "expired3", Size: 10, At: old, Keep: time.Minute},
		rig.Stored{JID: "me@example.com", Name: "unused1", Size: 10, At: old, Unused: true},
		rig.Stored{JID: "me@example.com", Name: "unused2", Size: 10, At: old, Unused: true},
	)
	made := rig.Seed(t, c.Dir,
		rig.Stored{JID: "me@example.com", Name: "missing", Size: 10, At: now},
		rig.Stored{JID: "me@example.com", Name: "stays", Size: 10, At: now},
	)
	remove(t, filepath.Join(c.Dir, "files", "*", "*-"+made[0].URLName))
	other := t.TempDir()
	for i := range 4 {
		rig.Seed(t, other, rig.Stored{JID: "me@example.com", Name: "orphan" + string(rune('a'+i)), Size: 10, At: now})
	}
	move(t, filepath.Join(other, "files"), filepath.Join(c.Dir, "files"))

	c.Start(fill(c, strings.Replace(plain, "STORES", "STORES\n cleanup_interval 200ms", 1)))
	rig.Await(t, "a clean-up", func() bool { return scrape(t, c)["cleanup_last_success_timestamp_seconds"] > 0 })
	want := samples{
		`cleanup_removed_total{kind="files"}`:    3,
		`cleanup_removed_total{kind="slots"}`:    2,
		`cleanup_removed_total{kind="missing"}`:  1,
		`cleanup_removed_total{kind="orphaned"}`: 4,
	}
	expectRemoved(t, c, want)
	s := scrape(t, c)
	if s["stored_files"] != 1 || s["stored_bytes"] != 10 || s["reserved_bytes"] != 0 {
		t.Errorf("%v files of %v bytes are left, %v reserved", s["stored_files"], s["stored_bytes"], s["reserved_bytes"])
	}
	last := s["cleanup_last_success_timestamp_seconds"]
	if at := time.UnixMilli(int64(last * 1e3)); at.Before(now) || at.After(time.Now()) {
		t.Errorf("the last success was at %s", at)
	}
	rig.Await(t, "the next clean-up", func() bool { return scrape(t, c)["cleanup_last_success_timestamp_seconds"] > last })

	interrupted(t, c)
	expectRemoved(t, c, samples{`cleanup_removed_total{kind="discarded"}`: 1})
}

// expectRemoved expects that clean-ups have removed, or will, what is wanted and
// nothing else.
func expectRemoved(t *testing.T, c *rig.Caddy, want samples) {
	t.Helper()
	rig.Await(t, "clean-ups to remove "+fmt.Sprint(want), func() bool {
		removed := scrape(t, c)
		maps.DeleteFunc(removed, func(key string, n float64) bool { return n == 0 || !strings.HasPrefix(key, "cleanup_removed_total") })
		return maps.Equal(removed, want)
	})
}

// interrupted kills Caddy during an upload and starts it again.
func interrupted(t *testing.T, c *rig.Caddy) {
	t.Helper()
	half(t, c, slot(t, "http://"+c.Addr, "me@example.com", "half", 5))
	rig.Await(t, "its bytes", func() bool {
		parts, err := filepath.Glob(filepath.Join(c.Dir, "files", "*", ".*.part"))
		return err == nil && len(parts) == 1
	})
	c.Kill()
	c.Restart()
}

// A clean-up that fails does not count as a success.
func TestAFailedCleanUpIsNoSuccess(t *testing.T) {
	t.Parallel()
	c := rig.New(t)
	var uploads []rig.Stored
	for range 40 {
		uploads = append(uploads, rig.Stored{JID: "me@example.com", Name: "a", Size: 1, At: time.Now()})
	}
	rig.Seed(t, c.Dir, uploads...)
	remove(t, filepath.Join(c.Dir, "files", "*", "*-*")) // as if its disk were not mounted
	c.Start(fill(c, strings.Replace(plain, "STORES", "STORES\n cleanup_interval 200ms", 1)))
	failures := func() (n int) {
		for _, e := range c.Logs() {
			if e.Level == "error" && strings.Contains(e.Raw, "clean") {
				n++
			}
		}
		return n
	}
	rig.Await(t, "two failures", func() bool { return failures() >= 2 })
	if at := scrape(t, c)["cleanup_last_success_timestamp_seconds"]; at != 0 {
		t.Errorf("the last success was at %v", at)
	}
}

// move moves the stored files of one directory into another one.
func move(t *testing.T, from, to string) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(from, "*", "*-*"))
	for _, file := range files {
		shard := filepath.Join(to, filepath.Base(filepath.Dir(file)))
		err = errors.Join(err, os.MkdirAll(shard, 0o700), os.Rename(file, filepath.Join(shard, filepath.Base(file))))
	}
	if err != nil || len(files) == 0 {
		t.Fatalf("moving %d files: %v", len(files), err)
	}
}

// remove removes files, of which there must be some.
func remove(t *testing.T, pattern string) {
	t.Helper()
	files, err := filepath.Glob(pattern)
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	if err != nil || len(files) == 0 {
		t.Fatalf("removing %d files: %v", len(files), err)
	}
}
