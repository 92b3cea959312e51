package rig

import (
	"fmt"
	"os"
	"strconv"
	"strings"
)

// Memory returns the resident memory of the running Caddy in bytes, as it is
// and at its highest since the start or the last ResetPeak. Linux only.
func (c *Caddy) Memory() (now, peak int64) {
	c.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID()))
	if err != nil {
		c.t.Fatalf("reading caddy's memory: %v", err)
	}
	return statusBytes(string(b), "VmRSS:"), statusBytes(string(b), "VmHWM:")
}

// ResetPeak makes the highest memory use begin anew. Linux only.
func (c *Caddy) ResetPeak() {
	c.t.Helper()
	file := fmt.Sprintf("/proc/%d/clear_refs", c.PID())
	if err := os.WriteFile(file, []byte("5"), 0); err != nil {
		c.t.Fatalf("resetting the peak of caddy's memory: %v", err)
	}
}

// statusBytes reads a line such as "VmRSS:   51200 kB".
func statusBytes(status, key string) int64 {
	_, rest, _ := strings.Cut(status, key)
	fields := strings.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(fields[0], 10, 64)
	return kib << 10
}
