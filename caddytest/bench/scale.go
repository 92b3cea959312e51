package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"
)

var startFigures = []figure{
	{name: "first slot after the start", unit: "ms", goals: []goal{{moreAtMost, 1000, 1}}},
	{name: "slot, one connection, p50", unit: "ms"},
	{name: "first page of the list", unit: "ms"},
	{name: "clean-up of files that finds nothing expired", unit: "ms"},
	{name: "resident after that", unit: "MiB"},
	{name: "of that, not of files", unit: "MiB"},
}

// start compares a start with 5,000,000 uploads, and what comes after it, with
// one without any. The uploads have no files: this is about slots.
func start(b *bench) ([]side, error) {
	full, err := b.prepared(b.of(5_000_000), false)
	if err != nil {
		return nil, err
	}
	empty, err := b.prepared(1, false)
	if err != nil {
		return nil, err
	}
	var sides []side
	for _, s := range []struct{ name, dir string }{{b.many(5_000_000, "uploads"), full}, {"1 upload", empty}} {
		slots, err := b.copySlots(s.dir)
		if err != nil {
			return nil, err
		}
		sides = append(sides, side{name: s.name, measure: func() ([]float64, error) { return b.started(slots) }})
	}
	return sides, nil
}

// started measures the figures of a start.
func (b *bench) started(slots string) ([]float64, error) {
	begun := time.Now()
	p, err := b.startOn(slots, "", ours)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	first := load{addr: p.addr, conns: 1, count: 1, request: asks(p.addr, 1, users(1)...), status: 200}
	if _, err := first.run(); err != nil {
		return nil, err
	}
	values := []float64{milliseconds(time.Since(begun))}
	m, err := b.run(p, load{addr: p.addr, conns: 1, time: b.duration, request: asks(p.addr, 1, users(10_000)...), status: 200})
	if err != nil {
		return nil, err
	}
	page, err := firstPage(p)
	if err != nil {
		return nil, err
	}
	begun = time.Now()
	err = p.ask(context.Background(), http.MethodPost, "cleanup?slots=false")
	values = append(values, m.at(0.5), page, milliseconds(time.Since(begun)))
	all, private, memoryErr := p.residents()
	return append(values, all, private), errors.Join(err, memoryErr)
}

var idleFigures = []figure{
	{name: "resident after the start", unit: "MiB", goals: []goal{{moreAtMost, 40, 1}}},
	{name: "resident after a clean-up that finds nothing", unit: "MiB", goals: []goal{{moreAtMost, 40, 1}}},
	{name: "resident after a recount", unit: "MiB", goals: []goal{{moreAtMost, 40, 1}}},
	{name: "of that, not of files", unit: "MiB"},
	{name: "time of the clean-up", unit: "s", alone: true},
	{name: "time of the recount", unit: "s", alone: true},
}

// idle compares the memory of this module, with 1,000,000 uploads and their
// files, with that of Caddy without the module.
func idle(b *bench) ([]side, error) {
	dir, err := b.prepared(b.of(1_000_000), true)
	if err != nil {
		return nil, err
	}
	return []side{
		{name: b.many(1_000_000, "uploads"), measure: func() ([]float64, error) { return b.rests(dir) }},
		{name: "bare Caddy", measure: func() ([]float64, error) {
			addr := freeAddr()
			p, err := b.startCaddy(fmt.Sprintf("http://%s {\n\trespond \"hello\"\n}\n", addr), addr)
			if err != nil {
				return nil, err
			}
			defer p.stop()
			all, private, err := p.residents()
			return []float64{all, all, all, private, 0, 0}, err
		}},
	}, nil
}

// quiet lets a server come to rest, which takes half a minute at most, and less
// time for who only tries the harness.
func (b *bench) quiet() { time.Sleep(time.Duration(min(1, 50*b.scale) * float64(30*time.Second))) }

// rests measures the figures of idle.
func (b *bench) rests(dir string) ([]float64, error) {
	slots, err := b.copySlots(dir)
	if err != nil {
		return nil, err
	}
	p, err := b.startOn(slots, dir, ours)
	if err != nil {
		return nil, err
	}
	defer p.stop()
	begun := time.Now()
	atStart, err := p.resident()
	err = errors.Join(err, p.untilClean())
	cleaning := time.Since(begun)
	b.quiet()
	afterCleanUp, memoryErr := p.resident()
	if err = errors.Join(err, memoryErr); err != nil {
		return nil, err
	}
	begun = time.Now()
	if err := b.profiler.watch(p, "", func() error { return p.verify(context.Background()) }); err != nil {
		return nil, err
	}
	verifying := time.Since(begun)
	b.quiet()
	afterVerify, private, err := p.residents()
	return []float64{atStart, afterCleanUp, afterVerify, private, cleaning.Seconds(), verifying.Seconds()}, err
}
