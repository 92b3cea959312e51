//go:build linux

package faults

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const (
	kib = 1 << 10
	mib = 1 << 20

	user      = "user@example.com"
	bystander = "bystander@example.com"
)

// service is a Caddy with one upload service, its client, and the book of what
// the client was told.
type service struct {
	*rig.Caddy
	*rig.Client
	t      *testing.T
	stores string // the directory of both stores

	waiting []upload // granted, and no upload has got 201
	stored  []upload // got 201
	gone    int64    // bytes of what was removed, which windows remember
	// doubtful uploads were being removed when a fault came.
	doubtful []upload
	// halfGone is how much the next clean-up may find to mend.
	halfGone int64
	// afterCut: totals may count slots that a power cut took, until these would
	// have lapsed.
	afterCut bool
	seed     uint64
	// wrapped: the stores are those that can be told to fail.
	wrapped bool
}

// upload is a slot and what belongs into it.
type upload struct {
	rig.Slot
	size int64
	seed uint64
}

// newService has its stores in the directory.
func newService(t *testing.T, stores string) *service {
	t.Helper()
	c := rig.New(t)
	if stores == "" {
		stores = filepath.Join(c.Dir, "stores")
	}
	return &service{Caddy: c, Client: rig.NewClient(t, "http://"+c.Addr), t: t, stores: stores}
}

// start starts Caddy. Clean-up runs once, and then when it is told to.
func (s *service) start() {
	s.t.Helper()
	s.CloseIdle()
	slots, files := "badger", "disk"
	if s.wrapped {
		slots, files = "failing", "failing"
	}
	s.Start(fmt.Sprintf(`http://%s {
	xmpp_upload {
		allow example.com {
			max_total_size 1TiB
			bytes 1TiB per 1d
		}
		slots %s %s
		files %s %s
		put_timeout 1h
		min_free_space 1MiB
		cleanup_interval 1d
	}
}
`, s.Addr, slots, s.slotsDir(), files, s.filesDir()))
}

func (s *service) slotsDir() string { return filepath.Join(s.stores, "slots") }
func (s *service) filesDir() string { return filepath.Join(s.stores, "files") }

// ask takes a slot for size bytes.
func (s *service) ask(jid string, size int64) (upload, error) {
	s.seed++
	u := upload{size: size, seed: s.seed}
	slot, err := s.Slot(s.t.Context(), rig.Ask{JID: jid, Name: "file.dat", Size: size})
	u.Slot = slot
	return u, err
}

// mustAsk takes a slot that must be granted.
func (s *service) mustAsk(size int64) upload { return s.mustAskFor(user, size) }

func (s *service) mustAskFor(jid string, size int64) upload {
	s.t.Helper()
	u, err := s.ask(jid, size)
	if err != nil {
		s.t.Fatal(err)
	}
	s.waiting = append(s.waiting, u)
	return u
}

// send uploads to a slot.
func (s *service) send(u upload) error {
	return s.Put(s.t.Context(), u.Slot.Put, "", u.size, rig.Content(u.seed, u.size))
}

// mustSend is send for what must be stored.
func (s *service) mustSend(u upload) {
	s.t.Helper()
	if err := s.send(u); err != nil {
		s.t.Fatal(err)
	}
	s.nowStored(u)
}

// nowStored notes that the upload got 201.
func (s *service) nowStored(u upload) {
	for i := range s.waiting {
		if s.waiting[i] == u {
			s.waiting = append(s.waiting[:i:i], s.waiting[i+1:]...)
			break
		}
	}
	s.stored = append(s.stored, u)
}

// served returns nil if the file is served byte for byte.
func (s *service) served(u upload) error {
	d, err := s.Download(s.t.Context(), u.Get)
	if err != nil {
		return err
	}
	if d.Size != u.size || d.SHA256 != rig.ContentSHA256(u.seed, u.size) {
		return fmt.Errorf("GET %s: %d bytes, and not those of the upload", u.Get, d.Size)
	}
	return nil
}

// status is that of an answer; 0 is none.
func status(err error) int {
	if err == nil {
		return http.StatusOK
	}
	if refused, ok := errors.AsType[*rig.StatusError](err); ok {
		return refused.Code
	}
	return 0
}

func (u upload) id() string {
	parts := strings.Split(u.Slot.Put, "/")
	return parts[len(parts)-2]
}

// fileName is what the file is called on the disk.
func (u upload) fileName() string {
	return u.id() + "-" + u.Slot.Put[strings.LastIndex(u.Slot.Put, "/")+1:]
}
