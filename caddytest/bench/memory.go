package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

const slow, slowSize = 1000, 1 << 20 // uploads, and as many downloads

// memory compares the process with slow uploads and downloads in flight with
// what it was just after its start.
func memory(b *bench) ([]side, error) {
	var idle float64
	return []side{
		{"in flight", func() (float64, error) {
			p, addr, err := b.startOurs()
			if err != nil {
				return 0, err
			}
			defer p.stop()
			if idle, err = p.resident(); err != nil {
				return 0, err
			}
			return inFlight(p, addr)
		}},
		{"just started", func() (float64, error) { return idle, nil }},
	}, nil
}

func inFlight(p *process, addr string) (float64, error) {
	_, file, err := upload(addr, 32<<20, 1, 1)
	if err != nil {
		return 0, err
	}
	paths, err := take(addr, slowSize, slow)
	if err != nil {
		return 0, err
	}
	var conns []net.Conn
	defer func() {
		for _, c := range conns {
			c.Close()
		}
	}()
	begin := func(head string) error {
		c, err := net.Dial("tcp", addr)
		if err != nil {
			return err
		}
		conns = append(conns, c)
		_ = c.(*net.TCPConn).SetReadBuffer(64 << 10) // a slow client takes little at a time
		_, err = io.WriteString(c, head)
		return err
	}
	for _, path := range paths {
		up := fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", path, addr, slowSize)
		down := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", file[0], addr)
		if err := errors.Join(begin(up), begin(down)); err != nil {
			return 0, err
		}
	}
	return trickle(p, conns)
}

// trickle sends and reads 1 KiB on each connection ten times a second, and
// returns the highest memory of five seconds.
func trickle(p *process, conns []net.Conn) (peak float64, err error) {
	buf := make([]byte, 1<<10)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for range 50 {
		<-tick.C
		for i, c := range conns {
			if i%2 == 0 {
				_, err = c.Write(buf)
			} else {
				_, err = io.ReadFull(c, buf)
			}
			if err != nil {
				return 0, err
			}
		}
		now, err := p.resident()
		if err != nil {
			return 0, err
		}
		peak = max(peak, now)
	}
	return peak, nil
}
