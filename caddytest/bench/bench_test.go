package main

import (
	"bytes"
	"encoding/xml"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
)

// TestMain makes this test the servers that the program is.
func TestMain(m *testing.M) {
	served, err := serve()
	switch {
	case err != nil:
		panic(err)
	case !served:
		os.Exit(m.Run())
	}
}

// TestEveryRowRuns runs all rows with tiny numbers: this is about the harness,
// and no measurement.
func TestEveryRowRuns(t *testing.T) {
	profiles := filepath.Join(t.TempDir(), "profiles")
	// Not below the directory of the test, where nginx may not look.
	b, err := newBench(settings{dir: os.TempDir(), time: 20 * time.Millisecond, scale: 1e-4, profiles: profiles})
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(b.dir)
	profiler := b.profiler
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			b.profiler = nil
			if r.name == "serial" {
				b.profiler = profiler
			}
			results, err := b.row(r, 1)
			if err != nil {
				t.Fatal(err)
			}
			if len(results) != len(r.figures) {
				t.Errorf("%d results of %d figures", len(results), len(r.figures))
			}
			for _, res := range results {
				for _, s := range res.Sides {
					if s.Median < 0 || s.Min > s.Median || s.Median > s.Max {
						t.Errorf("%s: %+v", res.Figure, s)
					}
				}
				if first := res.Sides[0]; first.Median == 0 && len(res.Sides) > 1 {
					t.Errorf("%s of %s is 0", res.Figure, first.Name)
				}
			}
		})
	}
	wantProfiles(t, filepath.Join(profiles, "serial"))
}

func wantProfiles(t *testing.T, name string) {
	t.Helper()
	kinds := []string{"cpu", "allocs", "block"}
	if _, err := exec.LookPath("strace"); err == nil {
		kinds = append(kinds, "syscalls")
	}
	for _, kind := range kinds {
		if info, err := os.Stat(name + "." + kind + ".txt"); err != nil || info.Size() == 0 {
			t.Errorf("no profile %s: %v", kind, err)
		}
	}
}

// What is prepared is, byte for byte, what as many uploads leave.
func TestAPreparedHistoryIsWhatUploadsLeave(t *testing.T) {
	h := history{
		Uploads: 200, JIDs: 23, Keep: 1000 * time.Hour,
		First: time.Date(2026, 1, 30, 22, 0, 0, 0, time.UTC), Step: 20 * time.Minute,
	}
	slots, err := badger.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer slots.Close()
	for i := range h.Uploads {
		upload(t, slots, h.slot(i))
	}
	var want, got bytes.Buffer
	if err := errors.Join(slots.Backup(t.Context(), &want), h.backup(&got)); err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want.Bytes()) {
		t.Errorf("the prepared copy has %d bytes, that of uploads %d, and they differ", got.Len(), want.Len())
	}
}

// upload makes an upload in a store.
func upload(t *testing.T, slots store.Slots, slot store.Slot) {
	t.Helper()
	waiting := slot
	waiting.State, waiting.Uploaded, waiting.Expires, waiting.Attempt = store.Waiting, time.Time{}, time.Time{}, ""
	err := slots.Reserve(t.Context(), waiting, store.Limits{Room: -1})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := slots.Begin(t.Context(), slot.ID, slot.Reserved); err != nil {
		t.Fatal(err)
	}
	result := store.Result{ContentType: slot.ContentType, Attempt: slot.Attempt, At: slot.Uploaded, Expires: slot.Expires}
	if _, err := slots.Commit(t.Context(), slot.ID, result); err != nil {
		t.Fatal(err)
	}
}

// resultOf returns the result of a row whose two sides have these values.
func resultOf(name string, goals []goal, ours, peer []float64) result {
	r := row{name: name, figures: one("ms", goals...)}
	values := make([][][]float64, 2)
	for i := range ours {
		values[0] = append(values[0], ours[i:i+1])
		values[1] = append(values[1], peer[i:i+1])
	}
	return r.results([]side{{name: "ours", x: 100}, {name: "peer", x: 10}}, values)[0]
}

