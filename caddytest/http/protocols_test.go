package http_test

import (
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/quic-go/quic-go/http3"
	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// serveAllProtocols starts a Caddy with a site over TLS and one without.
func serveAllProtocols(t *testing.T) (c *rig.Caddy, secure string) {
	t.Helper()
	c = rig.New(t)
	secure = "https://" + rig.Loopback(rig.FreePort(t))
	c.Global = "servers {\n protocols h1 h2 h2c h3\n }\n"
	c.Start(fill(c, `
(uploads) {
	xmpp_upload {
		allow *
		STORES
	}
}
`+secure+` {
	tls internal
	import uploads
}
http://ADDR {
	import uploads
}`))
	return c, secure
}

// client returns one that speaks this protocol only.
func client(t *testing.T, c *rig.Caddy, proto string) *http.Client {
	t.Helper()
	if proto == "HTTP/1.1" {
		return plain
	}
	protocols := new(http.Protocols)
	protocols.SetHTTP1(proto == "HTTP/1.1 over TLS")
	protocols.SetHTTP2(proto == "HTTP/2.0 over TLS")
	protocols.SetUnencryptedHTTP2(proto == "HTTP/2.0")
	if proto == "HTTP/2.0" {
		tr := &http.Transport{Protocols: protocols}
		t.Cleanup(tr.CloseIdleConnections)
		return &http.Client{Transport: tr}
	}
	roots := x509.NewCertPool()
	file := filepath.Join(c.Dir, "data", "caddy", "pki", "authorities", "local", "root.crt")
	rig.Await(t, "Caddy's own authority", func() bool {
		pem, _ := os.ReadFile(file)
		return roots.AppendCertsFromPEM(pem)
	})
	if proto == "HTTP/3.0 over TLS" {
		tr := &http3.Transport{TLSClientConfig: &tls.Config{RootCAs: roots}, DisableCompression: true}
		t.Cleanup(func() { _ = tr.Close() })
		return &http.Client{Transport: tr}
	}
	tr := &http.Transport{Protocols: protocols, DisableCompression: true, TLSClientConfig: &tls.Config{RootCAs: roots}}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr}
}

func TestAllProtocols(t *testing.T) {
	c, secure := serveAllProtocols(t)
	for _, proto := range []string{"HTTP/1.1", "HTTP/2.0", "HTTP/1.1 over TLS", "HTTP/2.0 over TLS", "HTTP/3.0 over TLS"} {
		t.Run(proto, func(t *testing.T) {
			base := "http://" + c.Addr
			if strings.HasSuffix(proto, "TLS") {
				base = secure
			}
			client := client(t, c, proto)
			rig.Await(t, "the certificate", func() bool {
				_, err := trySend(t, client, "GET", base+"/", nil)
				return err == nil
			})
			testProtocol(t, client, base, strings.TrimSuffix(proto, " over TLS"))
		})
	}
}

func testProtocol(t *testing.T, client *http.Client, base, proto string) {
	body := bytes.Repeat([]byte("0123456789abcdef"), 100<<10/16)
	ask := func() string {
		q := query("jid", "me@example.com", "name", "a b.png", "size", strconv.Itoa(len(body)), "content_type", "image/png")
		a := sendBy(t, client, "GET", base+"/slot/"+q, nil)
		expectStatus(t, a, 200)
		if a.proto != proto {
			t.Fatalf("spoken is %s, want %s", a.proto, proto)
		}
		put, get, _ := strings.Cut(a.body, "\n")
		if put != get || !strings.HasPrefix(put, base+"/") || !slotURL.MatchString(put) {
			t.Fatalf("slot %q", a.body)
		}
		return put
	}
	put := func(target string, header ...string) answer {
		return sendBy(t, client, "PUT", target, bytes.NewReader(body), header...)
	}
	target := ask()
	expectStatus(t, put(target), 201)
	a := sendBy(t, client, "GET", target, nil)
	expectStatus(t, a, 200)
	if a.body != string(body) || a.length != int64(len(body)) {
		t.Errorf("%d bytes are served, Content-Length %d", len(a.body), a.length)
	}
	a = sendBy(t, client, "GET", target, nil, "Range", "bytes=102390-")
	expectStatus(t, a, 206)
	if a.body != "6789abcdef" {
		t.Errorf("the range is %q", a.body)
	}
	if a = sendBy(t, client, "HEAD", target, nil); a.status != 200 || a.length != int64(len(body)) {
		t.Errorf("HEAD: %d, Content-Length %d", a.status, a.length)
	}
	expectStatus(t, sendBy(t, client, "OPTIONS", target, nil), 204)

	expectRefusal(t, put(target), 409)
	expectRefusal(t, put(target+"x"), 403)
	expectRefusal(t, put(ask(), "Content-Type", "text/html"), 400)
	expectRefusal(t, sendBy(t, client, "PUT", ask(), bytes.NewReader(body[1:])), 400)
	expectRefusal(t, sendBy(t, client, "PUT", ask(), chunked{bytes.NewReader(body[1:])}), 400)
	expectRefusal(t, sendBy(t, client, "PUT", ask(), chunked{bytes.NewReader(append(body, 'x'))}), 400)
	expectRefusal(t, sendBy(t, client, "POST", target, bytes.NewReader(body)), 405)
	expectRefusal(t, sendBy(t, client, "POST", base+"/slot/", bytes.NewReader(body)), 405)
	chunkedTarget := ask()
	expectStatus(t, sendBy(t, client, "PUT", chunkedTarget, chunked{bytes.NewReader(body)}), 201)
	if a = sendBy(t, client, "GET", chunkedTarget, nil); a.body != string(body) {
		t.Errorf("%d bytes are served of a body without a length", len(a.body))
	}
}

