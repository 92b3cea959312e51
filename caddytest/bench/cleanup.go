package main

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"time"
)

var cleanupFigures = []figure{
	{name: "slot, one connection, p50", unit: "ms"},
	{name: "slot, one connection, p99", unit: "ms", goals: []goal{{ratioAtMost, 2, 1}}},
	{name: "slot, 16 connections, p50", unit: "ms"},
	{name: "slot, 16 connections, p99", unit: "ms", goals: []goal{{ratioAtMost, 2, 1}}},
	{name: "files removed meanwhile", unit: "/s", alone: true},
	{name: "files removed while nobody asks", unit: "/s", alone: true},
}

// cleanup compares slots while 100,000 expired files are removed with slots of
// the same process after that.
func cleanup(b *bench) ([]side, error) {
	var after []float64
	return []side{
		{name: "during the clean-up", measure: func() (during []float64, err error) {
			during, after, err = b.cleansUp()
			return during, err
		}},
		{name: "after it", measure: func() ([]float64, error) { return after, nil }},
	}, nil
}

// cleansUp prepares expired uploads, and starts this module: a second later it
// begins to clean up. Slots are asked for during the first part of that.
func (b *bench) cleansUp() (during, after []float64, err error) {
	dir, err := os.MkdirTemp(b.dir, "expired-")
	if err != nil {
		return nil, nil, err
	}
	expired := history{
		Uploads: b.of(100_000), JIDs: 1000, Keep: time.Hour,
		First: time.Now().Add(-2 * time.Hour).Truncate(time.Millisecond), Step: 10 * time.Millisecond,
	}
	if err := errors.Join(expired.prepare(dir, true), flushDisk()); err != nil {
		return nil, nil, err
	}
	p, err := b.startOn(filepath.Join(dir, "slots"), dir, ours)
	if err != nil {
		return nil, nil, err
	}
	defer p.stop()
	left, err := p.removes(float64(expired.Uploads) - 1)
	if err != nil {
		return nil, nil, err
	}
	begun := time.Now()
	err = b.profiler.watch(p, "", func() error {
		during, err = b.alternate(p)
		return err
	})
	if err != nil {
		return nil, nil, err
	}
	asked := time.Since(begun)
	stillLeft, err := p.metric("stored_files")
	if err != nil {
		return nil, nil, err
	}
	begun = time.Now()
	if _, err := p.removes(0); err != nil {
		return nil, nil, err
	}
	during = append(during, (left-stillLeft)/asked.Seconds(), stillLeft/time.Since(begun).Seconds())
	if err := p.untilClean(); err != nil {
		return nil, nil, err
	}
	after, err = b.alternate(p)
	return during, append(after, 0, 0), err
}

// removes waits until the process has removed all files but so many, and returns
// how many are left.
func (p *process) removes(most float64) (left float64, err error) {
	err = p.until("stored_files", time.Second/4, func(n float64) bool {
		left = n
		return n <= most
	})
	return left, err
}

// alternate asks for slots over one connection and over 16 in turn, and returns
// p50 and p99 of either.
func (b *bench) alternate(p *process) (values []float64, err error) {
	var latencies [2][]time.Duration
	for range 6 {
		for i, conns := range []int{1, 16} {
			m, err := load{addr: p.addr, conns: conns, time: b.duration / 2, request: asks(p.addr, 1000, users(10_000)...), status: 200}.run()
			if err != nil {
				return nil, err
			}
			latencies[i] = append(latencies[i], m.latencies...)
		}
	}
	for _, all := range latencies {
		slices.Sort(all)
		m := measured{latencies: all}
		values = append(values, p50(m), p99(m))
	}
	return values, nil
}
