// Package clock moves the wall clock under a whole Caddy that runs, as NTP, a
// virtual machine or a board without a clock of its own do, and holds it to what
// README promises for that.
package clock

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"hash"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

const (
	kib = 1 << 10
	mib = 1 << 20
	day = 24 * time.Hour

	user = "user@example.com"

	// keep and wait are the defaults of keep and put_timeout.
	keep = 30 * day
	wait = 6 * time.Minute
)

// service is a Caddy whose clock the test sets, with one upload service, its
// page and its client.
type service struct {
	*rig.Caddy
	*rig.Client
	t *testing.T
}

// upload is a slot and what belongs into it.
type upload struct {
	rig.Slot
	size int64
	seed uint64
}

func (u upload) id() string { return strings.Split(u.Slot.Put, "/")[3] }

// start starts a Caddy under a clock that is ahead by offset, with these lines
// in the block of xmpp_upload.
func start(t *testing.T, offset time.Duration, lines ...string) *service {
	t.Helper()
	c := rig.New(t)
	s := &service{Caddy: c, Client: rig.NewClient(t, "http://"+c.Addr), t: t}
	s.SetClock(offset)
	lines = append(lines, "min_free_space 1MiB", "slots badger "+s.Dir+"/slots", "files disk "+s.filesDir())
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "allow") }) {
		lines = append(lines, "allow example.com")
	}
	s.Start(fmt.Sprintf("http://%s {\nlog\nhandle_path /page/* {\nxmpp_upload_admin\n}\nxmpp_upload {\n%s\n}\n}\n", s.Addr, strings.Join(lines, "\n")))
	return s
}

// often has clean-ups all the time, seldom has only those that a test asks for,
// after the one at the start.
const (
	often  = "cleanup_interval 1s"
	seldom = "cleanup_interval 365d"
)

func (s *service) filesDir() string { return filepath.Join(s.Dir, "files") }

// restart starts Caddy anew, and stops it first if it runs. The certificates of
// Caddy's own authority, which an option of the rig's calls for, would keep it
// from starting should they have expired.
func (s *service) restart() {
	s.t.Helper()
	s.CloseIdle()
	s.must(os.RemoveAll(filepath.Join(s.Dir, "data", "caddy", "pki")))
	s.Restart()
}

// ask takes a slot. The name tells the seed of the content.
func (s *service) ask(ctx context.Context, size int64, seed uint64) (upload, error) {
	slot, err := s.Slot(ctx, rig.Ask{JID: user, Name: fmt.Sprintf("%d.dat", seed), Size: size})
	return upload{slot, size, seed}, err
}

