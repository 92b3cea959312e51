package command

import (
	"slices"
	"strings"

	"github.com/rivo/uniseg"
)

// column is a column of a table.
type column struct {
	title string
	// right aligns to the right, as numbers want it.
	right bool
	// flexible columns are cut where the terminal is too narrow.
	flexible bool
	// optional columns are left out where cutting is not enough, the highest
	// number first; those with 0 stay.
	optional int
}

const (
	// gap is between columns.
	gap = 2
	// narrowest is what cutting leaves of a flexible column.
	narrowest = 10
)

// table prints rows in columns, some rows at a time. Columns may become wider
// with later rows, never narrower.
type table struct {
	out     *printer
	columns []column
	widths  []int
	begun   bool
}

func (p *printer) table(columns ...column) *table {
	t := &table{out: p, columns: columns}
	for _, c := range columns {
		t.widths = append(t.widths, len(c.title))
	}
	return t
}

// print prints rows of one cell per column, under the titles if they are the
// first.
func (t *table) print(rows [][]string) {
	for _, row := range rows {
		for i := range row {
			row[i] = safe(row[i])
			t.widths[i] = max(t.widths[i], uniseg.StringWidth(row[i]))
		}
	}
	widths := t.fit(t.out.width)
	if !t.begun {
		t.begun = true
		t.line(t.titles(), widths)
	}
	for _, row := range rows {
		t.line(row, widths)
	}
}

func (t *table) titles() (titles []string) {
	for _, c := range t.columns {
		titles = append(titles, c.title)
	}
	return titles
}

// fit returns the widths with which a line has room; those of columns that are
// left out are 0. A room of 0 is endless.
func (t *table) fit(room int) []int {
	widths := slices.Clone(t.widths)
	if room == 0 {
		return widths
	}
	for t.length(widths, true) > room {
		worst := t.leastNeeded(widths)
		if worst < 0 {
			break
		}
		widths[worst] = 0
	}
	for t.length(widths, false) > room {
		widest := t.widest(widths)
		if widest < 0 {
			break
		}
		widths[widest]--
	}
	return widths
}

// length is that of a line, or of the shortest one that cutting allows.
func (t *table) length(widths []int, shortest bool) int {
	sum := -gap
	for i, w := range widths {
		if w == 0 {
			continue
		}
		if shortest && t.columns[i].flexible {
			w = min(w, narrowest)
		}
		sum += w + gap
	}
	return sum
}

// leastNeeded returns the optional column to leave out next, or -1.
func (t *table) leastNeeded(widths []int) int {
	found := -1
	for i, c := range t.columns {
		if c.optional > 0 && widths[i] > 0 && (found < 0 || c.optional > t.columns[found].optional) {
			found = i
		}
	}
	return found
}

// widest returns the flexible column to cut next, or -1.
func (t *table) widest(widths []int) int {
	found := -1
	for i, c := range t.columns {
		if c.flexible && widths[i] > narrowest && (found < 0 || widths[i] > widths[found]) {
			found = i
		}
	}
	return found
}

func (t *table) line(cells []string, widths []int) {
	var line strings.Builder
	for i, w := range widths {
		if w == 0 {
			continue
		}
		if line.Len() > 0 {
			line.WriteString(strings.Repeat(" ", gap))
		}
		cell := cells[i]
		if t.columns[i].flexible {
			cell = cut(cell, w)
		}
		padding := strings.Repeat(" ", max(0, w-uniseg.StringWidth(cell)))
		if t.columns[i].right {
			line.WriteString(padding + cell)
		} else {
			line.WriteString(cell + padding)
		}
	}
	t.out.line(strings.TrimRight(line.String(), " "))
}
