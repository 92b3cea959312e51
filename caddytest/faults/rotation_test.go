//go:build linux

package faults

import (
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// fillers ask for slots at a time.
const fillers = 8

// longJID makes slots large, so that few of them fill a log.
func longJID(i int) string { return fmt.Sprintf("%01000d@example.com", i) }

// fillLogs has slots asked for until enough is true, and returns how many were
// granted and refused. Their JIDs are nobody's else.
func (s *service) fillLogs(enough func() bool) (granted, refused int64) {
	s.t.Helper()
	var g, r atomic.Int64
	var users sync.WaitGroup
	for i := range fillers {
		users.Go(func() {
			for n := 0; n < 20_000 && !enough(); n++ {
				_, err := s.Slot(s.t.Context(), rig.Ask{JID: longJID(i), Name: strings.Repeat("n", 250), Size: 1})
				switch status(err) {
				case http.StatusOK:
					g.Add(1)
				case 0:
					return // the process is gone
				default:
					r.Add(1)
				}
			}
		})
	}
	users.Wait()
	return g.Load(), r.Load()
}

// removeFill removes what fillLogs has been granted, and returns how many slots
// that were.
func (s *service) removeFill() (slots int64) {
	s.t.Helper()
	for i := range fillers {
		var done admin.Removal
		if err := s.API(http.MethodDelete, "users/"+longJID(i), &done); err != nil {
			s.t.Error(err)
		}
		slots += done.Slots
	}
	return slots
}

// rotation is what the database does when a log is full: the log becomes a
// table, and another log begins.
var rotation = []struct {
	name  string
	suits func(call) bool
	// deadly steps must not fail: Badger panics.
	deadly bool
}{
	{"making the log", func(c call) bool { return c.creates() && isLog(c) }, true},
	{"sizing the log", func(c call) bool { return c.name == "ftruncate" && isLog(c) && c.args[1] > 0 }, true},
	{"opening the log", func(c call) bool { return c.name == "openat" && !c.creates() && isLog(c) }, false},
	{"taking room for the log", func(c call) bool { return c.name == "fallocate" && isLog(c) }, false},
	{"looking for logs", func(c call) bool { return c.name == "openat" && c.path == "slots" }, false},
	{"making the table", func(c call) bool { return c.creates() && isTable(c) }, false},
	{"sizing the table", func(c call) bool { return c.name == "ftruncate" && isTable(c) }, false},
	{"flushing the table", func(c call) bool { return c.name == "msync" && isTable(c) }, false},
	{"writing the manifest", func(c call) bool { return c.name == "write" && isManifest(c) }, false},
	{"flushing the manifest", func(c call) bool { return c.name == "fsync" && isManifest(c) }, false},
	{"emptying the old log", func(c call) bool { return c.name == "ftruncate" && isLog(c) && c.args[1] == 0 }, false},
	{"removing the old log", func(c call) bool { return c.name == "unlinkat" && isLog(c) }, false},
}

func isLog(c call) bool      { return strings.HasSuffix(c.path, ".mem") }
func isTable(c call) bool    { return strings.HasSuffix(c.path, ".sst") }
func isManifest(c call) bool { return strings.HasSuffix(c.path, "/MANIFEST") }

// Each step of the database from a full log to the next one fails once, or is
// the last of its process, while slots are asked for.
func TestEachStepToTheNextLogFailsOnce(t *testing.T) {
	requireSentry(t)
	for _, step := range rotation {
		for _, v := range []verdict{{errno: unix.EIO}, {kill: true}} {
			if step.deadly && !v.kill {
				continue
			}
			t.Run(fmt.Sprintf("%s, %s", step.name, v), func(t *testing.T) { failStep(t, step.suits, v) })
		}
	}
}

func failStep(t *testing.T, suits func(call) bool, v verdict) {
	s := newService(t, "")
	watcher := post(t, s.stores, diskCalls)
	s.start()
	s.mustSend(s.mustAskFor(bystander, kib))
	s.mustAsk(10 * kib)
	var over atomic.Bool // when the next table is made after the fault, or the process is gone
	struck := false
	stop := watcher.watch(func(c call) verdict {
		switch {
		case !struck && suits(c):
			struck = true
			over.Store(v.kill)
			return v
		case struck && c.creates() && isTable(c):
			over.Store(true)
		}
		return verdict{}
	})
	granted, refused := s.fillLogs(over.Load)
	if stop(); !struck {
		t.Fatal("the step was not taken")
	}
	unknown := int64(0)
	if v.kill {
		unknown = fillers
		s.Kill()
		s.start()
	}
	if n := s.removeFill(); n < granted || n > granted+unknown {
		t.Errorf("%d slots are there, want %d, or up to %d more whose answer got lost; %d were refused", n, granted, unknown, refused)
	}
	s.checkAll()
}