func TestGoals(t *testing.T) {
	for name, tc := range map[string]struct {
		goal       goal
		ours, peer []float64
		want       bool
	}{
		"half is reached":             {goal{ratioAtLeast, 0.5, 1}, []float64{5, 6, 1}, []float64{10, 10, 10}, true},
		"half is missed":              {goal{ratioAtLeast, 0.5, 1}, []float64{4, 4, 9}, []float64{10, 10, 10}, false},
		"twice is reached":            {goal{ratioAtMost, 2, 1}, []float64{20, 20, 90}, []float64{10, 10, 10}, true},
		"twice is overrun":            {goal{ratioAtMost, 2, 1}, []float64{21, 21, 1}, []float64{10, 10, 10}, false},
		"so much more is reached":     {goal{moreAtMost, 3, 1}, []float64{13, 14, 2}, []float64{10, 11, 10}, true},
		"so much more is overrun":     {goal{moreAtMost, 3, 1}, []float64{14, 15, 2}, []float64{10, 11, 10}, false},
		"a bound of ours is reached":  {goal{atMost, 3, 0}, []float64{3, 3, 9}, []float64{0, 0, 0}, true},
		"a bound of ours is overrun":  {goal{atMost, 3, 0}, []float64{4, 4, 1}, []float64{0, 0, 0}, false},
		"rounds are compared in turn": {goal{ratioAtMost, 1, 1}, []float64{1, 20, 300}, []float64{1, 20, 300}, true},
	} {
		t.Run(name, func(t *testing.T) {
			r := resultOf("slots", []goal{tc.goal}, tc.ours, tc.peer)
			if got := tc.goal.reached(r.Sides); got != tc.want {
				t.Errorf("%v: %v, want %v", tc.goal, got, tc.want)
			}
		})
	}
}

func TestTheTableOfADocument(t *testing.T) {
	file := filepath.Join(t.TempDir(), "doc.md")
	write := func(machine string, results ...result) string {
		t.Helper()
		if err := writeTable(file, results, machine); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		return string(text)
	}
	if err := os.WriteFile(file, []byte("before\n\n<!-- table -->\nold\n<!-- /table -->\n\nafter\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	serial := resultOf("serial", []goal{{atMost, 0.25, 0}}, []float64{0.2}, []float64{0.1})
	list := resultOf("list", nil, []float64{12345}, []float64{3})
	text := write("this machine", list)
	for _, want := range []string{"before\n\n<!-- table -->\n| row ", "| list |  | ours | 12,345 | 12,345..12,345 | ms |  |  |  |\n", "\nthis machine\n<!-- /table -->\n\nafter\n"} {
		if !strings.Contains(text, want) {
			t.Errorf("no %q in\n%s", want, text)
		}
	}
	text = write("this machine", serial)
	if a, b := strings.Index(text, "| serial |"), strings.Index(text, "| list |"); a < 0 || b < a {
		t.Errorf("a row that was not run does not stay in its place:\n%s", text)
	}
	if again := write("this machine", serial); again != text {
		t.Errorf("the same results make another table:\n%s\n%s", text, again)
	}
	if text = write("another machine", serial); strings.Contains(text, "| list |") {
		t.Errorf("rows of two machines:\n%s", text)
	}
	if err := os.WriteFile(file, []byte("no table"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := writeTable(file, nil, ""); err == nil || !strings.Contains(err.Error(), "has no table") {
		t.Errorf("without a table: %v", err)
	}
}

func TestNumbersOfTables(t *testing.T) {
	for f, want := range map[float64]string{
		0: "0", 0.00123: "0.00123", 0.25: "0.25", 1.005: "1", 12.34: "12.3", 99.99: "100", 100.4: "100", 5e6: "5,000,000", -1234: "-1,234", 0.00001: "0.00001",
	} {
		if got := number(f); got != want {
			t.Errorf("%v is %q, want %q", f, got, want)
		}
	}
}

// The plot has a line for each result, and is XML.
func TestPlot(t *testing.T) {
	svg := plot([]result{
		resultOf("growth", nil, []float64{0.2}, []float64{0.1}),
		resultOf("growth", nil, []float64{200}, []float64{3}),
	})
	lines := 0
	for d := xml.NewDecoder(strings.NewReader(svg)); ; {
		token, err := d.Token()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, svg)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "polyline" {
			lines++
		}
	}
	if lines != 2 || strings.Contains(svg, "NaN") || strings.Contains(svg, "Inf") {
		t.Errorf("%d lines in\n%s", lines, svg)
	}
}
