//go:build linux

package faults

import (
	"errors"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// newest is how many of the stored uploads each check downloads; the last check
// of a test downloads all.
const newest = 3

// check holds the service against the book, after whatever has happened: what
// the promises are. Nothing may be under way.
//
//   - What got 201 is served, byte for byte.
//   - What got no 201 is served as a whole or not at all.
//   - After one clean-up nothing is on the disk but the files that are served,
//     and every slot has its file.
//   - Each account holds what is there, no more and no less, and so do totals.
//   - A slot whose upload failed takes another one.
func (s *service) check() {
	s.t.Helper()
	s.settle()
	s.forgetUnasked()
	var done admin.CleanUp
	if err := s.API(http.MethodPost, "cleanup", &done); err != nil {
		s.t.Errorf("clean-up: %v", err)
	}
	if done.Files+done.Slots+done.Orphaned > s.halfGone || done.Missing > s.halfGone {
		s.t.Errorf("clean-up removed %+v, and nothing has expired", done)
	}
	s.halfGone = 0
	s.checkVerify()
	s.checkTree()
	s.checkAccounts()
	for _, u := range s.stored[max(0, len(s.stored)-newest):] {
		if err := s.served(u); err != nil {
			s.t.Errorf("it got 201: %v", err)
		}
	}
	for _, u := range s.waiting {
		if err := s.sendLater(u); err != nil {
			s.t.Errorf("a slot is of no use any more: %v", err)
			continue
		}
		s.nowStored(u)
	}
	s.checkAccounts()
}

// sendLater uploads to a slot as soon as the service takes it: after a fault
// that met what it does beside, it may not be sure of its log for a second.
// What was stored before such an answer is so, and another upload is told.
func (s *service) sendLater(u upload) error {
	for deadline := time.Now().Add(rig.Patience); ; time.Sleep(100 * time.Millisecond) {
		err := s.send(u)
		if status(err) == http.StatusConflict && s.served(u) == nil {
			return nil
		}
		if status(err) != http.StatusInternalServerError || time.Now().After(deadline) {
			return err
		}
	}
}

// checkAll is check, and downloads all that got 201.
func (s *service) checkAll() {
	s.t.Helper()
	s.check()
	for _, u := range s.stored {
		if err := s.served(u); err != nil {
			s.t.Errorf("it got 201: %v", err)
		}
	}
}

// settle finds out what became of uploads that got no 201: some were stored
// nevertheless, as their clients will see when they try again.
func (s *service) settle() {
	s.t.Helper()
	for _, u := range s.waiting {
		switch err := s.served(u); status(err) {
		case http.StatusOK:
			if err := s.send(u); status(err) != http.StatusConflict {
				s.t.Errorf("a file is served, and another upload to its slot: %v", err)
			}
			s.nowStored(u)
		case http.StatusNotFound:
		default:
			s.t.Errorf("it got no 201: %v", err)
		}
	}
	for _, u := range s.doubtful {
		switch err := s.served(u); status(err) {
		case http.StatusOK:
			s.gone -= u.size
			s.nowStored(u)
		case http.StatusNotFound:
			s.halfGone = 1
		default:
			s.t.Errorf("it was being removed: %v", err)
		}
	}
	s.doubtful = nil
}

// forgetUnasked removes the slots whose answers got lost: at most one.
func (s *service) forgetUnasked() {
	s.t.Helper()
	known := make(map[string]bool)
	for _, u := range s.waiting {
		known[u.id()] = true
	}
	ids := s.list("waiting")
	for _, id := range ids {
		if known[id] {
			delete(known, id)
			continue
		}
		var done admin.Removal
		if err := s.API(http.MethodDelete, "uploads/"+id, &done); err != nil {
			s.t.Errorf("removing a slot whose answer got lost: %v", err)
		}
	}
	if len(known) > 0 {
		s.t.Errorf("%d slots that were granted are gone", len(known))
	}
	if more := len(ids) - len(s.waiting); more > 1 {
		s.t.Errorf("%d slots wait that nobody was given", more)
	}
}

// list returns the IDs of the user's slots in a state, empty for any.
func (s *service) list(state string) (ids []string) {
	s.t.Helper()
	path := "uploads?limit=1000&jid=" + user
	if state != "" {
		path += "&state=" + state
	}
	for after := ""; ; {
		var page admin.List
		if err := s.API(http.MethodGet, path+after, &page); err != nil {
			s.t.Error(err)
			return ids
		}
		for _, u := range page.Uploads {
			ids = append(ids, u.ID)
		}
		if page.Next == "" {
			return ids
		}
		after = "&after=" + page.Next
	}
}

func (s *service) checkVerify() {
	s.t.Helper()
	var v admin.Verification
	if err := s.API(http.MethodPost, "verify", &v); err != nil {
		s.t.Errorf("verify: %v", err)
	}
	if len(v.Missing)+len(v.Orphaned)+len(v.WrongSize) > 0 || v.Slots != int64(len(s.stored)) || v.Files != v.Slots {
		s.t.Errorf("verify found %+v, want %d sound uploads", v, len(s.stored))
	}
}

// checkTree expects the files of the stored uploads, and no others.
func (s *service) checkTree() {
	s.t.Helper()
	want := make(map[string]int64)
	for _, u := range s.stored {
		want[u.fileName()] = u.size
	}
	err := filepath.WalkDir(s.filesDir(), func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || d.Name() == ".lock" {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if size, ok := want[d.Name()]; !ok || size != info.Size() {
			s.t.Errorf("left over: %s of %d bytes", path, info.Size())
		}
		delete(want, d.Name())
		return nil
	})
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		s.t.Error(err)
	}
	for name := range want {
		s.t.Errorf("not there: %s", name)
	}
}

