//go:build linux

package soak

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const (
	// totalLimit is what a user may store: little, so that it is met.
	totalLimit = 8 * mib
	// shortKeep is how long files of short.example.com are kept; those of
	// example.com are kept forever.
	shortKeep = 4 * time.Second
	// putTimeout is how long a slot waits.
	putTimeout = 5 * time.Second
	// within is how exact keep and put_timeout are.
	within = time.Second
	// diskSize is more than all users may store, and the slots with it.
	diskSize = 768 * mib
	// reserve is what is left on a disk that is almost full.
	reserve = 40 * mib
	// maxResident bounds Caddy's memory, also at its highest.
	maxResident = 400 * mib
)

// service is a Caddy with one upload service, on a disk of its own.
type service struct {
	*rig.Caddy
	*rig.Client
	t    *testing.T
	dir  string // of both stores
	disk string // the small file system; empty if none could be mounted

	up bool
	// What users may meet in this round.
	mayLose, mayBeFull, mayBeAway atomic.Bool
	// unsettled is when an answer may have got lost the last time.
	unsettled atomic.Pointer[time.Time]

	base measured // of Caddy at rest, just after its start
}

func newService(t *testing.T) *service {
	t.Helper()
	c := rig.New(t)
	s := &service{Caddy: c, Client: rig.NewClient(t, "http://"+c.Addr), t: t, dir: filepath.Join(c.Dir, "stores")}
	if err := os.Mkdir(s.dir, 0o700); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 && unix.Mount("tmpfs", s.dir, "tmpfs", 0, fmt.Sprintf("size=%d", diskSize)) == nil {
		s.disk = s.dir
		t.Cleanup(func() {
			if err := unix.Unmount(s.dir, unix.MNT_DETACH); err != nil {
				t.Error(err)
			}
		})
	}
	s.calm()
	return s
}

// site is the service's site, with these lines added to the block.
func (s *service) site(lines ...string) string {
	const limits = "max_total_size 8MiB\nbytes 1TiB per 1d\nuploads 1000000000 per 1d\n"
	block := append([]string{
		"allow short.example.com {\n" + limits + "keep 4s\n}",
		"allow example.com {\n" + limits + "keep forever\n}",
		"allow unlimited.example.com",
		"put_timeout 5s",
		"min_free_space 8MiB",
		"slots badger " + filepath.Join(s.dir, "slots"),
		"files disk " + filepath.Join(s.dir, "files"),
	}, lines...)
	return "http://" + s.Addr + " {\nxmpp_upload {\n" + strings.Join(block, "\n") + "\n}\n}\n"
}

func (s *service) Start(sites string) {
	s.t.Helper()
	s.Caddy.Start(sites)
	s.up = true
}

func (s *service) restart() {
	s.t.Helper()
	s.CloseIdle()
	s.Restart()
	s.up = true
}

// proc reports whether Caddy runs.
func (s *service) proc() bool { return s.up }

// calm ends what a round allowed.
func (s *service) calm() {
	if lost := s.mayLose.Swap(false); lost || s.unsettled.Load() == nil {
		now := time.Now()
		s.unsettled.Store(&now)
	}
	s.mayBeAway.Store(false)
	s.mayBeFull.Store(false)
}

// settled reports whether no answer can have got lost that still counts.
func (s *service) settled() bool {
	return !s.mayLose.Load() && time.Since(*s.unsettled.Load()) > putTimeout+within
}

// What status returns for errors that are no refusal.
const (
	noAnswer = -iota
	wrongAnswer
)

var errWrong = errors.New("wrong answer")

// status is that of a refusal, 200 for a success.
func status(err error) int {
	var refused *rig.StatusError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &refused):
		return refused.Code
	case errors.Is(err, errWrong):
		return wrongAnswer
	}
	return noAnswer
}

// tree returns the files in the directory of files with their sizes, but for
// its lock.
func (s *service) tree() map[string]int64 {
	s.t.Helper()
	sizes := make(map[string]int64)
	err := filepath.WalkDir(filepath.Join(s.dir, "files"), func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		info, err := d.Info()
		if err == nil {
			sizes[d.Name()] = info.Size()
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return sizes
}

// measured is what a process holds.
type measured struct {
	goroutines int
	profile    string
	// descriptors that are open, but for those of the slots database, which
	// grow with it, and of the directories of files, of which each has one in
	// the end; and what they are.
	descriptors int
	open        []string
}

func (s *service) measured() (m measured) {
	s.t.Helper()
	m.goroutines, m.profile = s.Goroutines()
	slots, shard := filepath.Join(s.dir, "slots"), regexp.MustCompile("^"+filepath.Join(s.dir, "files")+"/..$")
	dir := fmt.Sprintf("/proc/%d/fd", s.PID())
	open, err := os.ReadDir(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, fd := range open {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && !strings.HasPrefix(to, slots) && !shard.MatchString(to) {
			m.open = append(m.open, to)
		}
	}
	m.descriptors = len(m.open)
	return m
}

// measure notes what Caddy needs at rest, just after its start.
func (s *service) measure() {
	s.t.Helper()
	s.base = s.measured()
}

// expectNothingLeft expects that Caddy at rest needs what it needed after its
// start.
func (s *service) expectNothingLeft() {
	s.t.Helper()
	const more = 10
	s.CloseIdle()
	var m measured
	defer func() {
		if s.t.Failed() {
			s.t.Logf("left over: %d goroutines and %d descriptors, before %d and %d: %s\n%s",
				m.goroutines, m.descriptors, s.base.goroutines, s.base.descriptors, m.open, m.profile)
		}
	}()
	rig.Await(s.t, "goroutines and descriptors to end", func() bool {
		m = s.measured()
		return m.goroutines <= s.base.goroutines+more && m.descriptors <= s.base.descriptors+more
	})
	if _, peak := s.Memory(); peak > maxResident && !raceDetector {
		s.t.Errorf("%d MiB were resident, want %d at most", peak/mib, maxResident/mib)
	}
}
