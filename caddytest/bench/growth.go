package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"strings"
	"time"
)

// growthFigures have one unit, for one plot.
var growthFigures = []figure{
	{name: "start", unit: "ms"},
	{name: "slot", unit: "ms"},
	{name: "list", unit: "ms"},
	{name: "create", unit: "ms"},
	{name: "open", unit: "ms"},
	{name: "expire", unit: "ms"},
	{name: "verify", unit: "ms"},
}

// brief is ours for users whose files expire at once.
var brief = strings.Replace(ours, "allow * {", "allow * {\n\t\t\tkeep 1s", 1)

// growth compares what things cost with 1,000,000 uploads, and their files, with
// what they cost with fewer.
func growth(b *bench) ([]side, error) {
	var sides []side
	for _, n := range []int{1_000_000, 100_000, 10_000} {
		g := grown{bench: b, uploads: b.of(n)}
		err := g.start()
		if err != nil {
			return nil, err
		}
		sides = append(sides, side{name: b.many(n, "uploads"), x: float64(g.uploads), measure: g.measure})
	}
	return sides, nil
}

// grown is a server with some uploads.
type grown struct {
	*bench
	uploads int
	dir     string
	history history
	slots   string  // another copy of its slots, to be started
	recount float64 // ms for one upload and its file
	*process
}

// start starts the server, and waits for its first clean-up and for a recount at
// the same time. Of a million files both take minutes, since they leave most of
// the time to others: so they are timed once, and not in each round.
func (g *grown) start() (err error) {
	if g.dir, err = g.prepared(g.uploads, true); err != nil {
		return err
	}
	if g.history, err = readHistory(g.dir); err != nil {
		return err
	}
	if g.slots, err = g.copySlots(g.dir); err != nil {
		return err
	}
	slots, err := g.copySlots(g.dir)
	if err != nil {
		return err
	}
	if g.process, err = g.startOn(slots, g.dir, brief); err != nil {
		return err
	}
	begun := time.Now()
	if err := g.verify(context.Background()); err != nil {
		return err
	}
	g.recount = milliseconds(time.Since(begun)) / float64(g.uploads)
	return g.untilClean()
}

// measure measures the figures of growth.
func (g *grown) measure() (values []float64, err error) {
	for _, f := range []struct {
		phase   string
		measure func() (float64, error)
	}{
		{"start", g.starts},
		{"slot", g.asks},
		{"list", func() (float64, error) { return firstPage(g.process) }},
		{"create", g.creates},
		{"open", g.opens},
		{"expire", g.expires},
	} {
		var value float64
		err := g.profiler.watch(g.process, f.phase, func() (err error) {
			value, err = f.measure()
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("%s: %w", f.phase, err)
		}
		values = append(values, value)
	}
	return append(values, g.recount), nil
}

// starts returns the time until a server on the same slots, without files,
// accepts connections.
func (g *grown) starts() (float64, error) {
	begun := time.Now()
	p, err := g.startOn(g.slots, "", ours)
	if err != nil {
		return 0, err
	}
	defer p.stop()
	return milliseconds(time.Since(begun)), nil
}

// asks returns the median time of a slot.
func (g *grown) asks() (float64, error) {
	m, err := load{addr: g.addr, conns: 1, time: g.duration / 2, request: asks(g.addr, 1000, users(10_000)...), status: 200}.run()
	return p50(m), err
}

func (g *grown) fresh() int { return g.of(1000) }

// creates returns the median time of an upload of 1 KiB.
func (g *grown) creates() (float64, error) {
	paths, err := take(g.addr, 1<<10, g.fresh())
	if err != nil {
		return 0, err
	}
	if err := flushDisk(); err != nil {
		return 0, err
	}
	m, err := put(g.addr, paths, 1<<10, 1).run()
	return p50(m), err
}

// opens returns the median time of a download of at most 1 KiB, of any of all
// files.
func (g *grown) opens() (float64, error) {
	m, err := load{
		addr: g.addr, conns: 1, count: 5 * g.fresh(), status: 200,
		request: func(int) net.Buffers {
			slot := g.history.slot(rand.IntN(g.uploads))
			return net.Buffers{get(g.addr, "/"+slot.ID+"/"+slot.URLName)}
		},
	}.run()
	return p50(m), err
}

// expires waits until the uploads of creates have expired, and returns the time
// that a clean-up takes to remove one.
func (g *grown) expires() (float64, error) {
	stats := fmt.Sprintf(`"expired_files":%d,`, g.fresh())
	for compact := strings.NewReplacer(" ", "", "\n", "", "\t", ""); ; time.Sleep(50 * time.Millisecond) {
		text, err := g.answer(context.Background(), http.MethodGet, "stats")
		if err != nil {
			return 0, err
		}
		if strings.Contains(compact.Replace(text), stats) {
			break
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel() // the clean-up goes on to look at all files
	cleaned := make(chan error, 1)
	begun := time.Now()
	go func() { cleaned <- g.ask(ctx, http.MethodPost, "cleanup") }()
	if err := g.until("stored_files", time.Second/50, func(n float64) bool { return int(n) == g.uploads }); err != nil {
		return 0, err
	}
	elapsed := time.Since(begun)
	cancel()
	if err := <-cleaned; err != nil && !errors.Is(err, context.Canceled) {
		return 0, err
	}
	return milliseconds(elapsed) / float64(g.fresh()), nil
}
