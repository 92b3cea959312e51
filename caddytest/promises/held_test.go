package promises

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// heldPut is an upload that goes on only as the test feeds it.
type heldPut struct {
	upload
	content io.Reader
	body    *io.PipeWriter
	done    chan error
}

// begin begins an upload without a byte.
func (s *service) begin(ctx context.Context, u upload) *heldPut {
	r, w := io.Pipe()
	p := &heldPut{upload: u, content: rig.Content(u.seed, u.size), body: w, done: make(chan error, 1)}
	client := s.Client
	go func() {
		p.done <- client.Put(ctx, u.Slot.Put, u.contentType, u.size, r)
		r.Close()
	}()
	return p
}

// hold begins an upload, sends n bytes and returns once Caddy writes them.
func (s *service) hold(u upload, n int64) *heldPut {
	s.t.Helper()
	before := s.parts(u)
	p := s.begin(s.t.Context(), u)
	p.feed(s.t, n)
	rig.Await(s.t, "an upload to begin", func() bool { return s.parts(u) > before })
	return p
}

// parts counts the uploads in flight to the slot.
func (s *service) parts(u upload) (n int) {
	for name := range s.tree() {
		if strings.HasPrefix(name, "."+u.id()+".") && strings.HasSuffix(name, ".part") {
			n++
		}
	}
	return n
}

// feed sends n bytes more.
func (p *heldPut) feed(t *testing.T, n int64) {
	t.Helper()
	if _, err := io.CopyN(p.body, p.content, n); err != nil {
		t.Fatalf("sending %d bytes more: %v, %v", n, err, <-p.done)
	}
}

// finish sends what is left and returns how the upload ended.
func (p *heldPut) finish() error {
	_, _ = io.Copy(p.body, p.content) // if that fails, the answer tells why
	p.body.Close()
	return <-p.done
}

// breakOff ends the upload before its end, as a client does that vanishes.
func (p *heldPut) breakOff() {
	p.body.CloseWithError(io.ErrUnexpectedEOF)
	<-p.done
}

// heldGet is a download that goes on only as the test reads it.
type heldGet struct {
	upload
	body io.ReadCloser
	sum  hash.Hash
	got  int64
}

// holdGet begins a download.
func (s *service) holdGet(u upload) *heldGet {
	s.t.Helper()
	resp, err := s.Get(s.t.Context(), u.Slot.Get, nil)
	if err != nil {
		s.t.Fatal(err)
	}
	return newHeldGet(u, resp.Body)
}

func newHeldGet(u upload, body io.ReadCloser) *heldGet {
	return &heldGet{upload: u, body: body, sum: sha256.New()}
}

// read reads n bytes more.
func (g *heldGet) read(t *testing.T, n int64) {
	t.Helper()
	got, err := io.CopyN(g.sum, g.body, n)
	if g.got += got; err != nil {
		t.Fatalf("reading %d bytes more after %d: %v", n, g.got, err)
	}
}

// finish reads what is left and returns nil if all was right.
func (g *heldGet) finish() error {
	defer g.body.Close()
	got, err := io.Copy(g.sum, g.body)
	if g.got += got; err != nil {
		return fmt.Errorf("after %d bytes: %w", g.got, err)
	}
	if g.got != g.size || hex.EncodeToString(g.sum.Sum(nil)) != rig.ContentSHA256(g.seed, g.size) {
		return fmt.Errorf("%w: %d bytes that are not those of the upload", errWrong, g.got)
	}
	return nil
}