// checkAccounts expects what the book says of both users together, and of the
// totals.
func (s *service) checkAccounts() {
	s.t.Helper()
	want := admin.User{StoredFiles: int64(len(s.stored)), WaitingSlots: int64(len(s.waiting))}
	for _, u := range s.stored {
		want.StoredBytes += u.size
	}
	for _, u := range s.waiting {
		want.WaitingBytes += u.size
	}
	var got admin.User
	var window int64
	for _, jid := range []string{user, bystander} {
		var u admin.User
		if err := s.API(http.MethodGet, "users/"+jid, &u); err != nil {
			s.t.Error(err)
			continue
		}
		got.StoredFiles += u.StoredFiles
		got.StoredBytes += u.StoredBytes
		got.WaitingSlots += u.WaitingSlots
		got.WaitingBytes += u.WaitingBytes
		for _, w := range u.Bytes {
			window += w.Used
		}
	}
	expectSums(s, "accounts", got, want)
	if used := want.StoredBytes + want.WaitingBytes + s.gone; window != used {
		s.t.Errorf("windows count %d bytes, want %d", window, used)
	}
	var stats admin.User // of the same names
	if err := s.API(http.MethodGet, "stats", &stats); err != nil {
		s.t.Error(err)
	}
	if s.afterCut {
		stats.WaitingSlots, stats.WaitingBytes = want.WaitingSlots, want.WaitingBytes
	}
	expectSums(s, "totals", stats, want)
}

func expectSums(s *service, what string, got, want admin.User) {
	s.t.Helper()
	if got.StoredFiles != want.StoredFiles || got.StoredBytes != want.StoredBytes ||
		got.WaitingSlots != want.WaitingSlots || got.WaitingBytes != want.WaitingBytes {
		s.t.Errorf("%s: %d files of %d bytes, %d slots of %d bytes; want %d of %d, %d of %d", what,
			got.StoredFiles, got.StoredBytes, got.WaitingSlots, got.WaitingBytes,
			want.StoredFiles, want.StoredBytes, want.WaitingSlots, want.WaitingBytes)
	}
}

// shardsThere makes all directories that uploads may go to, as a service has
// them after some time.
func (s *service) shardsThere() {
	const alphabet = "0123456789abcdefghijklmnopqrstuv"
	for _, a := range alphabet {
		for _, b := range alphabet {
			if err := os.MkdirAll(filepath.Join(s.filesDir(), string(a)+string(b)), 0o755); err != nil {
				s.t.Fatal(err)
			}
		}
	}
}
