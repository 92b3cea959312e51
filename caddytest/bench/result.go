package main

import (
	"encoding/json"
	"fmt"
	"math"
	"os"
	"slices"
)

// figure is one of the values that a row measures.
type figure struct {
	name, unit string
	goals      []goal
	// alone tells that only the first side has it.
	alone bool
}

// one is the only figure of a row.
func one(unit string, goals ...goal) []figure { return []figure{{unit: unit, goals: goals}} }

// goal is what the first side should reach.
type goal struct {
	kind  goalKind
	bound float64
	peer  int // the side to compare with
}

type goalKind int

const (
	ratioAtLeast goalKind = iota // of ours by the peer's
	ratioAtMost
	moreAtMost // than the peer's
	atMost     // whatever the peer's
)

func (g goal) String() string {
	switch g.kind {
	case ratioAtLeast:
		return fmt.Sprintf("ratio ≥ %v", g.bound)
	case ratioAtMost:
		return fmt.Sprintf("ratio ≤ %v", g.bound)
	case moreAtMost:
		return fmt.Sprintf("at most %v more", g.bound)
	case atMost:
	}
	return fmt.Sprintf("≤ %v", g.bound)
}

// reached reports whether the first side has reached the goal.
func (g goal) reached(sides []sideResult) bool {
	switch g.kind {
	case ratioAtLeast:
		return sides[g.peer].Ratio >= g.bound
	case ratioAtMost:
		return sides[g.peer].Ratio <= g.bound
	case moreAtMost:
		return sides[g.peer].More <= g.bound
	case atMost:
	}
	return sides[0].Median <= g.bound
}

// result is one figure of a row, as it is shown.
type result struct {
	Row, Figure, Unit string
	Sides             []sideResult
	goals             []goal
}

// sideResult is what one side reached.
type sideResult struct {
	Name string
	// X is the side's place in a plot.
	X float64 `json:",omitempty"`
	// Values are those of the rounds, in order.
	Values           []float64
	Median, Min, Max float64
	// Ratio is the median, over all rounds, of the first side's value by this
	// one's; More that of their difference.
	Ratio, More float64
}

func (s *sideResult) summarize(ours []float64) {
	s.Median, s.Min, s.Max = median(s.Values), slices.Min(s.Values), slices.Max(s.Values)
	ratios, more := make([]float64, len(ours)), make([]float64, len(ours))
	for i := range ours {
		ratios[i], more[i] = ours[i]/max(s.Values[i], math.SmallestNonzeroFloat32), ours[i]-s.Values[i]
	}
	s.Ratio, s.More = median(ratios), median(more)
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}

// results makes the results of a row. values are by side, then by round, then by
// figure.
func (r row) results(sides []side, values [][][]float64) []result {
	results := make([]result, len(r.figures))
	for f, figure := range r.figures {
		res := result{Row: r.name, Figure: figure.name, Unit: figure.unit, goals: figure.goals}
		for i, side := range sides {
			if figure.alone && i > 0 {
				break
			}
			s := sideResult{Name: side.name, X: side.x}
			for _, round := range values[i] {
				s.Values = append(s.Values, round[f])
			}
			res.Sides = append(res.Sides, s)
			res.Sides[i].summarize(res.Sides[0].Values)
		}
		results[f] = res
	}
	return results
}

func writeJSON(name string, results []result) error {
	text, err := json.MarshalIndent(results, "", "\t")
	if err != nil {
		return err
	}
	return os.WriteFile(name, append(text, '\n'), 0o600)
}
