package admin

import (
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// stored returns how many files there are in the directory of files.
func (s *service) stored() (n int) {
	s.t.Helper()
	err := filepath.WalkDir(filepath.Join(s.Dir, "files"), func(_ string, d os.DirEntry, err error) error {
		if err == nil && !d.IsDir() && d.Name() != ".lock" {
			n++
		}
		return err
	})
	if err != nil {
		s.t.Fatal(err)
	}
	return n
}

func (s *service) removes(method, path string, want admin.Removal) {
	s.t.Helper()
	if got := call[admin.Removal](s, method, path); got != want {
		s.t.Errorf("%s %s removed %+v, want %+v", method, path, got, want)
	}
}

func TestAnUploadIsDeleted(t *testing.T) {
	t.Parallel()
	s := start(t)
	stays := s.upload(user, "stays", 5)
	used, unused := s.upload(user, "used", 10), s.ask(user, "unused", 20)
	s.removes("DELETE", "uploads/"+id(used), admin.Removal{Files: 1, Bytes: 10})
	s.removes("DELETE", "uploads/"+id(unused), admin.Removal{Slots: 1})

	for _, slot := range []rig.Slot{used, unused} {
		s.refused("GET", "uploads/"+id(slot), http.StatusNotFound)
		s.refused("DELETE", "uploads/"+id(slot), http.StatusNotFound)
		if _, err := s.Download(t.Context(), slot.Get); status(err) != http.StatusNotFound {
			t.Errorf("GET of what was deleted: %v", err)
		}
		if err := s.Put(t.Context(), slot.Put, "", 20, rig.Content(1, 20)); status(err) != http.StatusForbidden {
			t.Errorf("PUT of what was deleted: %v", err)
		}
	}
	if _, err := s.Download(t.Context(), stays.Get); err != nil {
		t.Error(err)
	}
	if n := s.stored(); n != 1 {
		t.Errorf("%d files are there, want 1", n)
	}
	s.logsRemoval("upload deleted", `"files":1`, `"bytes":10`, id(used))
}

// logsRemoval expects a line at level info with these words.
func (s *service) logsRemoval(message string, words ...string) {
	s.t.Helper()
	rig.Await(s.t, "the line "+message, func() bool {
		for _, e := range s.Logs() {
			if e.Message == message && e.Level == "info" && containsAll(e.Raw, words) {
				return true
			}
		}
		return false
	})
}

func containsAll(s string, words []string) bool {
	for _, word := range words {
		if !strings.Contains(s, word) {
			return false
		}
	}
	return true
}

// body is the body of a PUT that the test feeds.
type body struct {
	*io.PipeWriter
	done chan error
}

// put begins an upload of which some bytes have arrived.
func (s *service) put(slot rig.Slot, size int64, sent string) *body {
	s.t.Helper()
	r, w := io.Pipe()
	b := &body{w, make(chan error, 1)}
	go func() { b.done <- s.Put(s.t.Context(), slot.Put, "", size, r) }()
	s.t.Cleanup(func() { w.CloseWithError(io.ErrUnexpectedEOF) })
	b.feed(s.t, sent)
	rig.Await(s.t, "the upload to begin", func() bool {
		return get[admin.Upload](s, "uploads/"+id(slot)).InFlight
	})
	return b
}

func (b *body) feed(t *testing.T, text string) {
	t.Helper()
	if _, err := io.WriteString(b, text); err != nil {
		t.Fatal(err)
	}
}

func TestAnUploadIsDeletedWhileItArrives(t *testing.T) {
	t.Parallel()
	s := start(t)
	slot := s.ask(user, "a.txt", 10)
	put := s.put(slot, 10, "12345")
	s.removes("DELETE", "uploads/"+id(slot), admin.Removal{Slots: 1})
	_, _ = io.WriteString(put, "67890") // Caddy may have ended it before
	put.Close()
	if err := <-put.done; err == nil {
		t.Error("an upload to a deleted slot succeeded")
	}
	s.refused("GET", "uploads/"+id(slot), http.StatusNotFound)
	rig.Await(t, "its bytes to go", func() bool { return s.stored() == 0 })
	if u := get[admin.User](s, "users/"+user); u.StoredFiles+u.StoredBytes+u.WaitingSlots+u.WaitingBytes != 0 {
		t.Errorf("the account still holds %+v", u)
	}
}

func TestAnUploadIsDeletedWhileItIsDownloaded(t *testing.T) {
	t.Parallel()
	s := start(t)
	const size = 24 << 20 // more than what the kernel takes off Caddy's hands
	slot := s.upload(user, "a.txt", size)
	resp, err := s.Get(t.Context(), slot.Get, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	s.removes("DELETE", "uploads/"+id(slot), admin.Removal{Files: 1, Bytes: size})
	if n, err := io.Copy(io.Discard, resp.Body); n != size || err != nil {
		t.Errorf("the download ended after %d bytes, %v", n, err)
	}
	if _, err := s.Download(t.Context(), slot.Get); status(err) != http.StatusNotFound {
		t.Errorf("GET after the deletion: %v", err)
	}
}

func TestAUserIsPurged(t *testing.T) {
	t.Parallel()
	s := start(t, "allow example.com {\nuploads 1000 per 1h\n}")
	const files, slots = 70, 40
	for range files {
		s.upload(user, "a", 3)
	}
	for range slots {
		s.ask(user, "b", 5)
	}
	inFlight := s.ask(user, "c", 10)
	put := s.put(inFlight, 10, "123")
	other := s.upload("other@example.com", "a", 7)

	s.removes("DELETE", "users/USER%40example.com", admin.Removal{Files: files, Slots: slots + 1, Bytes: 3 * files})
	_, _ = io.WriteString(put, "4567890")
	put.Close()
	if err := <-put.done; err == nil {
		t.Error("an upload of a purged user succeeded")
	}
	s.removes("DELETE", "users/"+user, admin.Removal{})
	u := get[admin.User](s, "users/"+user)
	if u.StoredFiles+u.StoredBytes+u.WaitingSlots+u.WaitingBytes != 0 {
		t.Errorf("the account still holds %+v", u)
	}
	if used := u.Uploads[0].Used; used != files {
		t.Errorf("the window remembers %d uploads, want %d", used, files)
	}
	if got := ids(get[admin.List](s, "uploads")); len(got) != 1 || got[0] != id(other) {
		t.Errorf("there are %q, want the one of another user", got)
	}
	if _, err := s.Download(t.Context(), other.Get); err != nil {
		t.Error(err)
	}
	rig.Await(t, "its files to go", func() bool { return s.stored() == 1 })
	s.logsRemoval("uploads of a JID purged", `"files":70`, `"slots":41`)
}

// Who was deleted is in the log at debug level only.
func TestTheLogOfARemovalNamesNobody(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.LogLevel = "INFO"
	s.Start(s.site())
	s.upload(user, "a", 3)
	s.removes("DELETE", "users/"+user, admin.Removal{Files: 1, Bytes: 3})
	s.logsRemoval("uploads of a JID purged")
	for _, e := range s.Logs() {
		// Caddy itself logs the address of each request to its admin endpoint.
		if e.Logger != "admin.api" && strings.Contains(e.Raw, user) {
			t.Errorf("the log has %s", e.Raw)
		}
	}
}
