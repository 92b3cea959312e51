//go:build linux

package hostile

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// crowd is connections to Caddy, each of its own.
type crowd struct {
	*service
	conns []net.Conn
}

// connect opens connections and sends what head tells for each.
func (s *service) connect(n int, head func(i int) string) *crowd {
	s.t.Helper()
	return s.connectTo(s.Addr, n, head)
}

func (s *service) connectTo(addr string, n int, head func(i int) string) *crowd {
	s.t.Helper()
	c := &crowd{service: s, conns: make([]net.Conn, n)}
	s.t.Cleanup(c.close)
	s.must(each(n, func(i int) (err error) {
		if c.conns[i], err = net.Dial("tcp", addr); err != nil {
			return err
		}
		if err := c.conns[i].SetDeadline(time.Now().Add(3 * rig.Patience)); err != nil {
			return err
		}
		_, err = io.WriteString(c.conns[i], head(i))
		return err
	}))
	return c
}

func (c *crowd) close() {
	for _, conn := range c.conns {
		if conn != nil {
			conn.Close()
		}
	}
}

// send sends the same on all; those that Caddy has closed do not mind.
func (c *crowd) send(text string) {
	_ = each(len(c.conns), func(i int) error {
		_, err := io.WriteString(c.conns[i], text)
		return err
	})
}

// expectClosed expects that Caddy closes all of them, after an answer perhaps,
// while trickle is sent.
func (c *crowd) expectClosed(trickle string) {
	c.t.Helper()
	open := c.conns
	rig.Await(c.t, "Caddy to close what does not move", func() bool {
		var still []net.Conn
		for _, conn := range open {
			_, _ = io.WriteString(conn, trickle)
			if !closed(conn) {
				still = append(still, conn)
			}
		}
		open = still
		return len(open) == 0
	})
}

// closed reads what is there, and reports whether that was the last.
func closed(conn net.Conn) bool {
	if err := conn.SetReadDeadline(time.Now().Add(time.Millisecond)); err != nil {
		return true
	}
	_, err := io.Copy(io.Discard, conn)
	return !errors.Is(err, os.ErrDeadlineExceeded)
}

// path is that of a slot's URL.
func (s *service) path(slot rig.Slot) string { return strings.TrimPrefix(slot.Put, "http://"+s.Addr) }

// put is the head of an upload.
func (s *service) put(slot rig.Slot, length string) string {
	return fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: %s\r\n%s\r\n\r\n", s.path(slot), s.Addr, length)
}

func (s *service) get(slot rig.Slot) string {
	return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", s.path(slot), s.Addr)
}

// Connections on which nothing comes, and such as wait for a next request.
func TestIdleConnections(t *testing.T) {
	s := start(t)
	n := many(2000, 10_000)
	s.withstands(300*mib, func(o *others) use {
		c := s.connect(n, func(i int) string {
			if i%2 == 0 {
				return ""
			}
			return fmt.Sprintf("OPTIONS /x HTTP/1.1\r\nHost: %s\r\n\r\n", s.Addr)
		})
		s.must(each(n/2, func(i int) error {
			_, err := http.ReadResponse(bufio.NewReader(c.conns[2*i+1]), nil)
			return err
		}))
		if m := s.measured(); m.descriptors < n {
			t.Errorf("%d descriptors are open, want %d: this test shows nothing", m.descriptors, n)
		}
		o.areServed()
		c.close()
		return use{}
	})
}

// Headers that come byte by byte must come to an end (read_header).
func TestSlowHeaders(t *testing.T) {
	s := start(t)
	s.withstands(200*mib, func(o *others) use {
		c := s.connect(many(500, 5000), func(int) string { return "GET / HTTP/1.1\r\nHost: " + s.Addr + "\r\nX-Slow: " })
		o.areServed()
		c.expectClosed("x")
		o.areServed()
		return use{}
	})
}

// Bodies may come byte by byte, but must come (read_body_idle).
func TestSlowBodies(t *testing.T) {
	s := start(t)
	n := many(300, 3000)
	s.withstands(250*mib, func(o *others) use {
		slots := s.ask(n, 64*kib)
		c := s.connect(n, func(i int) string { return s.put(slots[i], "Content-Length: 65536") })
		for range 3 {
			c.send("x")
			o.areServed()
		}
		if busy := s.measured().busyWith("servePut"); busy < n {
			t.Errorf("%d uploads are under way, want %d: this test shows nothing", busy, n)
		}
		c.expectClosed("")
		return use{Waiting: int64(n), WaitingBytes: int64(n) * 64 * kib}
	})
}

// Downloads must be taken (write_idle).
func TestSlowReaders(t *testing.T) {
	s := start(t)
	n := many(200, 1000)
	const size = 16 * mib // more than the kernel takes off Caddy's hands
	s.withstands(200*mib, func(o *others) use {
		slot := s.store(size)
		c := s.connect(n, func(int) string { return s.get(slot) })
		o.areServed()
		if busy := s.measured().busyWith("serveGet"); busy < n/2 {
			t.Errorf("%d downloads are under way, want %d: this test shows nothing", busy, n)
		}
		rig.Await(t, "Caddy to give up downloads that nobody takes", func() bool {
			return s.measured().busyWith("serveGet") <= 1 // of others
		})
		c.close()
		return use{Files: 1, Bytes: size}
	})
}
