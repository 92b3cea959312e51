//go:build linux

package soak

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// operate does what operators do: clean up, verify, look at figures.
func (l *load) operate() {
	var cleaned, verified, stats struct{}
	metrics, err := l.AdminGet("/metrics")
	for name, err := range map[string]error{
		"clean-up": l.API("POST", "cleanup", &cleaned),
		"verify":   l.API("POST", "verify", &verified),
		"stats":    l.API("GET", "stats", &stats),
		"metrics":  err,
	} {
		if err != nil {
			l.t.Errorf("%s: %v", name, err)
		}
	}
	if !strings.Contains(metrics, "\ncaddy_xmpp_upload_uploads_total{") {
		l.t.Error("the metrics tell nothing of uploads")
	}
}

// configure changes the configuration. Caddy may reset a connection that waits
// in a listener that it closes, also in that of the admin endpoint just after
// another reload.
func (l *load) configure(sites string) {
	rig.Await(l.t, "an answer to a reload", func() bool {
		err := l.Reload(sites)
		if _, unanswered := errors.AsType[*url.Error](err); unanswered {
			return false
		}
		if err != nil {
			l.t.Errorf("reload: %v", err)
		}
		return true
	})
}

func (l *load) reload() {
	l.mayLose.Store(true)
	l.configure(l.site(fmt.Sprintf("cleanup_interval %ds", 1+l.rnd.IntN(3))))
}

// away takes the handler out of the configuration and brings it back.
func (l *load) away() {
	l.mayLose.Store(true)
	l.mayBeAway.Store(true)
	// Without the header, Caddy's respond leaves a client waiting that sends.
	l.configure("http://" + l.Addr + " {\nheader Connection close\nrespond gone 410\n}\n")
	l.configure(l.site("cleanup_interval 1s"))
}

// full fills the disk while users work, and empties it.
func (l *load) full() {
	l.mayBeFull.Store(true)
	if l.disk == "" {
		l.mayLose.Store(true)
		l.configure(l.site("max_storage 1KiB"))
		l.awaitRefusal()
		l.configure(l.site("cleanup_interval 1s"))
		return
	}
	l.fill(reserve)
	l.awaitRefusal()
	l.awaitSteps()
	// Nothing helps the slots database against a program that takes the last
	// room while it writes a table: let it come to rest first.
	l.gate.Lock()
	l.settleDisk()
	l.fill(0)
	l.gate.Unlock()
	l.awaitSteps()
	if err := os.Remove(l.filler()); err != nil {
		l.t.Error(err)
	}
}

func (l *load) awaitRefusal() {
	ask := rig.Ask{JID: "nobody@unlimited.example.com", Name: "full", Size: reserve}
	rig.Await(l.t, "slots to be refused for want of space", func() bool {
		_, err := l.Slot(l.t.Context(), ask)
		return status(err) == http.StatusInsufficientStorage || l.t.Failed()
	})
}

func (l *load) filler() string { return filepath.Join(l.disk, "filler") }

// fill leaves no more than this of the disk's space; of 0, not a byte.
func (l *load) fill(leave int64) {
	f, err := os.OpenFile(l.filler(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		l.t.Error(err)
		return
	}
	defer f.Close()
	for chunk := int64(mib); chunk > 0; {
		if leave > 0 && l.free()-leave < chunk {
			return
		}
		if _, err := f.Write(make([]byte, chunk)); errors.Is(err, unix.ENOSPC) {
			chunk /= 2
		} else if err != nil {
			l.t.Error(err)
			return
		}
	}
}

func (l *load) free() int64 {
	var st unix.Statfs_t
	if err := unix.Statfs(l.disk, &st); err != nil {
		l.t.Error(err)
	}
	return int64(st.Bavail) * st.Bsize
}

// settleDisk waits until the slots database writes nothing any more.
func (l *load) settleDisk() {
	last, same := "", 0
	rig.Await(l.t, "the slots database to come to rest", func() bool {
		if now := l.slotsFiles(); now != last {
			last, same = now, 0
		}
		same++
		return same > 20 || l.t.Failed()
	})
}

// slotsFiles describes the files of the slots database.
func (l *load) slotsFiles() string {
	entries, err := os.ReadDir(filepath.Join(l.dir, "slots"))
	if err != nil {
		l.t.Error(err)
	}
	var names []string
	for _, e := range entries {
		info, err := e.Info()
		if err != nil {
			return time.Now().String() // it has gone since it was listed
		}
		names = append(names, fmt.Sprint(e.Name(), info.Size()))
	}
	slices.Sort(names)
	return strings.Join(names, " ")
}

// kill ends Caddy at once, amid everything.
func (l *load) kill() {
	l.mayLose.Store(true)
	l.up = false
	l.Kill()
}
