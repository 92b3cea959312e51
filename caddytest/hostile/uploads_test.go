//go:build linux

package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// bodyOf is what the attacker uploads.
func bodyOf(size int64) string {
	b, _ := io.ReadAll(rig.Content(1, size)) // from memory
	return string(b)
}

// answer reads the status of the next answer, 0 if there is none.
func answer(r io.Reader) int {
	resp, err := http.ReadResponse(bufio.NewReader(r), nil)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// Chunks of one byte each are slow, and right.
func TestTinyChunks(t *testing.T) {
	s := start(t)
	const size = 16 * kib
	n := many(50, 300)
	s.withstands(200*mib, func(*others) use {
		slots := s.ask(n, size)
		var body strings.Builder
		for _, b := range []byte(bodyOf(size)) {
			fmt.Fprintf(&body, "1\r\n%c\r\n", 'a'+b%26)
		}
		body.WriteString("0\r\n\r\n")
		c := s.connect(n, func(i int) string { return s.put(slots[i], "Transfer-Encoding: chunked") + body.String() })
		s.must(each(n, func(i int) error {
			if got := answer(c.conns[i]); got != http.StatusCreated {
				return fmt.Errorf("answered %d, want 201", got)
			}
			return nil
		}))
		c.close()
		return use{Files: int64(n), Bytes: int64(n) * size}
	})
}

// Who sends without end is stopped soon after the size of the slot.
func TestBodiesWithoutEnd(t *testing.T) {
	s := start(t)
	const size = 1000
	// Caddy reads some before it refuses, and the kernel has buffers.
	const most = 16 * mib
	n := many(20, 200)
	s.withstands(200*mib, func(o *others) use {
		slots := s.ask(n, size)
		chunk := fmt.Sprintf("%x\r\n%s\r\n", 64*kib, strings.Repeat("a", 64*kib))
		c := s.connect(n, func(i int) string { return s.put(slots[i], "Transfer-Encoding: chunked") })
		s.must(each(n, func(i int) error {
			for sent := 0; sent < most; sent += len(chunk) {
				if _, err := io.WriteString(c.conns[i], chunk); err != nil {
					return nil // as it should be
				}
			}
			return fmt.Errorf("%d MiB were taken for a slot of %d bytes", most/mib, size)
		}))
		o.areServed()
		return use{Waiting: int64(n), WaitingBytes: int64(n) * size}
	})
}

// What follows after the announced length is no part of the upload.
func TestMoreThanTheLength(t *testing.T) {
	s := start(t)
	const size = 1000
	n := many(50, 500)
	s.withstands(200*mib, func(*others) use {
		slots := s.ask(n, size)
		c := s.connect(n, func(i int) string {
			return s.put(slots[i], "Content-Length: 1000") + bodyOf(size) + strings.Repeat("junk", 1000)
		})
		s.must(each(n, func(i int) error {
			r := bufio.NewReader(c.conns[i])
			resp, err := http.ReadResponse(r, nil)
			if err != nil || resp.StatusCode != http.StatusCreated {
				return fmt.Errorf("%v, %w, want 201", resp, err)
			}
			resp.Body.Close()
			if got := answer(r); got != http.StatusBadRequest {
				return fmt.Errorf("junk was answered with %d, want 400", got)
			}
			return nil
		}))
		s.must(each(n, func(i int) error {
			d, err := s.Download(t.Context(), slots[i].Get)
			if err == nil && d.SHA256 != rig.ContentSHA256(1, size) {
				err = fmt.Errorf("%s has other bytes", slots[i].Get)
			}
			return err
		}))
		c.close()
		return use{Files: int64(n), Bytes: int64(n) * size}
	})
}

// Of a thousand uploads to one slot one wins.
func TestManyUploadsToOneSlot(t *testing.T) {
	s := startPatient(t, rig.Patience)
	const size = 64 * kib
	n := many(500, 3000)
	s.withstands(300*mib, func(o *others) use {
		slot, body := s.ask(1, size)[0], bodyOf(size)
		c := s.connect(n, func(int) string { return s.put(slot, "Content-Length: 65536") + body[:size-1] })
		rig.Await(t, "all uploads to begin", func() bool {
			return s.measured().busyWith("servePut") >= n
		})
		o.areServed()
		var won, lost atomic.Int64
		s.must(each(n, func(i int) error {
			if _, err := io.WriteString(c.conns[i], body[size-1:]); err != nil {
				return err
			}
			switch got := answer(c.conns[i]); got {
			case http.StatusCreated:
				won.Add(1)
			case http.StatusConflict:
				lost.Add(1)
			default:
				return fmt.Errorf("answered %d, want 201 or 409", got)
			}
			return nil
		}))
		if won.Load() != 1 {
			t.Errorf("%d uploads were stored, %d not, want 1 to be", won.Load(), lost.Load())
		}
		c.close()
		return use{Files: 1, Bytes: size}
	})
}

// What is deleted while it is uploaded comes to nothing.
func TestDeletedAmidUploads(t *testing.T) {
	s := startPatient(t, rig.Patience)
	const size = 64 * kib
	n := many(200, 2000)
	s.withstands(300*mib, func(o *others) use {
		slots, body := s.ask(n, size), bodyOf(size)
		c := s.connect(n, func(i int) string { return s.put(slots[i], "Content-Length: 65536") + body[:size-1] })
		rig.Await(t, "all uploads to begin", func() bool { return s.measured().busyWith("servePut") >= n })
		var removed struct{ Slots, Files int }
		s.api(http.MethodDelete, "users/"+attacker, &removed)
		if removed.Slots != n || removed.Files != 0 {
			t.Errorf("%+v were removed, want %d slots", removed, n)
		}
		s.must(each(n, func(i int) error {
			if _, err := io.WriteString(c.conns[i], body[size-1:]); err != nil {
				return err
			}
			if got := answer(c.conns[i]); got != http.StatusForbidden {
				return fmt.Errorf("answered %d, want 403", got)
			}
			return nil
		}))
		o.areServed()
		c.close()
		return use{}
	})
}
