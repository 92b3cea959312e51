//go:build linux

package faults

import (
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// stepsOfAMerge is what the database does when it merges tables; and, once a
// table could not be written, what it takes to write again what was in it.
var stepsOfAMerge = []struct {
	name  string
	suits func(call) bool
	// nth is which of these calls is meant after a start, from 0 on: tables are
	// written for the log, and then for the merge.
	nth    int
	errnos []unix.Errno
	// after tells that the call comes after another fault: the merge has made no
	// table.
	after bool
}{
	{"making a table", makesTable, 1, []unix.Errno{unix.ENOSPC, unix.EIO, unix.EDQUOT, unix.EROFS, unix.EMFILE}, false},
	{"sizing a table", sizesTable, 1, []unix.Errno{unix.ENOSPC, unix.EIO, unix.EDQUOT}, false},
	{"flushing a table", flushesTable, 1, []unix.Errno{unix.EIO}, false},
	{"writing the manifest for the table of a log", writesManifest, 0, []unix.Errno{unix.EIO}, false},
	{"flushing the manifest for the table of a log", flushesManifest, 0, []unix.Errno{unix.EIO}, false},
	{"writing the manifest", writesManifest, 1, []unix.Errno{unix.EIO}, false},
	{"flushing the manifest", flushesManifest, 1, []unix.Errno{unix.EIO}, false},
	{"making a directory to keep tables in", func(c call) bool { return c.name == "mkdirat" && c.path == "slots/kept" }, 0, []unix.Errno{unix.ENOSPC}, true},
	{"keeping a table", func(c call) bool { return c.name == "linkat" && isTable(c) }, 1, []unix.Errno{unix.EMLINK}, true},
	{"opening a kept table", func(c call) bool { return c.name == "openat" && !c.creates() && isTable(c) }, 0, []unix.Errno{unix.EMFILE}, true},
	{"flushing the log", func(c call) bool { return syncs(c) && isLog(c) }, 0, []unix.Errno{unix.EIO}, true},
	{"removing a kept table", func(c call) bool { return c.name == "unlinkat" && isKept(c) }, 0, []unix.Errno{unix.EIO}, true},
}

func isKept(c call) bool       { return strings.HasPrefix(c.path, "slots/kept/") }
func makesTable(c call) bool   { return c.creates() && isTable(c) }
func sizesTable(c call) bool   { return c.name == "ftruncate" && isTable(c) && c.args[1] > 0 }
func flushesTable(c call) bool { return c.name == "msync" && isTable(c) }

func writesManifest(c call) bool  { return c.name == "write" && isManifest(c) }
func flushesManifest(c call) bool { return c.name == "fsync" && isManifest(c) }

func syncs(c call) bool { _, ok := syncCalls[c.name]; return ok }

// Each step of a merge of tables fails once. Badger takes a merge that could not
// write a table for one that went well, and removes what it should have merged;
// and if the manifest could not be flushed, it leaves one that it does not open.
func TestEachStepOfAMergeFailsOnce(t *testing.T) {
	requireSentry(t)
	s := newService(t, "")
	watcher := post(t, s.stores, diskCalls)
	s.start()
	s.mustSend(s.mustAskFor(bystander, kib))
	for _, step := range stepsOfAMerge {
		for _, errno := range step.errnos {
			f := fault{suits: step.suits, nth: step.nth, verdict: verdict{errno: errno}}
			faults := []fault{f}
			if step.after {
				faults = []fault{{suits: makesTable, nth: 1, verdict: verdict{errno: unix.EIO}}, f}
			}
			s.mergeTables(watcher, faults)
			if s.check(); t.Failed() {
				t.Fatalf("after %s of %s", unix.ErrnoName(errno), step.name)
			}
		}
	}
	s.checkAll()
}

// fault is what one call meets, after the fault before.
type fault struct {
	suits   func(call) bool
	nth     int
	verdict verdict
}

// mergeTables has the database merge tables, while these faults come, one after
// another. Each death of the process leaves a log, which becomes a table when the
// next one starts; two tables are merged. Should the first start have merged one
// that was there already, then the second has none to merge with, and the next
// one does.
func (s *service) mergeTables(watcher *sentry, faults []fault) {
	s.t.Helper()
	var written atomic.Bool
	s.dieAndStart(watcher, func(c call) verdict {
		written.Store(written.Load() || c.name == "unlinkat" && isLog(c))
		return verdict{}
	})
	rig.Await(s.t, "the table of a log", written.Load)

	rig.Await(s.t, "all faults, and the end of a merge", func() bool {
		var merged atomic.Bool
		s.dieAndStart(watcher, meet(faults, func(c call) {
			merged.Store(merged.Load() || c.name == "unlinkat" && isTable(c) && !isKept(c))
		}))
		return within(10*time.Second, merged.Load)
	})
	watcher.set(nil)
}

// meet returns a judge who has calls meet these faults, and then shows the calls
// after them.
func meet(faults []fault, then func(call)) func(call) verdict {
	faults = slices.Clone(faults)
	return func(c call) verdict {
		if len(faults) == 0 {
			then(c)
			return verdict{}
		}
		f := &faults[0]
		if !f.suits(c) {
			return verdict{}
		}
		if f.nth--; f.nth >= 0 {
			return verdict{}
		}
		faults = faults[1:]
		return f.verdict
	}
}

// within waits for ok for so long at most.
func within(d time.Duration, ok func() bool) bool {
	for deadline := time.Now().Add(d); !ok(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			return false
		}
	}
	return true
}

// dieAndStart changes something, and starts another process in the middle of it.
func (s *service) dieAndStart(watcher *sentry, judge func(call) verdict) {
	s.t.Helper()
	s.mustSend(s.mustAsk(10 * kib))
	s.mustAsk(10 * kib)
	s.Kill()
	watcher.set(judge)
	s.start()
}
