//go:build linux

package hostile

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"regexp"
	"strconv"
	"sync/atomic"
	"testing"
	"time"

	"github.com/quic-go/quic-go"
	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const (
	// maxQUICStreams is how many requests at once quic-go allows on a
	// connection.
	maxQUICStreams = 100
	// quicIdle is after how long quic-go shall forget a connection that went
	// silent: the least that a client may ask for. Without asking it is 30 s.
	quicIdle = 5 * time.Second
)

// quicConn is a connection of HTTP/3 with a socket of its own.
type quicConn struct {
	*quic.Conn
	*http3.ClientConn
	service *service
	socket  net.PacketConn
}

// dialQUIC connects. Of an answer at most window bytes are taken unread.
func (s *service) dialQUIC(window uint64) (*quicConn, error) {
	socket, err := net.ListenPacket("udp", rig.Loopback(0))
	if err != nil {
		return nil, err
	}
	to, err := net.ResolveUDPAddr("udp", s.secure)
	if err != nil {
		return nil, errors.Join(err, socket.Close())
	}
	tr := &quic.Transport{Conn: socket}
	ctx, cancel := context.WithTimeout(s.t.Context(), rig.Patience)
	defer cancel()
	conn, err := tr.Dial(ctx, to, s.tlsFor(http3.NextProtoH3), &quic.Config{
		HandshakeIdleTimeout:           rig.Patience,
		MaxIdleTimeout:                 quicIdle,
		KeepAlivePeriod:                quicIdle / 5,
		InitialStreamReceiveWindow:     window,
		MaxStreamReceiveWindow:         window,
		InitialConnectionReceiveWindow: mib,
	})
	if err != nil {
		return nil, errors.Join(err, tr.Close(), socket.Close())
	}
	s.t.Cleanup(func() {
		_ = conn.CloseWithError(0, "")
		_ = tr.Close()
		socket.Close()
	})
	return &quicConn{conn, (&http3.Transport{}).NewClientConn(conn), s, socket}, nil
}

// dialQUICs connects some times.
func (s *service) dialQUICs(n int, window uint64) []*quicConn {
	s.t.Helper()
	conns := make([]*quicConn, n)
	s.must(each(n, func(i int) (err error) {
		conns[i], err = s.dialQUIC(window)
		return err
	}))
	return conns
}

// end ends the connections, as a client that closes them.
func end(conns []*quicConn) {
	for _, c := range conns {
		_ = c.Conn.CloseWithError(0, "")
	}
}

// request begins a request; size is that of a body that may follow.
func (c *quicConn) request(method, path string, size int64) (*http3.RequestStream, error) {
	req, err := http.NewRequestWithContext(c.service.t.Context(), method, "https://"+c.service.secure+path, nil)
	if err != nil {
		return nil, err
	}
	if size > 0 {
		req.ContentLength, req.Body = size, http.NoBody
		req.Header.Set("Content-Length", fmt.Sprint(size))
	}
	str, err := c.OpenRequestStream(req.Context())
	if err != nil {
		return nil, err
	}
	return str, str.SendRequestHeader(req)
}

// requests begins the same request on many streams of each connection.
func (s *service) requests(conns []*quicConn, streams int, method, path string, size int64) [][]*http3.RequestStream {
	s.t.Helper()
	all := make([][]*http3.RequestStream, len(conns))
	s.must(each(len(conns), func(i int) error {
		for range streams {
			str, err := conns[i].request(method, path, size)
			if err != nil {
				return err
			}
			all[i] = append(all[i], str)
		}
		return nil
	}))
	return all
}

// Requests that stop in their header are held by no timeout of Caddy's. They
// are gone with the connection: soon after the client is.
func TestHTTP3HalfRequests(t *testing.T) {
	waits(t)
	s := startSecure(t, "h3")
	conns, streams := many(100, 200), many(10, maxQUICStreams)
	s.withstands(int64(many(250, 1500))*mib, func(o *others) use {
		all := s.dialQUICs(conns, kib)
		s.must(each(conns, func(i int) error {
			for range streams {
				str, err := all[i].OpenStream()
				if err != nil {
					return err
				}
				// 10 of the 15 KiB that a HEADERS frame announces
				if _, err := str.Write(append([]byte{0x01, 0x7c, 0x00}, make([]byte, 10*kib)...)); err != nil {
					return err
				}
			}
			return nil
		}))
		rig.Await(t, "requests to begin", func() bool {
			return s.measured().in("http3.(*RawServerConn).handleRequestStream") >= conns*streams
		})
		o.areServed()
		abandon(all)
		return use{}
	})
}

