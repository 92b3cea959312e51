// Command bench measures this module beside other servers: on the same
// machine, in the same minutes, in turn. See README.md.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"strings"
	"text/tabwriter"
	"time"
)

// row is one comparison. The first side is ours, the others are its peers.
type row struct {
	name string
	unit string
	open func(b *bench) ([]side, error)
}

// side is one server in a row. measure is called once in each round.
type side struct {
	name    string
	measure func() (float64, error)
}

// bench is what rows need to start their servers.
type bench struct {
	caddy    string // path of the binary
	dir      string // all that is written goes below
	duration time.Duration
	procs    []*process // of the row that runs
}

// result is a row as it is printed.
type result struct {
	Row, Unit string
	Sides     []sideResult
}

// sideResult is what one side reached. Ratio is the median over all rounds of
// the first side's value by this one's.
type sideResult struct {
	Name                    string
	Values                  []float64
	Median, Min, Max, Ratio float64
}

func main() {
	run := run
	if len(os.Args) == 4 && os.Args[1] == "standin" {
		run = func() error { return standin(os.Args[2], os.Args[3]) }
	}
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run() (err error) {
	names := make([]string, len(rows))
	for i, r := range rows {
		names[i] = r.name
	}
	only := flag.String("rows", strings.Join(names, ","), "rows to run")
	rounds := flag.Int("rounds", 5, "rounds of each row")
	duration := flag.Duration("time", 2*time.Second, "time of each measurement that is not a number of uploads")
	caddy := flag.String("caddy", "", "binary of Caddy with this module; built if empty")
	parent := flag.String("dir", os.TempDir(), "directory on the disk to measure")
	asJSON := flag.String("json", "", "file for the results as JSON")
	flag.Parse()

	b := &bench{caddy: *caddy, duration: *duration}
	if b.dir, err = os.MkdirTemp(*parent, "xmpp-upload-bench-"); err != nil {
		return err
	}
	// At the very end: ext4 makes files slowly for some time after deletions.
	defer os.RemoveAll(b.dir)
	// nginx reads its web root as another user.
	if err := errors.Join(os.Chmod(b.dir, 0o755), b.build()); err != nil {
		return err
	}

	// One thread makes more load than two cores can serve, and leaves them more.
	runtime.GOMAXPROCS(1)
	var results []result
	for name := range strings.SplitSeq(*only, ",") {
		i := slices.Index(names, name)
		if i < 0 {
			return fmt.Errorf("no row %q; there are %s", name, strings.Join(names, ", "))
		}
		res, err := b.row(rows[i], *rounds)
		if err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		fmt.Fprintln(os.Stderr, "measured", name)
		results = append(results, res)
	}
	table(os.Stdout, results)
	if *asJSON == "" {
		return nil
	}
	text, err := json.MarshalIndent(results, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(*asJSON, append(text, '\n'), 0o600)
}

// row runs the sides of a row in turn; each round begins with another one.
func (b *bench) row(r row, rounds int) (result, error) {
	defer b.stop()
	res := result{Row: r.name, Unit: r.unit}
	sides, err := r.open(b)
	if err != nil {
		return res, err
	}
	res.Sides = make([]sideResult, len(sides))
	for round := range rounds {
		for k := range sides {
			i := (k + round) % len(sides)
			value, err := sides[i].measure()
			if err != nil {
				return res, fmt.Errorf("%s: %w", sides[i].name, err)
			}
			res.Sides[i].Values = append(res.Sides[i].Values, value)
		}
	}
	for i := range sides {
		res.Sides[i].Name = sides[i].name
		res.Sides[i].summarize(res.Sides[0].Values)
	}
	return res, nil
}

func (s *sideResult) summarize(ours []float64) {
	s.Median, s.Min, s.Max = median(s.Values), slices.Min(s.Values), slices.Max(s.Values)
	ratios := make([]float64, len(ours))
	for i := range ours {
		ratios[i] = ours[i] / s.Values[i]
	}
	s.Ratio = median(ratios)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

func table(w io.Writer, results []result) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "row\tserver\tmedian\tmin..max\tunit\tratio")
	for _, r := range results {
		for i, s := range r.Sides {
			ratio := ""
			if i > 0 {
				ratio = fmt.Sprintf("%.2f", s.Ratio)
			}
			fmt.Fprintf(tw, "%s\t%s\t%s\t%s..%s\t%s\t%s\n",
				r.Row, s.Name, number(s.Median), number(s.Min), number(s.Max), r.Unit, ratio)
		}
	}
	tw.Flush()
}

func number(f float64) string {
	if f < 100 {
		return fmt.Sprintf("%.3g", f)
	}
	return fmt.Sprintf("%.0f", f)
}
