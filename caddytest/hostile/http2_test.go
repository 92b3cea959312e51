//go:build linux

package hostile

import (
	"bytes"
	"cmp"
	"crypto/tls"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// maxStreams is how many streams Caddy allows on a connection at once.
const maxStreams = 250

// http2Bound is what connections may cost. Each may have 250 requests that are
// served, with their buffers, and 1,000 that wait after their streams were reset.
func http2Bound(conns int) int64 {
	const idle, each = 150 * mib, 30 * mib
	return idle + int64(conns)*each
}

// framed is a connection of bare HTTP/2 frames, whose answers are counted.
type framed struct {
	net.Conn
	*http2.Framer
	scheme string
	addr   string
	block  bytes.Buffer
	enc    *hpack.Encoder
	resets atomic.Int64 // streams that Caddy reset
	heads  atomic.Int64 // answers
	// answered is closed with the first answer, closed with the connection.
	answered, closed chan struct{}
}

// dialHTTP2 connects; what Caddy sends is read unless it shall wait.
func (s *service) dialHTTP2(read bool, settings ...http2.Setting) (*framed, error) {
	conn, err := net.Dial("tcp", cmp.Or(s.secure, s.Addr))
	if err != nil {
		return nil, err
	}
	s.t.Cleanup(func() { conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(rig.Patience)); err != nil {
		return nil, err
	}
	scheme := "http"
	if s.secure != "" {
		scheme, conn = "https", tls.Client(conn, s.tlsFor("h2"))
	}
	f := &framed{Conn: conn, Framer: http2.NewFramer(conn, conn), scheme: scheme, addr: cmp.Or(s.secure, s.Addr), answered: make(chan struct{}), closed: make(chan struct{})}
	f.enc = hpack.NewEncoder(&f.block)
	f.AllowIllegalWrites = true
	if _, err := io.WriteString(conn, http2.ClientPreface); err != nil {
		return nil, err
	}
	if err := f.WriteSettings(settings...); err != nil {
		return nil, err
	}
	if read {
		go f.readAll()
	}
	return f, nil
}

func (f *framed) readAll() {
	defer close(f.closed)
	for {
		frame, err := f.ReadFrame()
		if err != nil {
			return
		}
		switch frame.(type) {
		case *http2.HeadersFrame:
			if f.heads.Add(1) == 1 {
				close(f.answered)
			}
		case *http2.RSTStreamFrame:
			f.resets.Add(1)
		}
	}
}

// request begins the n-th stream of the connection.
func (f *framed) request(n int, method, path string, end bool, more ...string) error {
	f.block.Reset()
	fields := append([]string{":method", method, ":scheme", f.scheme, ":authority", f.addr, ":path", path}, more...)
	for i := 0; i < len(fields); i += 2 {
		if err := f.enc.WriteField(hpack.HeaderField{Name: fields[i], Value: fields[i+1]}); err != nil {
			return err
		}
	}
	return f.WriteHeaders(http2.HeadersFrameParam{StreamID: stream(n), BlockFragment: f.block.Bytes(), EndHeaders: true, EndStream: end})
}

func stream(n int) uint32 { return uint32(2*n + 1) }

// flood connects some times and sends frames until Caddy closes, or all are
// sent; it returns how many connections Caddy closed.
func (s *service) flood(conns, frames int, read bool, send func(f *framed, i int) error) int {
	s.t.Helper()
	var closed atomic.Int64
	s.must(each(conns, func(int) error {
		f, err := s.dialHTTP2(read)
		if err != nil {
			return err
		}
		defer f.Close()
		for i := range frames {
			if err := send(f, i); err != nil {
				closed.Add(1)
				return nil
			}
		}
		if read {
			select {
			case <-f.closed:
				closed.Add(1)
			case <-time.After(stall):
			}
		}
		return nil
	}))
	return int(closed.Load())
}

// overHTTP2 attacks on HTTP/2 without TLS, and with it.
func overHTTP2(t *testing.T, attack func(t *testing.T, start func(*testing.T) *service)) {
	t.Helper()
	t.Run("h2c", func(t *testing.T) {
		attack(t, func(t *testing.T) *service { return start(t) })
	})
	t.Run("h2", func(t *testing.T) {
		attack(t, func(t *testing.T) *service { return startSecure(t, "h2") })
	})
}

// Streams that are begun and reset at once, faster than they can be served.
func TestHTTP2RapidReset(t *testing.T) { overHTTP2(t, rapidReset) }

func rapidReset(t *testing.T, start func(*testing.T) *service) {
	s := start(t)
	conns := many(8, 32)
	s.withstands(http2Bound(conns), func(o *others) use {
		file := s.store(mib)
		closed := s.flood(conns, many(5000, 20_000), true, func(f *framed, i int) error {
			if err := f.request(i, http.MethodGet, s.path(file), true); err != nil {
				return err
			}
			return f.WriteRSTStream(stream(i), http2.ErrCodeCancel)
		})
		t.Logf("%d of %d connections were closed", closed, conns)
		o.areServed()
		return use{Files: 1, Bytes: mib}
	})
}

// Headers that do not end.
func TestHTTP2ContinuationFlood(t *testing.T) {
	s := start(t)
	conns := many(16, 128)
	junk := bytes.Repeat([]byte{0x00, 0x01, 'a', 0x01, 'b'}, 3000) // a: b
	s.withstands(200*mib, func(o *others) use {
		closed := s.flood(conns, 5000, true, func(f *framed, i int) error {
			if i == 0 {
				return f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: junk})
			}
			return f.WriteContinuation(1, false, junk)
		})
		if closed != conns {
			t.Errorf("%d of %d connections were closed, want all", closed, conns)
		}
		o.areServed()
		return use{}
	})
}

