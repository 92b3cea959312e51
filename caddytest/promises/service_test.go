// Package promises holds a whole Caddy to what the service promises its
// operators: through kill -9, reloads, full disks, clients that stall or
// vanish, thousands of slow ones, and expiry.
package promises

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"net/http"
	"net/url"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

const (
	kib = 1 << 10
	mib = 1 << 20

	// user is whom the rules of limited let upload.
	user = "user@example.com"
	// totalLimit is what each JID may store, more than any test does.
	totalLimit = 1 << 40
	// limited is a rule whose refusals tell what is used.
	limited = "allow example.com {\nmax_total_size 1TiB\n}"
)

// service is a Caddy with one upload service and its client.
type service struct {
	*rig.Caddy
	*rig.Client
	t            *testing.T
	slots, files string // the directories of the stores
}

func newService(t *testing.T) *service {
	t.Helper()
	c := rig.New(t)
	return &service{
		Caddy: c, Client: rig.NewClient(t, "http://"+c.Addr), t: t,
		slots: filepath.Join(c.Dir, "slots"), files: filepath.Join(c.Dir, "files"),
	}
}

// site is the service's site, with these lines added to the block of
// xmpp_upload.
func (s *service) site(lines ...string) string { return s.siteAt(s.Addr, lines...) }

func (s *service) siteAt(addr string, lines ...string) string {
	return "http://" + addr + " {\n\tlog\n\t" + s.directive(lines...) + "\n}\n"
}

func (s *service) directive(lines ...string) string {
	lines = append(lines, "slots badger "+s.slots, "files disk "+s.files)
	if !slices.ContainsFunc(lines, func(l string) bool { return strings.HasPrefix(l, "min_free_space") }) {
		lines = append(lines, "min_free_space 1MiB")
	}
	return "xmpp_upload {\n" + strings.Join(lines, "\n") + "\n}"
}

// restart ends Caddy, if it still runs, and starts it with what it had.
func (s *service) restart() {
	s.t.Helper()
	s.CloseIdle()
	s.Restart()
}

// upload is a slot and what belongs into it.
type upload struct {
	rig.Slot
	jid, contentType string
	size             int64
	seed             uint64
}

var contentTypes = []string{"image/png", "text/plain; charset=utf-8", "application/pdf"}

// ask takes a slot for size bytes; the content is of its seed.
func (s *service) ask(jid string, size int64, seed uint64) (upload, error) {
	u := upload{jid: jid, contentType: contentTypes[seed%uint64(len(contentTypes))], size: size, seed: seed}
	slot, err := s.Slot(s.t.Context(), rig.Ask{JID: jid, Name: "file.dat", Size: size, ContentType: u.contentType})
	u.Slot = slot
	return u, err
}

// mustAsk is ask for what must be granted.
func (s *service) mustAsk(size int64, seed uint64) upload {
	s.t.Helper()
	u, err := s.ask(user, size, seed)
	if err != nil {
		s.t.Fatal(err)
	}
	return u
}

// send uploads all at once.
func (s *service) send(u upload) error {
	return s.Put(s.t.Context(), u.Slot.Put, u.contentType, u.size, rig.Content(u.seed, u.size))
}

// mustStore takes a slot and uploads to it.
func (s *service) mustStore(size int64, seed uint64) upload {
	s.t.Helper()
	u := s.mustAsk(size, seed)
	if err := s.send(u); err != nil {
		s.t.Fatal(err)
	}
	return u
}

// served returns nil if the file is served byte for byte, with its type.
func (s *service) served(u upload) error {
	d, err := s.Download(s.t.Context(), u.Slot.Get)
	if err != nil {
		return err
	}
	if d.Size != u.size || d.SHA256 != rig.ContentSHA256(u.seed, u.size) {
		return fmt.Errorf("%w: GET %s: other bytes than were uploaded", errWrong, u.Slot.Get)
	}
	if got := d.Header.Get("Content-Type"); got != u.contentType {
		return fmt.Errorf("%w: GET %s: the type is %q, want %q", errWrong, u.Slot.Get, got, u.contentType)
	}
	return nil
}

