package rig

import (
	"encoding/binary"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// clockFile, in the directory of a Caddy, holds by how many seconds its clock is
// ahead of the machine's: 64 bits in the order of the machine. A Caddy that
// starts where it lies keeps to it from then on.
const clockFile = "clock"

// SetClock sets the wall clock of this Caddy, and of its Commands, ahead of the
// machine's, or behind it if offset is negative, by whole seconds. A Caddy that
// runs sees it at once, as when somebody sets the machine's clock: monotonic
// time goes on, and the kernel, which stamps files, knows nothing of it. It
// holds until the next call, also for the Caddys that Restart starts. The first
// call comes before the first Start. Where it can't be done the test is skipped.
func (c *Caddy) SetClock(offset time.Duration) {
	c.t.Helper()
	if offset%time.Second != 0 {
		c.t.Fatalf("a clock is set by whole seconds, not by %s", offset)
	}
	file := filepath.Join(c.Dir, clockFile)
	if _, err := os.Stat(file); errors.Is(err, fs.ErrNotExist) {
		if c.proc != nil {
			c.t.Fatal("caddy was started under the machine's clock")
		}
		if _, err := findClock(); err != nil {
			Skip(c.t, "no clock can be set for a process alone: "+err.Error())
		}
		if err := os.WriteFile(file, make([]byte, 8), 0o600); err != nil {
			c.t.Fatal(err)
		}
	}
	if err := writeClock(file, int64(offset/time.Second)); err != nil {
		c.t.Fatal(err)
	}
}

// Clock returns what SetClock has set, 0 if nothing.
func (c *Caddy) Clock() time.Duration {
	c.t.Helper()
	b, err := os.ReadFile(filepath.Join(c.Dir, clockFile))
	if errors.Is(err, fs.ErrNotExist) {
		return 0
	}
	if err != nil || len(b) != 8 {
		c.t.Fatalf("a clock of %d bytes, %v", len(b), err)
	}
	return time.Duration(binary.NativeEndian.Uint64(b)) * time.Second
}

// Now is the time by this Caddy's clock, without a monotonic one.
func (c *Caddy) Now() time.Time {
	c.t.Helper()
	return time.Now().Round(0).Add(c.Clock())
}
