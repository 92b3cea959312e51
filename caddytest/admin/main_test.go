// Package admin holds the admin API of a whole Caddy to what its documentation
// promises to operators.
package admin

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

const user = "user@example.com"

// service is a Caddy with one upload service, unless a test says otherwise, and
// its client.
type service struct {
	*rig.Caddy
	*rig.Client
	t *testing.T
	// store is the name of its store.
	store string
}

func newService(t *testing.T) *service {
	t.Helper()
	c := rig.New(t)
	return &service{Caddy: c, Client: rig.NewClient(t, "http://"+c.Addr), t: t, store: filepath.Join(c.Dir, "slots")}
}

// start starts a service whose block has these lines.
func start(t *testing.T, lines ...string) *service {
	t.Helper()
	s := newService(t)
	s.Start(s.site(lines...))
	return s
}

// site is the service's site, with these lines in the block of xmpp_upload.
func (s *service) site(lines ...string) string {
	return "http://" + s.Addr + " {\n" + s.block(s.Dir, lines...) + "\n}\n"
}

// block is a handler over the stores in dir. Unless a line says so, clean-up
// leaves the stores alone once it has run at the start.
func (s *service) block(dir string, lines ...string) string {
	text := strings.Join(lines, "\n")
	for word, line := range map[string]string{
		"cleanup_interval": "cleanup_interval 1d", "min_free_space": "min_free_space 1MiB", "allow": "allow example.com",
	} {
		if !strings.Contains(text, word) {
			text += "\n" + line
		}
	}
	return fmt.Sprintf("xmpp_upload {\n%s\nslots badger %s/slots\nfiles disk %s/files\n}", text, dir, dir)
}

// request sends a request to the admin endpoint.
func (s *service) request(method, path string) (status int, header http.Header, body []byte) {
	s.t.Helper()
	req, err := http.NewRequestWithContext(s.t.Context(), method, "http://"+s.Admin+"/xmpp_upload/"+path, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	if body, err = io.ReadAll(resp.Body); err != nil {
		s.t.Fatal(err)
	}
	return resp.StatusCode, resp.Header, body
}

// call expects an answer of the type T, to the last field.
func call[T any](s *service, method, path string) T {
	s.t.Helper()
	status, header, body := s.request(method, path)
	if status != http.StatusOK || header.Get("Content-Type") != "application/json" {
		s.t.Fatalf("%s %s: %d %s %s", method, path, status, header.Get("Content-Type"), body)
	}
	return decode[T](s, body)
}

func get[T any](s *service, path string) T {
	s.t.Helper()
	return call[T](s, http.MethodGet, path)
}

// decode takes nothing but a T.
func decode[T any](s *service, body []byte) (v T) {
	s.t.Helper()
	d := json.NewDecoder(bytes.NewReader(body))
	d.DisallowUnknownFields()
	if err := d.Decode(&v); err != nil {
		s.t.Fatalf("decoding %s: %v", body, err)
	}
	if d.More() {
		s.t.Fatalf("more than one value: %s", body)
	}
	return v
}

// refused expects an error with this status and words of it.
func (s *service) refused(method, path string, want int, words ...string) {
	s.t.Helper()
	status, header, body := s.request(method, path)
	if status != want || header.Get("Content-Type") != "application/json" {
		s.t.Errorf("%s %s: %d %s, want %d", method, path, status, body, want)
		return
	}
	message := decode[struct {
		Error string `json:"error"`
	}](s, body).Error
	for _, word := range words {
		if !strings.Contains(message, word) {
			s.t.Errorf("%s %s: the error is %q, which does not tell of %q", method, path, message, word)
		}
	}
}

// ask takes a slot.
func (s *service) ask(jid, name string, size int64) rig.Slot {
	s.t.Helper()
	slot, err := s.Slot(s.t.Context(), rig.Ask{JID: jid, Name: name, Size: size})
	if err != nil {
		s.t.Fatal(err)
	}
	return slot
}

// upload takes a slot and uploads to it.
func (s *service) upload(jid, name string, size int64) rig.Slot {
	s.t.Helper()
	slot := s.ask(jid, name, size)
	if err := s.Put(s.t.Context(), slot.Put, "text/plain", size, rig.Content(1, size)); err != nil {
		s.t.Fatal(err)
	}
	return slot
}

// id is the one in a slot's URLs.
func id(slot rig.Slot) string {
	u, _ := url.Parse(slot.Put)
	return strings.Split(u.Path, "/")[1]
}

// status is that of a refusal, 200 for a success, 0 for no answer.
func status(err error) int {
	var refused *rig.StatusError
	switch {
	case err == nil:
		return http.StatusOK
	case errors.As(err, &refused):
		return refused.Code
	}
	return 0
}

// ids are those of a listing.
func ids(list admin.List) []string {
	all := make([]string, len(list.Uploads))
	for i, u := range list.Uploads {
		all[i] = u.ID
	}
	return all
}