// errWrong is an answer that must not be.
var errWrong = errors.New("wrong answer")

func (s *service) expectServed(uploads ...upload) {
	s.t.Helper()
	for _, u := range uploads {
		if err := s.served(u); err != nil {
			s.t.Error(err)
		}
	}
}

// expectNotServed expects that nothing is served at the slot's URL.
func (s *service) expectNotServed(uploads ...upload) {
	s.t.Helper()
	for _, u := range uploads {
		if code := status(s.served(u)); code != http.StatusNotFound {
			s.t.Errorf("GET %s: %d, want 404", u.Slot.Get, code)
		}
	}
}

// expectRefused expects an answer with this status.
func (s *service) expectRefused(err error, want int) {
	s.t.Helper()
	if status(err) != want {
		s.t.Errorf("got %v, want a refusal with %d", err, want)
	}
}

// What status returns for errors that are no refusal.
const (
	noAnswer = -iota
	wrongAnswer
)

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

// used returns the bytes that the JID has stored and reserved, as the refusal
// of a slot for all that its rule allows, and one byte more, tells.
func (s *service) used(jid string) (int64, error) {
	return s.probe(jid, totalLimit+1, "total_quota")
}

func (s *service) probe(jid string, size int64, code string) (int64, error) {
	q := url.Values{"jid": {jid}, "name": {"probe"}, "size": {strconv.FormatInt(size, 10)}, "output": {"application/json"}}
	resp, err := s.Get(s.t.Context(), "http://"+s.Addr+"/slot/?"+q.Encode(), nil)
	if err == nil {
		resp.Body.Close()
		return 0, fmt.Errorf("%w: a slot was granted beyond the quota of %s", errWrong, jid)
	}
	var refused *rig.StatusError
	if !errors.As(err, &refused) {
		return 0, err
	}
	var told struct {
		Error string `json:"error"`
		Used  int64  `json:"used"`
	}
	if json.Unmarshal([]byte(refused.Body), &told) != nil || told.Error != code {
		return 0, err
	}
	return told.Used, nil
}

func (s *service) mustUsed() int64 {
	s.t.Helper()
	used, err := s.used(user)
	if err != nil {
		s.t.Fatal(err)
	}
	return used
}

func (s *service) expectUsed(want int64) {
	s.t.Helper()
	if got := s.mustUsed(); got != want {
		s.t.Errorf("%d bytes of the quota are used, want %d", got, want)
	}
}

// tree returns the files in the directory of files, with their sizes, but for
// its lock.
func (s *service) tree() map[string]int64 {
	s.t.Helper()
	sizes := make(map[string]int64)
	err := filepath.WalkDir(s.files, func(path string, d fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil // it has gone since it was listed
		}
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil {
			return err
		}
		sizes[d.Name()] = info.Size()
		return nil
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return sizes
}

// awaitTree returns when the tree holds these files and nothing else.
func (s *service) awaitTree(uploads ...upload) {
	s.t.Helper()
	want, got := make(map[string]int64), map[string]int64(nil)
	for _, u := range uploads {
		want[u.fileName()] = u.size
	}
	defer func() {
		if maps.Equal(got, want) {
			return
		}
		for name := range got {
			if _, ok := want[name]; !ok {
				s.t.Logf("left over: %s", name)
			}
		}
		for name, size := range want {
			if got[name] != size {
				s.t.Logf("%s has %d bytes, want %d", name, got[name], size)
			}
		}
	}()
	rig.Await(s.t, "a files directory with the stored files only", func() bool {
		got = s.tree()
		return maps.Equal(got, want)
	})
}

func (u upload) fileName() string {
	return u.id() + "-" + u.Slot.Put[strings.LastIndex(u.Slot.Put, "/")+1:]
}

func (u upload) id() string {
	parts := strings.Split(u.Slot.Put, "/")
	return parts[len(parts)-2]
}
