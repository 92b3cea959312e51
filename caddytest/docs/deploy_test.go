package docs

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// The XMPP server takes slots at loopback, and their URLs are the public
// site's.
func TestREADMEDeployment(t *testing.T) {
	c := rig.New(t)
	public := "http://" + rig.Loopback(rig.FreePort(t))
	c.Start(replace(first(t, "Caddy", "caddyfile"),
		"https://upload.example.com", public, "upload.example.com {", public+" {",
		"127.0.0.1:8080", c.Addr, "/var/lib/caddy", c.Dir))

	slot := roundTrip(t, "http://"+c.Addr, "holiday.jpg", 1<<20)
	wantPrefix(t, slot.Put, public+"/")
	wantPrefix(t, slot.Get, public+"/")
}

// Files of the app that was there before stay reachable at both of its
// addresses, beside new ones.
func TestREADMEOldFiles(t *testing.T) {
	c := rig.New(t)
	const (
		old  = "0aZ9bY8cX7dW6eV5fU4gT3hS2iR1jQ0k/märchen_1.txt"
		text = "once upon a time"
	)
	media := filepath.Join(c.Dir, "media")
	writeFile(t, filepath.Join(media, old), text)
	public := "http://" + rig.Loopback(rig.FreePort(t))
	c.Start(replace(first(t, "The old files", "caddyfile"),
		"https://upload.example.com", public, "upload.example.com {", public+" {",
		"127.0.0.1:8000", c.Addr, "/var/lib/caddy", c.Dir, "/srv/media/http_upload", media))

	for _, path := range []string{"/media/http_upload/", "/share/share/"} {
		resp, err := rig.NewClient(t, public).Get(t.Context(), public+path+old, nil)
		if err != nil {
			t.Error(err)
			continue
		}
		body, err := io.ReadAll(resp.Body)
		resp.Body.Close()
		if err != nil || string(body) != text {
			t.Errorf("GET %s gave %q, %v, want %q", path, body, err, text)
		}
	}
	slot := roundTrip(t, "http://"+c.Addr+"/share", "new.txt", 1000)
	wantPrefix(t, slot.Get, public+"/share/")
}

// roundTrip takes a slot at base, uploads size bytes and fetches them again.
func roundTrip(t *testing.T, base, name string, size int64) rig.Slot {
	t.Helper()
	client := rig.NewClient(t, base)
	slot, err := client.Slot(t.Context(), rig.Ask{JID: "me@example.com", Name: name, Size: size})
	if err != nil {
		t.Fatal(err)
	}
	if err := client.Put(t.Context(), slot.Put, "", size, rig.Content(1, size)); err != nil {
		t.Fatal(err)
	}
	got, err := client.Download(t.Context(), slot.Get)
	if err != nil {
		t.Fatal(err)
	}
	if got.SHA256 != rig.ContentSHA256(1, size) {
		t.Fatalf("GET %s gave %d other bytes than were uploaded", slot.Get, got.Size)
	}
	return slot
}

// wantStatus fetches a URL that is refused.
func wantStatus(t *testing.T, url string, status int) {
	t.Helper()
	resp, err := rig.NewClient(t, url).Get(t.Context(), url, nil)
	var refused *rig.StatusError
	switch {
	case err == nil:
		resp.Body.Close()
		t.Errorf("GET %s: %s, want %d", url, resp.Status, status)
	case !errors.As(err, &refused) || refused.Code != status:
		t.Errorf("GET %s: %v, want %d", url, err, status)
	}
}

func wantPrefix(t *testing.T, s, prefix string) {
	t.Helper()
	if !strings.HasPrefix(s, prefix) {
		t.Errorf("got %s, want it to begin with %s", s, prefix)
	}
}

func writeFile(t *testing.T, name, text string) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}
