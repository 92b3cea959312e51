package main

import (
	"fmt"
	"io"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
)

// table prints the results for people.
func table(w io.Writer, results []result) {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, strings.Join(columns, "\t"))
	for _, r := range results {
		for _, line := range r.lines() {
			fmt.Fprintln(tw, strings.Join(line, "\t"))
		}
	}
	tw.Flush()
}

var columns = []string{"row", "what", "server", "median", "min..max", "unit", "ratio", "goal", "reached"}

// lines are the cells of a result, a line for each side. A goal stands with the
// peer that it is about.
func (r result) lines() [][]string {
	lines := make([][]string, len(r.Sides))
	for i, s := range r.Sides {
		ratio := ""
		if i > 0 {
			ratio = number(s.Ratio)
		}
		lines[i] = []string{
			r.Row, r.Figure, s.Name, number(s.Median), number(s.Min) + ".." + number(s.Max), r.Unit, ratio, "", "",
		}
	}
	for _, g := range r.goals {
		reached := "no"
		if g.reached(r.Sides) {
			reached = "yes"
		}
		line := lines[g.peer]
		line[7], line[8] = g.String(), reached
	}
	return lines
}

// number has three digits, or all before the point.
func number(f float64) string {
	if math.Abs(f) >= 100 {
		return grouped(int(math.Round(f)))
	}
	text := strconv.FormatFloat(f, 'g', 3, 64)
	if strings.Contains(text, "e") {
		text = strconv.FormatFloat(f, 'f', 5, 64)
	}
	return text
}

// grouped writes a number with commas.
func grouped(n int) string {
	if n < 0 {
		return "-" + grouped(-n)
	}
	if n < 1000 {
		return strconv.Itoa(n)
	}
	return fmt.Sprintf("%s,%03d", grouped(n/1000), n%1000)
}

// markdown is the table, and below it the machine that it is of.
func markdown(results []result, machine string) string {
	var lines []string
	for _, r := range results {
		lines = append(lines, r.markdown()...)
	}
	return withHead(lines, machine)
}

func (r result) markdown() []string {
	cells := r.lines()
	lines := make([]string, len(cells))
	for i, line := range cells {
		lines[i] = "| " + strings.Join(line, " | ") + " |"
	}
	return lines
}

func withHead(lines []string, machine string) string {
	head := []string{"| " + strings.Join(columns, " | ") + " |", strings.Repeat("|---", len(columns)) + "|"}
	return strings.Join(append(head, lines...), "\n") + "\n\n" + machine + "\n"
}

const tableBegin, tableEnd = "<!-- table -->\n", "<!-- /table -->"

// writeTable replaces the table of a Markdown file. Lines of rows that were not
// run stay if they are of the same machine.
func writeTable(name string, results []result, machine string) error {
	text, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	before, rest, ok := strings.Cut(string(text), tableBegin)
	old, after, ok2 := strings.Cut(rest, tableEnd)
	if !ok || !ok2 {
		return fmt.Errorf("%s has no table between %q and %q", name, strings.TrimSpace(tableBegin), tableEnd)
	}
	if !strings.Contains(old, machine) {
		old = ""
	}
	var lines []string
	for _, row := range names() {
		lines = append(lines, linesOf(row, results, old)...)
	}
	return os.WriteFile(name, []byte(before+tableBegin+withHead(lines, machine)+tableEnd+after), 0o644)
}

// linesOf returns the lines of a row: new ones, else those of the old table.
func linesOf(row string, results []result, old string) (lines []string) {
	for _, r := range results {
		if r.Row == row {
			lines = append(lines, r.markdown()...)
		}
	}
	if len(lines) > 0 {
		return lines
	}
	return slices.DeleteFunc(strings.Split(old, "\n"), func(line string) bool {
		return !strings.HasPrefix(line, "| "+row+" |")
	})
}
