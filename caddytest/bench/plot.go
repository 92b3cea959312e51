package main

import (
	"fmt"
	"math"
	"os"
	"slices"
	"strings"
)

// A plot of what things cost against the number of uploads, both in powers of
// ten, as SVG. It is readable on light and dark pages.
const (
	plotWidth, plotHeight             = 760, 460
	plotLeft, plotRight               = 80, 130
	plotTop, plotBottom               = 20, 60
	plotStyle                         = `text{font:13px sans-serif;fill:#444}.grid{stroke:#8886;stroke-width:1}.line{fill:none;stroke-width:2}@media(prefers-color-scheme:dark){text{fill:#ccc}}`
	plotColours                       = "#3b82f6 #d97706 #16a34a #dc2626 #9333ea #0891b2 #a16207"
	plotLine                          = 15 // between two labels
	xTitle, yTitle, plotWhat, plotAlt = "uploads stored", "milliseconds", "growth", "What a start, a slot, the first page of the list, an upload, a download, the removal and the verification of one file take, against the number of uploads stored"
)

// writePlot plots the results of the growth row, if it was run.
func writePlot(name string, results []result) error {
	results = slices.DeleteFunc(slices.Clone(results), func(r result) bool { return r.Row != plotWhat })
	if len(results) == 0 {
		return nil
	}
	return os.WriteFile(name, []byte(plot(results)), 0o644)
}

func plot(results []result) string {
	var xs, ys []float64
	for _, r := range results {
		for _, s := range r.Sides {
			xs, ys = append(xs, s.X), append(ys, s.Median)
		}
	}
	x, y := newAxis(xs, plotLeft, plotWidth-plotRight), newAxis(ys, plotHeight-plotBottom, plotTop)
	var svg strings.Builder
	fmt.Fprintf(&svg, `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" role="img" aria-label="%s">`+"\n<style>%s</style>\n",
		plotWidth, plotHeight, plotAlt, plotStyle)
	for e := x.low; e <= x.high; e++ {
		at := x.at(math.Pow10(e))
		fmt.Fprintf(&svg, `<path class="grid" d="M%.0f %dV%d"/><text x="%.0f" y="%d" text-anchor="middle">%s</text>`+"\n",
			at, plotTop, plotHeight-plotBottom, at, plotHeight-plotBottom+20, number(math.Pow10(e)))
	}
	for e := y.low; e <= y.high; e++ {
		at := y.at(math.Pow10(e))
		fmt.Fprintf(&svg, `<path class="grid" d="M%d %.0fH%d"/><text x="%d" y="%.0f" text-anchor="end">%s</text>`+"\n",
			plotLeft, at, plotWidth-plotRight, plotLeft-8, at+4, number(math.Pow10(e)))
	}
	fmt.Fprintf(&svg, `<text x="%d" y="%d" text-anchor="middle">%s</text>`+"\n", (plotLeft+plotWidth-plotRight)/2, plotHeight-14, xTitle)
	middle := (plotTop + plotHeight - plotBottom) / 2
	fmt.Fprintf(&svg, `<text x="20" y="%d" text-anchor="middle" transform="rotate(-90 20 %d)">%s</text>`+"\n", middle, middle, yTitle)
	plotLines(&svg, results, x, y)
	return svg.String() + "</svg>\n"
}

// plotLines draws a line for each result, with its name behind its end. The ends
// are those of the first sides, which are the largest.
func plotLines(svg *strings.Builder, results []result, x, y axis) {
	colours := strings.Fields(plotColours)
	end := func(r result) float64 { return y.at(r.Sides[0].Median) }
	slices.SortFunc(results, func(a, b result) int { return int(math.Copysign(1, end(a)-end(b))) })
	label := float64(plotTop)
	for i, r := range results {
		colour := colours[i%len(colours)]
		var points strings.Builder
		for _, s := range r.Sides {
			fmt.Fprintf(&points, "%.1f,%.1f ", x.at(s.X), y.at(s.Median))
		}
		label = max(label+plotLine, end(r)+4)
		fmt.Fprintf(svg, `<polyline class="line" stroke="%s" points="%s"/><text x="%d" y="%.0f" style="fill:%s">%s</text>`+"\n",
			colour, strings.TrimSpace(points.String()), plotWidth-plotRight+8, label, colour, r.Figure)
	}
}

// axis goes from one power of ten to another.
type axis struct {
	low, high int
	from, to  float64 // pixels
}

func newAxis(values []float64, from, to int) axis {
	low, high := math.Log10(slices.Min(values)), math.Log10(slices.Max(values))
	a := axis{int(math.Floor(low)), int(math.Ceil(high)), float64(from), float64(to)}
	a.high = max(a.high, a.low+1)
	return a
}

func (a axis) at(value float64) float64 {
	part := (math.Log10(value) - float64(a.low)) / float64(a.high-a.low)
	return a.from + part*(a.to-a.from)
}
