package rig

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
)

// listening is the state of a listening socket in /proc/net/tcp.
const listening = "0A"

// settle waits for the end of the configuration before a reload, as far as a
// system has /proc to tell. Where Caddy listened already it opens a second
// socket, answers the reload, and only then closes the first: whoever connected
// to that one is reset, and no client of a test means to try that.
func (c *Caddy) settle() {
	c.t.Helper()
	p := c.proc
	Await(c.t, "the sockets of the old configuration to close", func() bool {
		addresses := p.listens()
		slices.Sort(addresses)
		return len(slices.Compact(slices.Clone(addresses))) == len(addresses)
	})
}

// listens are the addresses of the process's listening sockets, in the words of
// the kernel.
func (p *process) listens() []string {
	own := p.sockets()
	var addresses []string
	for _, table := range []string{"tcp", "tcp6"} {
		for line := range strings.Lines(read(p.path("net", table))) {
			f := strings.Fields(line)
			if len(f) > 9 && f[3] == listening && own[f[9]] {
				addresses = append(addresses, f[1])
			}
		}
	}
	return addresses
}

// sockets are the inodes of the process's sockets.
func (p *process) sockets() map[string]bool {
	own := make(map[string]bool)
	fds, _ := os.ReadDir(p.path("fd")) // none: it has ended, or there is no /proc
	for _, fd := range fds {
		target, _ := os.Readlink(p.path("fd", fd.Name()))
		if inode, ok := strings.CutPrefix(target, "socket:["); ok {
			own[strings.TrimSuffix(inode, "]")] = true
		}
	}
	return own
}

// path is where Linux tells something of the process.
func (p *process) path(of ...string) string {
	return filepath.Join(append([]string{"/proc", strconv.Itoa(p.cmd.Process.Pid)}, of...)...)
}