// Many clients report a stream reset instead of the answer that came before.
func TestRefusedPutIsNotResetOnHTTP2(t *testing.T) {
	c, _ := serveAllProtocols(t)
	base := "http://" + c.Addr
	used := uploaded(t, base, "a.bin", "", "x")
	for _, tc := range []struct {
		what, target, contentType string
		size, status              int
		code                      string
	}{
		{"unknown slot", base + "/" + strings.Repeat("0", 35) + "/a", "", 100 << 10, 403, "unknown_slot"},
		{"used slot", used, "", 100 << 10, 409, "slot_used"},
		{"other size", slot(t, base, "a", 5), "", 100 << 10, 400, "size_mismatch"},
		{"other type", slot(t, base, "a", 100<<10, "content_type", "image/png"), "text/html", 100 << 10, 400, "type_mismatch"},
		{"as much as is drained", used, "", 256 << 10, 409, "slot_used"},
		{"accepted", slot(t, base, "a", 100<<10), "", 100 << 10, 201, ""},
	} {
		t.Run(tc.what, func(t *testing.T) {
			h := dialHTTP2(t, c.Addr)
			before := countLogged(c, tc.code)
			h.putBegin(strings.TrimPrefix(tc.target, base), tc.contentType, tc.size)
			if tc.code != "" {
				expectLogged(t, c, tc.code, before+1) // it has been decided before the body is at its end
			}
			h.putEnd(tc.size)
			status, reset := h.answer()
			if status != strconv.Itoa(tc.status) || reset != "" {
				t.Errorf("answered %s, then %q, want %d and no reset", status, reset, tc.status)
			}
		})
	}
}

// framed is a connection of bare HTTP/2 frames, on which nothing that a server
// sends is hidden by a patient client.
type framed struct {
	t      *testing.T
	framer *http2.Framer
	addr   string
}

func dialHTTP2(t *testing.T, addr string) *framed {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(rig.Patience)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprint(conn, http2.ClientPreface)
	f := http2.NewFramer(conn, conn)
	f.ReadMetaHeaders = hpack.NewDecoder(4096, nil)
	h := &framed{t: t, framer: f, addr: addr}
	h.check(f.WriteSettings())
	return h
}

func (h *framed) check(err error) {
	h.t.Helper()
	if err != nil {
		h.t.Fatal(err)
	}
}

const firstPart = 10_000

// putBegin begins a PUT of size bytes. It fits the windows that Go's server opens
// at first.
func (h *framed) putBegin(path, contentType string, size int) {
	h.t.Helper()
	h.awaitSettings()
	var block bytes.Buffer
	e := hpack.NewEncoder(&block)
	for _, f := range [][2]string{{":method", "PUT"}, {":scheme", "http"}, {":authority", h.addr}, {":path", path}, {"content-length", strconv.Itoa(size)}, {"content-type", contentType}} {
		h.check(e.WriteField(hpack.HeaderField{Name: f[0], Value: f[1]}))
	}
	h.check(h.framer.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: block.Bytes(), EndHeaders: true}))
	h.check(h.framer.WriteData(1, false, make([]byte, firstPart)))
}

// putEnd sends the rest of the body.
func (h *framed) putEnd(size int) {
	h.t.Helper()
	for size -= firstPart; size > 0; {
		n := min(size, 16<<10)
		size -= n
		h.check(h.framer.WriteData(1, size == 0, make([]byte, n)))
	}
}

// awaitSettings returns when the server has opened the connection's window.
func (h *framed) awaitSettings() {
	h.t.Helper()
	for {
		frame, err := h.framer.ReadFrame()
		h.check(err)
		if update, ok := frame.(*http2.WindowUpdateFrame); ok && update.StreamID == 0 {
			return
		}
	}
}

// answer returns the status, and with which error the stream was reset, if it
// was: the answer to a ping comes after all that the server had to say.
func (h *framed) answer() (status, reset string) {
	h.t.Helper()
	for {
		frame, err := h.framer.ReadFrame()
		h.check(err)
		switch f := frame.(type) {
		case *http2.MetaHeadersFrame:
			status = f.PseudoValue("status")
		case *http2.RSTStreamFrame:
			return status, f.ErrCode.String()
		case *http2.PingFrame:
			if f.IsAck() {
				return status, ""
			}
		}
		if s := frame.Header(); s.StreamID == 1 && s.Flags.Has(http2.FlagDataEndStream) && (s.Type == http2.FrameData || s.Type == http2.FrameHeaders) {
			h.check(h.framer.WritePing(false, [8]byte{}))
		}
	}
}