// Frames that want answers which nobody reads.
func TestHTTP2ControlFrameFloods(t *testing.T) {
	for name, send := range map[string]func(f *framed, i int) error{
		"SETTINGS": func(f *framed, _ int) error {
			return f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1000})
		},
		"PING":          func(f *framed, _ int) error { return f.WritePing(false, [8]byte{}) },
		"WINDOW_UPDATE": func(f *framed, _ int) error { return f.WriteWindowUpdate(0, 1<<30) },
		"empty DATA":    func(f *framed, _ int) error { return f.WriteData(1, false, nil) },
		"PRIORITY": func(f *framed, i int) error {
			return f.WritePriority(stream(i), http2.PriorityParam{Weight: 1})
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t)
			conns := many(8, 32)
			s.withstands(200*mib, func(o *others) use {
				closed := s.flood(conns, 200_000, false, func(f *framed, i int) error {
					_ = f.SetWriteDeadline(time.Now().Add(stall)) // Caddy may just stop to read
					return send(f, i)
				})
				t.Logf("%d of %d connections were closed or stopped", closed, conns)
				o.areServed()
				return use{}
			})
		})
	}
}

// Uploads that are begun, as many as a connection may have, get some bytes of
// their bodies, and never go on. More than that are refused.
func TestHTTP2TricklingUploads(t *testing.T) { overHTTP2(t, tricklingUploads) }

func tricklingUploads(t *testing.T, start func(*testing.T) *service) {
	waits(t)
	s := start(t)
	conns, size := many(4, 10), int64(64*kib)
	s.withstands(300*mib, func(o *others) use {
		slot := s.ask(1, size)[0]
		var all []*framed
		for range conns {
			f, err := s.dialHTTP2(true)
			s.must(err)
			all = append(all, f)
			for i := range maxStreams + 50 {
				s.must(f.request(i, http.MethodPut, s.path(slot), false, "content-length", strconv.FormatInt(size, 10)))
			}
		}
		rig.Await(t, "uploads to begin", func() bool { return s.measured().busyWith("servePut") >= conns*maxStreams })
		for range 3 {
			for _, f := range all {
				for i := range maxStreams {
					s.must(f.WriteData(stream(i), false, []byte("x")))
				}
			}
			o.areServed()
		}
		for _, f := range all {
			rig.Await(t, "all streams to be answered or reset", func() bool {
				return f.heads.Load() >= maxStreams && f.resets.Load() >= 50
			})
			f.Close()
		}
		return use{Waiting: 1, WaitingBytes: size}
	})
}

// Downloads whose windows stay closed are given up (write_idle).
func TestHTTP2ClosedWindows(t *testing.T) { overHTTP2(t, closedWindows) }

func closedWindows(t *testing.T, start func(*testing.T) *service) {
	waits(t)
	s := start(t)
	conns := many(4, 20)
	s.withstands(http2Bound(conns), func(o *others) use {
		file := s.store(mib)
		for range conns {
			f, err := s.dialHTTP2(true, http2.Setting{ID: http2.SettingInitialWindowSize, Val: 0})
			s.must(err)
			defer f.Close()
			for i := range maxStreams {
				s.must(f.request(i, http.MethodGet, s.path(file), true))
			}
		}
		rig.Await(t, "downloads to begin", func() bool { return s.measured().busyWith("serveGet") >= conns*maxStreams })
		o.areServed()
		rig.Await(t, "Caddy to give up downloads that nobody takes", func() bool {
			return s.measured().busyWith("serveGet") <= 1 // of others
		})
		return use{Files: 1, Bytes: mib}
	})
}

// A header of 1 MiB is refused on HTTP/2 too: with an answer, or the end of the
// connection.
func TestHTTP2LongHeader(t *testing.T) {
	s := start(t)
	const frame = 16 * kib
	s.withstands(200*mib, func(o *others) use {
		s.must(each(many(32, 200), func(int) error {
			f, err := s.dialHTTP2(true)
			if err != nil {
				return err
			}
			defer f.Close()
			if err := f.enc.WriteField(hpack.HeaderField{Name: "x-long", Value: strings.Repeat("a", mib)}); err != nil {
				return err
			}
			err = f.WriteHeaders(http2.HeadersFrameParam{StreamID: 1, BlockFragment: f.block.Next(frame)})
			for err == nil && f.block.Len() > 0 {
				block := f.block.Next(frame)
				err = f.WriteContinuation(1, f.block.Len() == 0, block) // it may be refused before its end
			}
			select {
			case <-f.closed:
			case <-f.answered:
			}
			return nil
		}))
		o.areServed()
		return use{}
	})
}
