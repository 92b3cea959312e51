package main

import (
	"bytes"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// load is a number of keep-alive connections that send one HTTP/1.1 request
// after another. It does as little as it can, since it shares the cores with
// the server.
type load struct {
	addr  string
	tls   bool
	conns int
	// count requests are sent or, if it is 0, as many as fit into time.
	count int
	time  time.Duration
	// request returns the parts of the i-th request.
	request func(i int) net.Buffers
	// status that every answer must have.
	status int
	// answer, if not nil, is called with the body of the i-th answer.
	answer func(i int, body []byte)
}

// measured is what a load reached.
type measured struct {
	perSecond float64
	latencies []time.Duration // in their order
}

// at returns the latency in ms that a part of the requests kept below.
func (m measured) at(part float64) float64 {
	i := min(int(part*float64(len(m.latencies))), len(m.latencies)-1)
	return milliseconds(m.latencies[i])
}

func milliseconds(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func rate(m measured) float64 { return m.perSecond }
func p50(m measured) float64  { return m.at(0.5) }
func p99(m measured) float64  { return m.at(0.99) }

func (l load) run() (measured, error) {
	conns, err := l.dial()
	if err != nil {
		return measured{}, err
	}
	var (
		next      atomic.Int64
		wg        sync.WaitGroup
		latencies = make([][]time.Duration, len(conns))
		errs      = make([]error, len(conns))
		start     = time.Now()
	)
	for c, conn := range conns {
		wg.Go(func() {
			defer conn.Close()
			for now := start; ; {
				i := int(next.Add(1)) - 1
				if l.count > 0 && i >= l.count || l.count == 0 && now.Sub(start) >= l.time {
					return
				}
				if errs[c] = l.exchange(conn, i); errs[c] != nil {
					return
				}
				end := time.Now()
				latencies[c] = append(latencies[c], end.Sub(now))
				now = end
			}
		})
	}
	wg.Wait()
	elapsed := time.Since(start)
	all := slices.Concat(latencies...)
	if err := errors.Join(errs...); err != nil || len(all) == 0 {
		return measured{}, fmt.Errorf("after %d requests: %w", len(all), err)
	}
	slices.Sort(all)
	return measured{float64(len(all)) / elapsed.Seconds(), all}, nil
}

func (l load) dial() ([]*conn, error) {
	conns := make([]*conn, l.conns)
	for i := range conns {
		c, err := net.Dial("tcp", l.addr)
		if err != nil {
			return nil, err
		}
		if l.tls {
			// The certificate is from Caddy's local authority, made a moment ago.
			c = tls.Client(c, &tls.Config{InsecureSkipVerify: true, ServerName: "localhost"})
		}
		conns[i] = &conn{Conn: c, buf: make([]byte, 4<<10)}
	}
	return conns, nil
}

func (l load) exchange(c *conn, i int) error {
	request := l.request(i)
	if _, err := request.WriteTo(c.Conn); err != nil {
		return err
	}
	status, body, err := c.answer()
	if err != nil {
		return err
	}
	if status != l.status {
		return fmt.Errorf("status %d, want %d", status, l.status)
	}
	if l.answer != nil {
		l.answer(i, body)
	}
	return nil
}

// conn is a connection with a buffer for its answers.
type conn struct {
	net.Conn
	buf []byte
}

// answer reads one answer. The body is valid until the next one; of one that
// does not fit the buffer, only a part is kept.
func (c *conn) answer() (status int, body []byte, err error) {
	n, end := 0, -1
	for end < 0 {
		m, err := c.Read(c.buf[n:])
		if err != nil {
			return 0, nil, err
		}
		n += m
		end = bytes.Index(c.buf[:n], []byte("\r\n\r\n"))
	}
	status, length, err := parseHead(string(c.buf[:end+2]))
	if err != nil {
		return 0, nil, err
	}
	body = c.buf[end+4:]
	got, kept := n-end-4, min(length, len(body))
	for got < kept {
		m, err := c.Read(body[got:kept])
		if err != nil {
			return 0, nil, err
		}
		got += m
	}
	return status, body[:kept], c.discard(length - got)
}

// parseHead reads the status and the Content-Length of an answer.
func parseHead(head string) (status, length int, err error) {
	if len(head) < 12 {
		return 0, 0, fmt.Errorf("no answer of HTTP/1.1: %q", head)
	}
	_, rest, _ := strings.Cut(head, "\r\nContent-Length: ") // as all peers write it
	value, _, _ := strings.Cut(rest, "\r\n")
	status, statusErr := strconv.Atoi(head[9:12])
	length, lengthErr := strconv.Atoi(value)
	return status, length, errors.Join(statusErr, lengthErr)
}
