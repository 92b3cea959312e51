package promises

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// A refusal on HTTP/1.1 comes before the body, with its reason, and at once.
func TestRefusalBeforeTheBody(t *testing.T) {
	t.Parallel()
	const prompt = 2 * time.Second
	s := newService(t)
	s.Start(s.site(limited))
	used, waiting := s.mustStore(1000, 1), s.mustAsk(1<<30, 2)
	unknown, longer, typed := used, waiting, waiting
	unknown.Slot.Put += "x"
	longer.size++
	typed.contentType = "text/html"
	tests := map[string]struct {
		upload
		code   int
		reason string
	}{
		"unknown slot": {unknown, http.StatusForbidden, "there is no such slot"},
		"used slot":    {used, http.StatusConflict, "uploaded to this slot already"},
		"other size":   {longer, http.StatusBadRequest, fmt.Sprintf("the slot is for %d bytes", waiting.size)},
		"other type":   {typed, http.StatusBadRequest, "not for text/html"},
	}
	for name, tt := range tests {
		begun := time.Now()
		continued, err := s.putAfter100(tt.upload)
		if took := time.Since(begun); took > prompt || continued {
			t.Errorf("%s: refused after %s, body wanted: %t; want a refusal at once", name, took, continued)
		}
		s.expectRefused(err, tt.code)
		s.expectReason(err, tt.reason)
	}
}

func (s *service) expectReason(err error, want string) {
	s.t.Helper()
	var refused *rig.StatusError
	if !errors.As(err, &refused) || !strings.Contains(refused.Body, want) {
		s.t.Errorf("got %v, want the reason %q", err, want)
	}
}

// rawPut is an upload over a connection of its own, for clients that break the
// rules.
type rawPut struct {
	*net.TCPConn
	answer *bufio.Reader
}

// dial sends the head of an upload, with these header lines, and what is given
// of the body.
func (s *service) dial(u upload, header, body string) *rawPut {
	s.t.Helper()
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(rig.Patience)); err != nil {
		s.t.Fatal(err)
	}
	path := strings.TrimPrefix(u.Slot.Put, "http://"+s.Addr)
	if _, err := fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n%s", path, s.Addr, header, body); err != nil {
		s.t.Fatal(err)
	}
	return &rawPut{conn.(*net.TCPConn), bufio.NewReader(conn)}
}

// status reads the answer.
func (p *rawPut) status(t *testing.T) (code int, body string) {
	t.Helper()
	resp, err := http.ReadResponse(p.answer, nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

// text is what the clients of these tests upload.
func text(u upload) string {
	b, _ := io.ReadAll(rig.Content(u.seed, u.size)) // from memory
	return string(b)
}

// Whatever a client does to its upload, nothing of it stays, and the slot is
// usable again.
func TestBrokenUploadLeavesNothing(t *testing.T) {
	s := newService(t)
	s.Global = "servers {\ntimeouts {\nread_body_idle 1s\n}\n}"
	s.Start(s.site(limited, "cleanup_interval 1h"))
	const chunked = "Transfer-Encoding: chunked"
	length := func(u upload) string { return fmt.Sprintf("Content-Length: %d", u.size) }
	tests := map[string]struct {
		do     func(u upload) *rawPut // nil: there is no answer to be read
		status int
		code   string // in the log
	}{
		"stalls": {func(u upload) *rawPut {
			return s.dial(u, length(u), text(u)[:500])
		}, http.StatusRequestTimeout, "stalled"},
		"stalls before its first byte": {func(u upload) *rawPut {
			return s.dial(u, length(u), "")
		}, http.StatusRequestTimeout, "stalled"},
		"stalls in the middle of a chunk": {func(u upload) *rawPut {
			return s.dial(u, chunked, "1f4\r\n"+text(u)[:100])
		}, http.StatusRequestTimeout, "stalled"},
		"closes": {func(u upload) *rawPut {
			s.awaitBegun(u, s.dial(u, length(u), text(u)[:500])).Close()
			return nil
		}, http.StatusBadRequest, "client_gone"},
		"closes its half": {func(u upload) *rawPut {
			p := s.awaitBegun(u, s.dial(u, length(u), text(u)[:500]))
			p.CloseWrite()
			return p
		}, http.StatusBadRequest, "client_gone"},
		"resets": {func(u upload) *rawPut {
			p := s.awaitBegun(u, s.dial(u, length(u), text(u)[:500]))
			p.SetLinger(0)
			p.Close()
			return nil
		}, http.StatusBadRequest, "client_gone"},
		"ends its chunks early": {func(u upload) *rawPut {
			return s.dial(u, chunked, fmt.Sprintf("1f4\r\n%s\r\n0\r\n\r\n", text(u)[:500]))
		}, http.StatusBadRequest, "size_mismatch"},
		"goes on after its size": {func(u upload) *rawPut {
			return s.dial(u, chunked, fmt.Sprintf("%x\r\n%s!\r\n0\r\n\r\n", u.size+1, text(u)))
		}, http.StatusBadRequest, "size_mismatch"},
		"sends no chunks": {func(u upload) *rawPut {
			return s.dial(u, chunked, "no chunk\r\n")
		}, http.StatusBadRequest, "client_gone"},
		"announces less": {func(u upload) *rawPut {
			return s.dial(u, "Content-Length: 500", text(u)[:500])
		}, http.StatusBadRequest, "size_mismatch"},
		"announces more": {func(u upload) *rawPut {
			return s.dial(u, "Content-Length: 1001", text(u)+"!")
		}, http.StatusBadRequest, "size_mismatch"},
	}
	var stored []upload
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			u := s.mustAsk(1000, 1)
			before := s.refusals(tt.code)
			if p := tt.do(u); p != nil {
				if code, body := p.status(t); code != tt.status || body == "" {
					t.Errorf("answered %d %q, want %d and the reason", code, body, tt.status)
				}
			}
			rig.Await(t, "the refusal in the log: "+tt.code, func() bool { return s.refusals(tt.code) > before })
			s.expectNotServed(u)
			s.awaitTree(stored...)
			if err := s.send(u); err != nil {
				t.Errorf("using the slot again: %v", err)
			}
			s.expectServed(u)
			stored = append(stored, u)
			s.expectUsed(int64(len(stored)) * 1000)
		})
	}
}

// awaitBegun returns once Caddy writes the upload.
func (s *service) awaitBegun(u upload, p *rawPut) *rawPut {
	s.t.Helper()
	rig.Await(s.t, "an upload to begin", func() bool { return s.parts(u) > 0 })
	return p
}

// refusals counts those with a code in the log.
func (s *service) refusals(code string) (n int) {
	for _, e := range s.Logs() {
		if e.Message == "refused" && strings.Contains(e.Raw, `"code":"`+code+`"`) {
			n++
		}
	}
	return n
}
