//go:build linux

// Package hostile attacks a whole Caddy in the ways that servers are attacked
// in, and holds it to this each time: others are served meanwhile, memory stays
// bounded, afterwards nothing is left of the attack, and quotas are exact.
//
// XMPP_UPLOAD_HOSTILE=full attacks as hard as one machine of two cores can:
// 10,000 connections, a million JIDs. Without it all is smaller, for CI.
package hostile

import (
	"crypto/tls"
	"fmt"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

const (
	kib = 1 << 10
	mib = 1 << 20

	// attacker is the JID of those who attack, if they have one.
	attacker = "mallory@example.com"
	// stall is after how long Caddy shall give up a connection where nothing
	// moves; by default it is a minute.
	stall = 5 * time.Second
)

var full = os.Getenv("XMPP_UPLOAD_HOSTILE") == "full"

// many is how many of something there are: few in CI.
func many(few, all int) int {
	if full {
		return all
	}
	return few
}

// waits lets a test that waits for Caddy most of the time run beside others;
// not where each needs all of the machine.
func waits(t *testing.T) {
	t.Helper()
	if !full {
		t.Parallel()
	}
}

// service is a Caddy with one upload service.
type service struct {
	*rig.Caddy
	*rig.Client
	t *testing.T
	// secure is the address of the same service over TLS and QUIC, if there is
	// one; then others use it by their protocol.
	secure string
	tls    *tls.Config // that trusts it
	proto  string
}

// start starts Caddy with these lines added to the block of xmpp_upload.
func start(t *testing.T, lines ...string) *service {
	t.Helper()
	return startPatient(t, stall, lines...)
}

// startPatient starts a Caddy that gives up later.
func startPatient(t *testing.T, stall time.Duration, lines ...string) *service {
	t.Helper()
	s := prepare(t, stall)
	s.Start("http://" + s.Addr + " {\n" + s.uploads(lines) + "}\n")
	return s
}

func prepare(t *testing.T, stall time.Duration) *service {
	t.Helper()
	c := rig.New(t)
	c.Global = fmt.Sprintf("servers {\nprotocols h1 h2 h2c h3\ntimeouts {\nread_header %s\nread_body_idle %[1]s\nwrite_idle %[1]s\n}\n}", stall)
	return &service{Caddy: c, Client: rig.NewClient(t, "http://"+c.Addr), t: t}
}

// uploads is the block of xmpp_upload, with these lines added.
func (s *service) uploads(lines []string) string {
	block := append([]string{
		"allow example.com {\nmax_total_size 1TiB\n}",
		"put_timeout 1h",
		"min_free_space 1MiB",
		"slots badger " + filepath.Join(s.Dir, "slots"),
		"files disk " + filepath.Join(s.Dir, "files"),
	}, lines...)
	return "xmpp_upload {\n" + strings.Join(block, "\n") + "\n}\n"
}

// use is what counts of a quota.
type use struct {
	Files        int64 `json:"stored_files"`
	Bytes        int64 `json:"stored_bytes"`
	Waiting      int64 `json:"waiting_slots"`
	WaitingBytes int64 `json:"waiting_bytes"`
}

// withstands attacks, and expects what this package is about. The attack
// returns what the attacker's JID uses after it, which must be exact. At most
// so much memory may be resident.
func (s *service) withstands(bound int64, attack func(o *others) use) {
	s.t.Helper()
	if raceDetector {
		bound *= 6
	}
	base := s.measured()
	s.ResetPeak()
	o := s.serveOthers()
	want := attack(o)
	o.stop()
	s.CloseIdle()

	var left measured
	defer func() {
		if s.t.Failed() {
			s.t.Logf("at the end %d goroutines and %d descriptors, before %d and %d", left.goroutines, left.descriptors, base.goroutines, base.descriptors)
		}
	}()
	rig.Await(s.t, "goroutines and descriptors to end", func() bool {
		left = s.measured()
		return left.goroutines <= base.goroutines+10 && left.descriptors <= base.descriptors+10
	})
	now, peak := s.Memory()
	s.t.Logf("others: %d served, the slowest in %s; %d MiB resident, at most %d", o.rounds, o.slowest.Round(time.Millisecond), now/mib, peak/mib)
	if peak > bound {
		s.t.Errorf("%d MiB were resident, want %d at most", peak/mib, bound/mib)
	}
	s.expectUse(attacker, want)
	s.expectUse(bystander, use{Files: int64(o.rounds), Bytes: int64(o.rounds) * bystanderSize})
	s.expectFiles(want.Files+int64(o.rounds), want.Bytes+int64(o.rounds)*bystanderSize)
}

// expectUse expects the account of the JID to be exactly this.
func (s *service) expectUse(jid string, want use) {
	s.t.Helper()
	var got use
	s.api(http.MethodGet, "users/"+jid, &got)
	if got != want {
		s.t.Errorf("%s uses %+v, want %+v", jid, got, want)
	}
}

// expectFiles expects so many files of so many bytes, and nothing else, on the
// disk and in the books.
func (s *service) expectFiles(files, bytes int64) {
	s.t.Helper()
	var gotFiles, gotBytes int64
	err := filepath.WalkDir(filepath.Join(s.Dir, "files"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		if strings.HasSuffix(path, ".part") {
			s.t.Errorf("left over: %s", path)
		}
		info, err := d.Info()
		if err == nil {
			gotFiles++
			gotBytes += info.Size()
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	if gotFiles != files || gotBytes != bytes {
		s.t.Errorf("%d files of %d bytes are there, want %d of %d", gotFiles, gotBytes, files, bytes)
	}
	var v struct {
		Files                        int64
		Missing, Orphaned, WrongSize []string
	}
	s.api(http.MethodPost, "verify", &v)
	if v.Files != files || len(v.Missing)+len(v.Orphaned)+len(v.WrongSize) > 0 {
		s.t.Errorf("verify says %+v, want %d files and no differences", v, files)
	}
}

// api calls the admin API.
func (s *service) api(method, path string, answer any) {
	s.t.Helper()
	if err := s.API(method, path, answer); err != nil {
		s.t.Fatal(err)
	}
}

// measured is what a process holds.
type measured struct {
	goroutines int
	profile    string
	// descriptors but for those of the stores, which keep open what they use.
	descriptors int
}

func (s *service) measured() (m measured) {
	s.t.Helper()
	m.goroutines, m.profile = s.Goroutines()
	_, m.profile, _ = strings.Cut(m.profile, "\n")
	dir := fmt.Sprintf("/proc/%d/fd", s.PID())
	open, err := os.ReadDir(dir)
	if err != nil {
		s.t.Fatal(err)
	}
	for _, fd := range open {
		if to, err := os.Readlink(filepath.Join(dir, fd.Name())); err == nil && !strings.HasPrefix(to, s.Dir) {
			m.descriptors++
		}
	}
	return m
}

// busyWith counts the goroutines in a method of the handler.
func (m measured) busyWith(method string) int { return m.in("xmpp-upload.(*Handler)." + method) }

// in counts the goroutines in a function.
func (m measured) in(function string) (n int) {
	for stack := range strings.SplitSeq(m.profile, "\n\n") {
		if strings.Contains(stack, function+"+") {
			var same int
			if _, err := fmt.Sscan(stack, &same); err == nil {
				n += same
			}
		}
	}
	return n
}

// each calls do for many, some at a time, and returns the first error.
func each(n int, do func(i int) error) (first error) {
	const atOnce = 32
	var once sync.Once
	var all sync.WaitGroup
	for worker := range atOnce {
		all.Go(func() {
			for i := worker; i < n; i += atOnce {
				if err := do(i); err != nil {
					once.Do(func() { first = err })
				}
			}
		})
	}
	all.Wait()
	return first
}

// must ends the test if there is an error.
func (s *service) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// ask takes slots for the attacker.
func (s *service) ask(n int, size int64) []rig.Slot {
	s.t.Helper()
	slots := make([]rig.Slot, n)
	s.must(each(n, func(i int) (err error) {
		slots[i], err = s.Slot(s.t.Context(), rig.Ask{JID: attacker, Name: "a.bin", Size: size})
		return err
	}))
	return slots
}

// store uploads a file for the attacker.
func (s *service) store(size int64) rig.Slot {
	s.t.Helper()
	slot := s.ask(1, size)[0]
	s.must(s.Put(s.t.Context(), slot.Put, "", size, rig.Content(1, size)))
	return slot
}
