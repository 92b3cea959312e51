package main

import (
	"context"
	"errors"
	"fmt"
)

var smallFigures = []figure{
	{name: "highest resident", unit: "MiB"},
	{name: "highest of that, not of files", unit: "MiB"},
	{name: "slot meanwhile, p50", unit: "ms"},
	{name: "slot meanwhile, p99", unit: "ms"},
}

// small runs this module with 1,000,000 uploads as on a server of 512 MiB: the
// kernel grants no more memory that is not of files, used or not, so stacks of
// threads must be small to be counted about as they are used. 1,000 slow uploads
// and as many downloads, a clean-up, a recount and slots come at once. 460 MiB is
// what Caddy gives to Go by itself on such a server: nine tenths.
func small(b *bench) ([]side, error) {
	const size = 512 << 20
	dir, err := b.prepared(b.of(1_000_000), true)
	if err != nil {
		return nil, err
	}
	under := func(limit string) side {
		return side{name: limit, measure: func() ([]float64, error) {
			shell := fmt.Sprintf("ulimit -s 256 && ulimit -d %d && exec env %s \"$@\"", size>>10, limit)
			return b.crowded(dir, "sh", "-c", shell, "sh")
		}}
	}
	return []side{under("GOMEMLIMIT=300MiB"), under("GOMEMLIMIT=460MiB")}, nil
}

// crowded measures the figures of small.
func (b *bench) crowded(dir string, wrapper ...string) (values []float64, err error) {
	slots, err := b.copySlots(dir)
	if err != nil {
		return nil, err
	}
	p, err := b.startOn(slots, dir, ours, wrapper...)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	ctx, cancel := context.WithCancel(context.Background())
	verified := make(chan error, 1)
	go func() { verified <- p.verify(ctx) }()

	asked := make(chan measured, 1)
	go func() {
		l := load{addr: p.addr, conns: 1, time: 5 * b.duration, request: asks(p.addr, 1000, users(10_000)...), status: 200}
		m, loadErr := l.run()
		err = errors.Join(err, loadErr)
		asked <- m
	}()
	private, flightErr := b.inFlight(p, "RssAnon")
	m := <-asked
	highest, memoryErr := p.memory("VmHWM")
	cancel()
	if failed := <-verified; failed != nil && !errors.Is(failed, context.Canceled) {
		err = errors.Join(err, failed)
	}
	if err = errors.Join(err, flightErr, memoryErr); err != nil {
		return nil, fmt.Errorf("%w; the server's last words:\n%s", err, p.lastWords())
	}
	return []float64{highest, private, p50(m), p99(m)}, nil
}
