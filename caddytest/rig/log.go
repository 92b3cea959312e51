package rig

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Entry is one line of Caddy's log.
type Entry struct {
	Level   string  `json:"level"`
	Logger  string  `json:"logger"`
	Message string  `json:"msg"`
	Status  int     `json:"status"` // of access log lines, as is Request
	Request Request `json:"request"`
	// Raw is the whole line.
	Raw string `json:"-"`
}

// Request is what an access log line tells of a request.
type Request struct {
	RemotePort string `json:"remote_port"`
	Proto      string `json:"proto"`
	Method     string `json:"method"`
	URI        string `json:"uri"`
}

// Logs returns all that Caddy has logged since New, over restarts. A line may
// be written shortly after the client has its answer: see Await.
func (c *Caddy) Logs() []Entry {
	c.t.Helper()
	var entries []Entry
	for line := range strings.Lines(c.log()) {
		e := Entry{Raw: strings.TrimSpace(line)}
		if err := json.Unmarshal([]byte(line), &e); err != nil {
			continue // a line in the making, or one that a kill cut off
		}
		entries = append(entries, e)
	}
	return entries
}

// Output returns what Caddy wrote to its standard output and error since New.
func (c *Caddy) Output() string { return read(c.outputFile()) }

func (c *Caddy) log() string { return read(c.logFile()) }

func (c *Caddy) logFile() string    { return filepath.Join(c.Dir, "caddy.log") }
func (c *Caddy) outputFile() string { return filepath.Join(c.Dir, "caddy.out") }

// checkOutput fails the test for what must never happen, whatever it tests.
func (c *Caddy) checkOutput() {
	c.t.Helper()
	output, log := c.Output(), c.log()
	for _, bad := range []string{"WARNING: DATA RACE", "panic: ", "panic serving", "fatal error: "} {
		if strings.Contains(output, bad) || strings.Contains(log, bad) {
			c.t.Errorf("caddy wrote %q:\n%s", bad, output)
		}
	}
}

func read(file string) string {
	b, _ := os.ReadFile(file) // no file: nothing was written
	return string(b)
}

// tail returns the last lines of s.
func tail(s string) string {
	const lines = 60
	all := strings.SplitAfter(s, "\n")
	return strings.Join(all[max(0, len(all)-lines):], "")
}

// Await returns when ok does not return false any more. It fails the test if
// that takes too long; what says what it waits for.
func Await(t testing.TB, what string, ok func() bool) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for !ok() {
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain for %s", Patience, what)
		}
		time.Sleep(10 * time.Millisecond)
	}
}
