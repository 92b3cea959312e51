package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"time"
)

// memory compares the process with slow uploads and downloads in flight with
// what it was just after its start.
func memory(b *bench) ([]side, error) {
	var idle float64
	return []side{
		single("in flight", func() (float64, error) {
			p, err := b.startOurs()
			if err != nil {
				return 0, err
			}
			defer p.stop()
			if idle, err = p.resident(); err != nil {
				return 0, err
			}
			return b.inFlight(p, "VmRSS")
		}),
		single("just started", func() (float64, error) { return idle, nil }),
	}, nil
}

// inFlight has 1,000 slow uploads and as many slow downloads in flight, and
// returns the highest value of a line of the process's memory meanwhile.
func (b *bench) inFlight(p *process, line string) (peak float64, err error) {
	const size, download = 1 << 20, 32 << 20
	slow, addr := b.of(1000), p.addr
	paths, err := take(addr, download, 1)
	if err != nil {
		return 0, err
	}
	if _, err := put(addr, paths, download, 1).run(); err != nil {
		return 0, err
	}
	file := paths[0]
	defer func() {
		id, _, _ := strings.Cut(file[1:], "/")
		err = errors.Join(err, p.ask(context.Background(), http.MethodDelete, "uploads/"+id))
	}()
	if paths, err = take(addr, size, slow); err != nil {
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
		up := fmt.Sprintf("PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n", path, addr, size)
		down := fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", file, addr)
		if err := errors.Join(begin(up), begin(down)); err != nil {
			return 0, err
		}
	}
	err = b.profiler.watch(p, "", func() error {
		peak, err = trickle(p, line, conns, 5*b.duration/2)
		return err
	})
	return peak, err
}

// trickle sends and reads 1 KiB on each connection ten times a second for some
// time, and returns the highest memory.
func trickle(p *process, line string, conns []net.Conn, d time.Duration) (peak float64, err error) {
	buf := make([]byte, 1<<10)
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(d); time.Now().Before(end); {
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
		now, err := p.memory(line)
		if err != nil {
			return 0, err
		}
		peak = max(peak, now)
	}
	return peak, nil
}
