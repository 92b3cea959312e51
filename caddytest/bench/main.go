// Command bench measures this module beside other servers: on the same
// machine, in the same minutes, in turn. See README.md.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"
)

// row is one comparison.
type row struct {
	name    string
	figures []figure
	// rounds is how many suffice, 0 is as many as are asked for.
	rounds int
	// open starts what the sides need. The first side is ours, the others are
	// its peers.
	open func(b *bench) ([]side, error)
}

// side is one server in a row. measure is called once in each round, and returns
// a value for each figure.
type side struct {
	name    string
	x       float64 // its place in a plot
	measure func() ([]float64, error)
}

// bench is what rows need to start their servers.
type bench struct {
	caddy    []string // its command
	dir      string   // all that is written goes below, but what is kept for later runs
	cache    string   // what is prepared goes below
	duration time.Duration
	scale    float64
	profiler *profiler // nil unless profiles are asked for

	mu    sync.Mutex
	procs []*process // of the row that runs
}

// of scales a number: of uploads, connections and so on.
func (b *bench) of(n int) int { return max(int(float64(n)*b.scale), 1) }

// many names a scaled number of things.
func (b *bench) many(n int, things string) string { return grouped(b.of(n)) + " " + things }

func main() {
	served, err := serve()
	if !served {
		err = run()
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// serve runs one of the servers that this program is too, if it was started as
// one.
func serve() (served bool, err error) {
	switch {
	case len(os.Args) == 4 && (os.Args[1] == "standin" || os.Args[1] == "copy"):
		return true, standin(os.Args[2], os.Args[3], os.Args[1] == "copy")
	case len(os.Args) > 1 && os.Args[1] == "profiled":
		profiledCaddy()
		return true, nil
	}
	return false, nil
}

// settings are what the command line says.
type settings struct {
	rows, caddy, dir, prepared, json, write, profiles string
	rounds                                            int
	time                                              time.Duration
	scale                                             float64
	markdown                                          bool
}

func flags() (s settings) {
	flag.StringVar(&s.rows, "rows", strings.Join(names(), ","), "rows to run")
	flag.IntVar(&s.rounds, "rounds", 5, "rounds of each row, at most")
	flag.DurationVar(&s.time, "time", 2*time.Second, "time of each measurement that is not a number of uploads")
	flag.Float64Var(&s.scale, "scale", 1, "factor of all numbers of uploads, slots and slow connections")
	flag.StringVar(&s.caddy, "caddy", "", "binary of Caddy with this module; built if empty, not used for profiles")
	flag.StringVar(&s.dir, "dir", os.TempDir(), "directory on the disk to measure")
	flag.StringVar(&s.prepared, "prepared", "", "directory, on the same disk, to keep what is prepared for other runs; if empty, it is removed in the end")
	flag.StringVar(&s.json, "json", "", "file for the results as JSON")
	flag.BoolVar(&s.markdown, "markdown", false, "print the table as Markdown")
	flag.StringVar(&s.write, "write", "", "Markdown file whose table is to be replaced; growth.svg beside it too")
	flag.StringVar(&s.profiles, "profiles", "", "directory for profiles of each row")
	flag.Parse()
	return s
}

func names() []string {
	list := make([]string, len(rows))
	for i, r := range rows {
		list[i] = r.name
	}
	return list
}

func run() error {
	s := flags()
	b, err := newBench(s)
	if err != nil {
		return err
	}
	// At the very end: ext4 makes files slowly for some time after deletions.
	defer os.RemoveAll(b.dir)
	b.removeIfInterrupted()
	// One thread makes more load than two cores can serve, and leaves them more.
	runtime.GOMAXPROCS(1)

	results, failed := b.rows(strings.Split(s.rows, ","), s.rounds)
	return errors.Join(failed, show(s, b.dir, results))
}

func newBench(s settings) (b *bench, err error) {
	b = &bench{duration: s.time, scale: s.scale, cache: s.prepared}
	if b.dir, err = os.MkdirTemp(s.dir, "xmpp-upload-bench-"); err != nil {
		return nil, err
	}
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return nil, err
	}
	if b.cache == "" {
		b.cache = filepath.Join(b.dir, "prepared")
	}
	if b.cache, err = filepath.Abs(b.cache); err != nil {
		return nil, err
	}
	// nginx reads its web root as another user.
	if err := errors.Join(os.Chmod(b.dir, 0o755), os.MkdirAll(b.cache, 0o755)); err != nil {
		return nil, err
	}
	if s.profiles == "" {
		return b, b.build(s.caddy)
	}
	b.profiler, err = newProfiler(s.profiles, s.time)
	if err == nil {
		b.caddy = b.profiler.caddy()
	}
	return b, err
}

// removeIfInterrupted leaves nothing behind of a program that is ended early.
func (b *bench) removeIfInterrupted() {
	interrupted := make(chan os.Signal, 1)
	signal.Notify(interrupted, os.Interrupt, syscall.SIGTERM)
	go func() {
		<-interrupted
		b.kill()
		for range 3 { // something may have been made meanwhile
			os.RemoveAll(b.dir)
		}
		os.Exit(1)
	}()
}

// rows runs the rows of these names. One that fails keeps no other from running.
func (b *bench) rows(only []string, rounds int) (results []result, failed error) {
	for _, name := range only {
		i := slices.Index(names(), name)
		if i < 0 {
			return results, errors.Join(failed, fmt.Errorf("no row %q; there are %s", name, strings.Join(names(), ", ")))
		}
		begun := time.Now()
		res, err := b.row(rows[i], rounds)
		results = append(results, res...)
		if err != nil {
			failed = errors.Join(failed, fmt.Errorf("%s: %w", name, err))
		}
		fmt.Fprintln(os.Stderr, name, "took", time.Since(begun).Round(time.Second))
	}
	return results, failed
}

// row runs the sides of a row in turn; each round begins with another one.
func (b *bench) row(r row, rounds int) ([]result, error) {
	defer b.stop()
	if r.rounds > 0 {
		rounds = min(rounds, r.rounds)
	}
	sides, err := r.open(b)
	if err != nil {
		return nil, err
	}
	values := make([][][]float64, len(sides))
	for round := range rounds {
		for k := range sides {
			i := (k + round) % len(sides)
			value, err := sides[i].measure()
			if err != nil {
				return nil, fmt.Errorf("%s: %w", sides[i].name, err)
			}
			values[i] = append(values[i], value)
		}
	}
	results := r.results(sides, values)
	table(os.Stderr, results)
	return results, b.profiler.profile(r.name, sides[0].measure)
}

// show prints the results, and writes what else is asked for.
func show(s settings, dir string, results []result) (err error) {
	if s.markdown {
		fmt.Print(markdown(results, machine(dir)))
	} else {
		table(os.Stdout, results)
	}
	if s.json != "" {
		err = writeJSON(s.json, results)
	}
	if s.write != "" {
		err = errors.Join(err, writeTable(s.write, results, machine(dir)),
			writePlot(filepath.Join(filepath.Dir(s.write), "growth.svg"), results))
	}
	return err
}