// abandon ends the sockets of connections: Caddy isn't told.
func abandon(conns []*quicConn) {
	for _, c := range conns {
		c.socket.Close()
	}
}

// Requests that are taken back at once, faster than they can be served.
func TestHTTP3RapidReset(t *testing.T) {
	s := startSecure(t, "h3")
	conns, requests := many(8, 32), many(500, 5000)
	s.withstands(250*mib, func(o *others) use {
		file := s.store(mib)
		all := s.dialQUICs(conns, kib)
		var refused atomic.Int64
		s.must(each(conns, func(i int) error {
			for n := range requests {
				str, err := all[i].request(http.MethodGet, s.path(file), 0)
				if err != nil {
					refused.Add(1)
					return nil // Caddy has had enough
				}
				if n%2 == 0 {
					_ = str.Close() // the request is whole, only its answer is not wanted
				} else {
					str.CancelWrite(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
				}
				str.CancelRead(quic.StreamErrorCode(http3.ErrCodeRequestCanceled))
			}
			return nil
		}))
		t.Logf("%d of %d connections were closed", refused.Load(), conns)
		if n := s.downloads(); n < conns*requests/4 {
			t.Errorf("%d downloads were begun, want %d: this test shows nothing", n, conns*requests/4)
		}
		o.areServed()
		end(all)
		return use{Files: 1, Bytes: mib}
	})
}

// Uploads of which nothing comes any more are given up (read_body_idle), and
// answered.
func TestHTTP3StalledUploads(t *testing.T) {
	waits(t)
	s := startSecure(t, "h3")
	conns, size := many(4, 30), int64(64*kib)
	s.withstands(int64(many(300, 500))*mib, func(o *others) use {
		slot := s.ask(1, size)[0]
		all := s.dialQUICs(conns, kib)
		streams := s.requests(all, maxQUICStreams, http.MethodPut, s.path(slot), size)
		rig.Await(t, "uploads to begin", func() bool { return s.measured().busyWith("servePut") >= conns*maxQUICStreams })
		for range 3 {
			for _, of := range streams {
				for _, str := range of {
					_, _ = str.Write([]byte("x")) // on a slow machine it may have stalled
				}
			}
			o.areServed()
		}
		s.must(each(conns, func(i int) error {
			for _, str := range streams[i] {
				resp, err := str.ReadResponse()
				if err != nil || resp.StatusCode != http.StatusRequestTimeout {
					return fmt.Errorf("answered %v, %w, want 408", resp, err)
				}
			}
			return nil
		}))
		end(all)
		return use{Waiting: 1, WaitingBytes: size}
	})
}

// Downloads that nobody reads are given up (write_idle).
func TestHTTP3ClosedWindows(t *testing.T) {
	waits(t)
	s := startSecure(t, "h3")
	conns := many(4, 30)
	s.withstands(int64(many(300, 700))*mib, func(o *others) use {
		file := s.store(mib)
		all := s.dialQUICs(conns, kib)
		streams := s.requests(all, maxQUICStreams, http.MethodGet, s.path(file), 0)
		rig.Await(t, "downloads to begin", func() bool { return s.measured().busyWith("serveGet") >= conns*maxQUICStreams })
		o.areServed()
		rig.Await(t, "Caddy to give up downloads that nobody takes", func() bool {
			return s.measured().busyWith("serveGet") <= 1 // of others
		})
		for _, str := range streams[0] {
			if resp, err := str.ReadResponse(); err == nil {
				if n, err := io.Copy(io.Discard, resp.Body); err == nil {
					t.Fatalf("%d of %d bytes were sent as if they were all", n, resp.ContentLength)
				}
			}
		}
		end(all)
		return use{Files: 1, Bytes: mib}
	})
}

// Clients that vanish amid uploads and downloads.
func TestHTTP3AbandonedConnections(t *testing.T) {
	waits(t)
	s := startSecure(t, "h3")
	conns, size := many(15, 40), int64(64*kib)
	const streams = 20
	s.withstands(400*mib, func(o *others) use {
		file, slot := s.store(mib), s.ask(1, size)[0]
		all := s.dialQUICs(conns, kib)
		uploads := s.requests(all, streams/2, http.MethodPut, s.path(slot), size)
		for _, of := range uploads {
			for _, str := range of {
				_, _ = str.Write(make([]byte, 10*kib)) // on a slow machine it may have stalled
			}
		}
		s.requests(all, streams/2, http.MethodGet, s.path(file), 0)
		rig.Await(t, "transfers to begin", func() bool {
			m := s.measured()
			return m.busyWith("servePut") >= conns*streams/2 && m.busyWith("serveGet") >= conns*streams/2
		})
		abandon(all)
		o.areServed()
		return use{Files: 1, Bytes: mib, Waiting: 1, WaitingBytes: size}
	})
}

// What is no QUIC, or only looks like it.
func TestHTTP3GarbagePackets(t *testing.T) {
	s := startSecure(t, "h3")
	const v1 = "\x00\x00\x00\x01"
	heads := []string{
		"",     // anything
		"\x40", // of a connection that is unknown
		"\xc0" + v1 + "\x08abcdefgh\x00\x00\x44\xb0", // an Initial that can't be opened
		"\xc0\x1a\x2a\x3a\x4a\x08abcdefgh\x00",       // a version that is unknown
		"\xd0" + v1 + "\x08abcdefgh\x00\x44\xb0",     // 0-RTT without a connection
		"\xe0" + v1 + "\x08abcdefgh\x00\x44\xb0",     // a handshake without one
		"\xc0" + v1 + "\xff",                         // a connection ID that is too long
	}
	n := many(20_000, 1_000_000)
	s.withstands(200*mib, func(o *others) use {
		const sockets = 32
		s.must(each(sockets, func(i int) error {
			conn, err := net.Dial("udp", s.secure)
			if err != nil {
				return err
			}
			defer conn.Close()
			rnd := rand.NewChaCha8([32]byte{byte(i)})
			for k := range n / sockets {
				packet := make([]byte, 1200)
				_, _ = rnd.Read(packet)
				head := heads[k%len(heads)]
				copy(packet, head)
				if len(head) > 6 { // each with another connection ID
					copy(packet[6:14], packet[1000:])
				}
				if _, err := conn.Write(packet); err != nil {
					return err
				}
			}
			return nil
		}))
		o.areServed()
		return use{}
	})
}

// deaf is a socket that loses all that comes, and after the first of it sends
// nothing any more.
type deaf struct {
	net.PacketConn
	mute  atomic.Bool
	heard context.CancelFunc
}

func (d *deaf) ReadFrom(p []byte) (n int, from net.Addr, err error) {
	for err == nil {
		if n, from, err = d.PacketConn.ReadFrom(p); err == nil {
			d.mute.Store(true)
			d.heard()
		}
	}
	return n, from, err
}

func (d *deaf) WriteTo(p []byte, to net.Addr) (int, error) {
	if d.mute.Load() {
		return len(p), nil
	}
	return d.PacketConn.WriteTo(p, to)
}

// Handshakes that are begun from many ports and never finished.
func TestHTTP3HandshakesWithoutEnd(t *testing.T) {
	waits(t)
	s := startSecure(t, "h3")
	n := many(300, 3000)
	s.withstands(int64(many(300, 900))*mib, func(o *others) use {
		to, err := net.ResolveUDPAddr("udp", s.secure)
		s.must(err)
		s.must(each(n, func(int) error {
			socket, err := net.ListenPacket("udp", rig.Loopback(0))
			if err != nil {
				return err
			}
			defer socket.Close()
			ctx, cancel := context.WithTimeout(t.Context(), rig.Patience)
			defer cancel()
			if _, err := quic.Dial(ctx, &deaf{PacketConn: socket, heard: cancel}, to, s.tlsFor(http3.NextProtoH3), nil); !errors.Is(err, context.Canceled) {
				return fmt.Errorf("a handshake ended with %w, want no end", err)
			}
			return nil
		}))
		// quic-go waits for each of them 5 s; on a slow machine, some have ended.
		if waiting := s.measured().in("quic-go.(*Conn).run"); waiting < min(n, 300)/4 {
			t.Errorf("%d of %d handshakes wait: this test shows nothing", waiting, n)
		}
		o.areServed()
		return use{}
	})
}

// downloads is how many requests for a file were served, to whatever end.
func (s *service) downloads() (n int) {
	s.t.Helper()
	resp, err := http.Get("http://" + s.Admin + "/metrics")
	s.must(err)
	defer resp.Body.Close()
	text, err := io.ReadAll(resp.Body)
	s.must(err)
	for _, line := range downloadsTotal.FindAllSubmatch(text, -1) {
		of, err := strconv.Atoi(string(line[1]))
		s.must(err)
		n += of
	}
	return n
}

var downloadsTotal = regexp.MustCompile(`(?m)^caddy_xmpp_upload_downloads_total\{.*\} (\d+)$`)
