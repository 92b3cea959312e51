package caddytest

import (
	"bytes"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const (
	kib = 1 << 10
	mib = 1 << 20
	gib = 1 << 30
)

// safeURL is what survives ejabberd, which escapes the URLs it is given once
// more, and every other hop.
var safeURL = regexp.MustCompile(`^[A-Za-z0-9._/:-]+$`)

func (s *stack) testNames(t *testing.T) {
	names := []struct{ name, want string }{
		{"plain.txt", "plain.txt"},
		{"a file with spaces.txt", "a file with spaces.txt"},
		{"ü 日本.pdf", "ü 日本.pdf"},
		{"emoji 🎉.jpg", "emoji 🎉.jpg"},
		{"a file ü 日本 (1)+&=%~'!*;:@,$#?[]\"<>|\\^`{}.pdf", "a file ü 日本 (1)+&=%~'!*;:@,$#?[]\"<>|_^`{}.pdf"},
		{"100%25.png", "100%25.png"},
		{"../../etc/passwd", ".._.._etc_passwd"},
		{".hidden", ".hidden"},
		{"..", ".."},
		{"archive.tar.gz", "archive.tar.gz"},
		{"no extension", "no extension"},
		{"bidi \u202egnp.exe", "bidi gnp.exe"},
		{strings.Repeat("x", 251) + ".txt", strings.Repeat("x", 251) + ".txt"},
	}
	jobs := make([]job, len(names))
	for i, n := range names {
		jobs[i] = job{Name: n.name, Size: 1000, Seed: i}
	}
	results := s.upload(t, "alice@localhost", jobs...)
	s.expectStored(t, jobs, results)

	for i, n := range names {
		got := results[i].Get
		if !safeURL.MatchString(got) || !strings.HasPrefix(got, s.base+"/") {
			t.Errorf("URL of %q is %s, want safe characters under %s", n.name, got, s.base)
		}
		if want := path.Ext(n.name); asciiExtension.MatchString(want) && path.Ext(got) != want {
			t.Errorf("URL of %q is %s, want the extension %s", n.name, got, want)
		}
		d := s.expectServed(t, results[i])
		if got := trueName(t, d.Header); got != n.want {
			t.Errorf("%q is served as %q, want %q", n.name, got, n.want)
		}
	}
}

var asciiExtension = regexp.MustCompile(`^\.[a-z]+$`)

// trueName returns the name under which a browser would save a download.
func trueName(t *testing.T, h http.Header) string {
	t.Helper()
	_, params, err := mime.ParseMediaType(h.Get("Content-Disposition"))
	if err != nil {
		t.Errorf("Content-Disposition %q: %v", h.Get("Content-Disposition"), err)
	}
	return params["filename"]
}

func (s *stack) testTypes(t *testing.T) {
	const octets = "application/octet-stream"
	types := []struct {
		announced, put *string
		served         string // empty: the PUT is refused
		disposition    string
	}{
		{nil, nil, octets, "attachment"},
		{new(""), new(""), octets, "attachment"},
		{nil, new("image/png"), "image/png", "inline"},
		{new("image/png"), nil, "image/png", "inline"},
		{new("image/png"), new(""), "image/png", "inline"},
		{new("image/png"), new("image/png"), "image/png", "inline"},
		{new("image/png"), new(octets), "image/png", "inline"},
		{new(octets), new("image/png"), "image/png", "inline"},
		{new("text/plain; charset=utf-8"), new("text/plain"), "text/plain; charset=utf-8", "inline"},
		{new("text/plain"), new("text/plain; charset=utf-8"), "text/plain", "inline"},
		{new(`image/svg+xml; charset="utf-8"`), new("image/svg+xml"), "image/svg+xml; charset=utf-8", "inline"},
		{new("text/html"), new("text/html"), "text/html", "attachment"},
		{new("image/png"), new("text/html"), "", ""},
	}
	var jobs []job
	for i, tt := range types {
		jobs = append(jobs, job{Name: "f.png", Size: 2000, Seed: i, Announce: tt.announced, Type: tt.put, Expect: i%2 == 0})
	}
	for i, r := range s.upload(t, "alice@localhost", jobs...) {
		tt := types[i]
		what := fmt.Sprintf("announced %s, sent %s", show(tt.announced), show(tt.put))
		if tt.served == "" {
			if r.Status != http.StatusBadRequest || r.Body == "" {
				t.Errorf("%s: %+v, want 400 and a reason", what, r)
			}
			continue
		}
		if r.Status != http.StatusCreated {
			t.Errorf("%s: %+v, want 201", what, r)
			continue
		}
		d := s.expectServed(t, r)
		if got := d.Header.Get("Content-Type"); normalType(got) != normalType(tt.served) {
			t.Errorf("%s: served as %q, want %q", what, got, tt.served)
		}
		if got, _, _ := mime.ParseMediaType(d.Header.Get("Content-Disposition")); got != tt.disposition {
			t.Errorf("%s: disposition is %q, want %q", what, got, tt.disposition)
		}
	}
}

// show returns a content type for a message.
func show(s *string) string {
	if s == nil {
		return "none"
	}
	return fmt.Sprintf("%q", *s)
}

// normalType returns a content type without the freedoms of its spelling.
func normalType(s string) string {
	media, params, err := mime.ParseMediaType(s)
	if err != nil {
		return s
	}
	return mime.FormatMediaType(media, params)
}

func (s *stack) testSizes(t *testing.T) {
	jobs := []job{
		{Name: "1 byte", Size: 1},
		{Name: "1 byte, asking first", Size: 1, Expect: true},
		{Name: "10 MiB", Size: 10 * mib},
		{Name: "10 MiB, asking first", Size: 10 * mib, Seed: 1, Expect: true},
		{Name: "10 MiB and a bit", Size: 10*mib + 1, Seed: 2},
	}
	s.expectStored(t, jobs, s.upload(t, "alice@localhost", jobs...))
}

// testHugeFile allows Caddy a tenth of the file's size more than it had. What
// a transfer needs (buffers, a garbage collector that lets the heap double)
// does not depend on the size; to hold the file would take all of it.
func (s *stack) testHugeFile(t *testing.T) {
	if testing.Short() && os.Getenv("XMPP_UPLOAD_E2E") != "required" {
		t.Skip("1 GiB takes a while: skipped with -short")
	}
	const limit = gib / 10
	s.caddy.ResetPeak()
	before, _ := s.caddy.Memory()

	jobs := []job{{Name: "film.mp4", Size: gib, Seed: 1, Announce: new("video/mp4"), Type: new("video/mp4")}}
	s.expectStored(t, jobs, s.upload(t, "alice@localhost", jobs...))

	_, peak := s.caddy.Memory()
	t.Logf("Caddy's memory: %d MiB before, at most %d MiB during 1 GiB up and down", before/mib, peak/mib)
	if peak-before > limit {
		t.Errorf("memory grew by %d MiB, want at most %d", (peak-before)/mib, limit/mib)
	}
}

func (s *stack) testSendXMPP(t *testing.T) {
	need(t, "go-sendxmpp")
	content, err := io.ReadAll(rig.Content(7, 300*kib))
	if err != nil {
		t.Fatal(err)
	}
	files := []struct {
		name    string
		content []byte
	}{
		{"photo.jpg", content},
		{"ü 日本 (1).pdf", content},
		{"text in truth.png", bytes.Repeat([]byte("words "), 1000)}, // announced as text/plain with a charset
	}
	for _, f := range files {
		url := s.sendxmpp(t, "alice@localhost", member(0), f.name, f.content)
		resp, err := s.client.Get(t.Context(), url, nil)
		if err != nil {
			t.Errorf("download of %q: %v", f.name, err)
			continue
		}
		got, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || !bytes.Equal(got, f.content) {
			t.Errorf("%q arrived as %d bytes (%v), want the %d that were sent", f.name, len(got), err, len(f.content))
		}
	}
}