func (s *service) mustAsk(size int64, seed uint64) upload {
	s.t.Helper()
	u, err := s.ask(s.t.Context(), size, seed)
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

func (s *service) send(u upload) error {
	return s.Put(s.t.Context(), u.Slot.Put, "", u.size, rig.Content(u.seed, u.size))
}

func (s *service) mustStore(size int64, seed uint64) upload {
	s.t.Helper()
	u := s.mustAsk(size, seed)
	if err := s.send(u); err != nil {
		s.t.Fatal(err)
	}
	return u
}

// errWrong is an answer that must not be.
var errWrong = errors.New("wrong answer")

// served returns nil if the file is served byte for byte.
func (s *service) served(u upload) error {
	d, err := s.Download(s.t.Context(), u.Get)
	if err != nil {
		return err
	}
	if d.Size != u.size || d.SHA256 != rig.ContentSHA256(u.seed, u.size) {
		return fmt.Errorf("%w: GET %s: other bytes than were uploaded", errWrong, u.Get)
	}
	return nil
}

func (s *service) expectServed(when string, uploads ...upload) {
	s.t.Helper()
	for _, u := range uploads {
		if err := s.served(u); err != nil {
			s.t.Errorf("%s: %v", when, err)
		}
	}
}

// expectCode expects an answer with this status; of 200 any success.
func (s *service) expectCode(what string, err error, want int) {
	s.t.Helper()
	if code(err) != want {
		s.t.Errorf("%s: %v, want %d", what, err, want)
	}
}

// code is that of an answer, 200 for a success and 0 for none.
func code(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if refused, ok := errors.AsType[*rig.StatusError](err); ok {
		return refused.Code
	}
	return 0
}

func (s *service) must(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

// cleanUp cleans up now.
func (s *service) cleanUp() (done admin.CleanUp) {
	s.t.Helper()
	s.must(s.API(http.MethodPost, "cleanup", &done))
	return done
}

func (s *service) stats() (stats admin.Stats) {
	s.t.Helper()
	s.must(s.API(http.MethodGet, "stats", &stats))
	return stats
}

func (s *service) account() (u admin.User) {
	s.t.Helper()
	s.must(s.API(http.MethodGet, "users/"+user, &u))
	return u
}

func (s *service) list(query string) (list admin.List) {
	s.t.Helper()
	s.must(s.API(http.MethodGet, "uploads?"+query, &list))
	return list
}

// text returns the body of a page that must be there.
func (s *service) text(address string) string {
	s.t.Helper()
	resp, err := s.Get(s.t.Context(), "http://"+address, nil)
	s.must(err)
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	s.must(err)
	return string(body)
}

// files counts those on the disk.
func (s *service) files() (n int) {
	s.t.Helper()
	s.must(filepath.WalkDir(s.filesDir(), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != ".lock" {
			n++
		}
		return err
	}))
	return n
}

// refusal is what a refused slot is answered in JSON.
type refusal struct {
	Error      string `json:"error"`
	Used       int64  `json:"used"`
	RetryAfter int64  `json:"retry_after"`
}

// grant takes slots of one byte and uploads to them until one is refused, and
// returns how many, and the refusal.
func (s *service) grant() (n int, r refusal) {
	s.t.Helper()
	for {
		u, err := s.ask(s.t.Context(), 1, 1)
		if code(err) == http.StatusPaymentRequired {
			break
		}
		s.must(err)
		s.must(s.send(u))
		n++
	}
	_, err := s.Get(s.t.Context(), "http://"+s.Addr+"/slot/?jid="+user+"&name=a&size=1&output=application/json", nil)
	refused, ok := errors.AsType[*rig.StatusError](err)
	if !ok || json.Unmarshal([]byte(refused.Body), &r) != nil {
		s.t.Fatalf("a refusal that is none: %v", err)
	}
	return n, r
}

// heldPut is an upload that goes on only as the test feeds it.
type heldPut struct {
	content io.Reader
	body    *io.PipeWriter
	done    chan error
}

// holdPut begins an upload, sends n bytes, and returns once Caddy receives it.
func (s *service) holdPut(u upload, n int64) *heldPut {
	s.t.Helper()
	r, w := io.Pipe()
	p := &heldPut{rig.Content(u.seed, u.size), w, make(chan error, 1)}
	go func() {
		p.done <- s.Put(s.t.Context(), u.Slot.Put, "", u.size, r)
		r.Close()
	}()
	if _, err := io.CopyN(w, p.content, n); err != nil {
		s.t.Fatal(err)
	}
	rig.Await(s.t, "an upload to begin", func() bool {
		var now admin.Upload
		s.must(s.API(http.MethodGet, "uploads/"+u.id(), &now))
		return now.InFlight
	})
	return p
}

// finish sends what is left and returns how the upload ended.
func (p *heldPut) finish() error {
	_, _ = io.Copy(p.body, p.content) // if that fails, the answer tells why
	p.body.Close()
	return <-p.done
}

// heldGet is a download that goes on only as the test reads it.
type heldGet struct {
	upload
	body io.ReadCloser
	sum  hash.Hash
}

// holdGet begins a download and reads n bytes.
func (s *service) holdGet(u upload, n int64) *heldGet {
	s.t.Helper()
	resp, err := s.Get(s.t.Context(), u.Slot.Get, nil)
	s.must(err)
	g := &heldGet{u, resp.Body, sha256.New()}
	_, err = io.CopyN(g.sum, g.body, n)
	s.must(err)
	return g
}

// finish reads what is left and returns nil if all was right.
func (g *heldGet) finish() error {
	defer g.body.Close()
	if _, err := io.Copy(g.sum, g.body); err != nil {
		return err
	}
	if hex.EncodeToString(g.sum.Sum(nil)) != rig.ContentSHA256(g.seed, g.size) {
		return fmt.Errorf("%w: not the bytes of the upload", errWrong)
	}
	return nil
}

// metric returns the value of a metric that has no labels.
func (s *service) metric(name string) float64 {
	s.t.Helper()
	for line := range strings.Lines(s.text(s.Admin + "/metrics")) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			f, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			s.must(err)
			return f
		}
	}
	s.t.Fatalf("no metric %s", name)
	return 0
}
