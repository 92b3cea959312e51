//go:build linux

package faults

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// The calls that change what is on a disk, or open it; and those of them that
// wait for the disk.
var (
	diskCalls = map[string]int32{
		"openat": unix.SYS_OPENAT, "mkdirat": unix.SYS_MKDIRAT, "unlinkat": unix.SYS_UNLINKAT,
		"renameat": unix.SYS_RENAMEAT, "renameat2": unix.SYS_RENAMEAT2, "linkat": unix.SYS_LINKAT,
		"fchmod": unix.SYS_FCHMOD, "fchmodat": unix.SYS_FCHMODAT, "fchmodat2": unix.SYS_FCHMODAT2,
		"write": unix.SYS_WRITE, "pwrite64": unix.SYS_PWRITE64, "writev": unix.SYS_WRITEV, "pwritev": unix.SYS_PWRITEV,
		"ftruncate": unix.SYS_FTRUNCATE, "fallocate": unix.SYS_FALLOCATE, "sync_file_range": unix.SYS_SYNC_FILE_RANGE,
		"fsync": unix.SYS_FSYNC, "fdatasync": unix.SYS_FDATASYNC, "syncfs": unix.SYS_SYNCFS, "msync": unix.SYS_MSYNC,
	}
	syncCalls = map[string]int32{
		"fsync": unix.SYS_FSYNC, "fdatasync": unix.SYS_FDATASYNC, "syncfs": unix.SYS_SYNCFS,
		"msync": unix.SYS_MSYNC, "sync_file_range": unix.SYS_SYNC_FILE_RANGE,
	}
)

// call is one system call on a path under the sentry's directory.
type call struct {
	name string
	path string // relative to the directory; of a renaming, the old one
	args [6]uint64
}

// String names the call without what is random in its path.
func (c call) String() string {
	path := randomNames.ReplaceAllString(c.path, "…")
	return c.name + " " + numbers.ReplaceAllString(path, "N")
}

var (
	randomNames = regexp.MustCompile(`[0-9a-v]{26,}|\b[0-9a-v]{2}\b`)
	numbers     = regexp.MustCompile(`\d+`)
)

// creates reports whether the call opens a file to make it.
func (c call) creates() bool { return c.name == "openat" && c.args[2]&unix.O_CREAT != 0 }

// verdict is what becomes of a call. The zero verdict lets it pass.
type verdict struct {
	// errno, if not zero, is its error; it is not made.
	errno unix.Errno
	// kill ends the process instead.
	kill bool
	// pretend tells the process that it was made.
	pretend bool
}

func (v verdict) String() string {
	switch {
	case v.kill:
		return "death"
	case v.errno != 0:
		return unix.ErrnoName(v.errno)
	}
	return "nothing"
}

// sentry is asked by the kernel about the calls of all processes that the test
// starts after it.
type sentry struct {
	dir   string
	names map[int32]string

	mu    sync.Mutex
	judge func(call) verdict
}

// post sets up a sentry for these calls on what is below dir.
func post(t *testing.T, dir string, calls map[string]int32) *sentry {
	t.Helper()
	s := &sentry{dir: dir, names: make(map[int32]string)}
	socketDir, err := os.MkdirTemp("", "sentry") // t.TempDir is too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(socketDir) })
	socket := filepath.Join(socketDir, "s")
	l, err := net.ListenUnix("unix", &net.UnixAddr{Name: socket, Net: "unix"})
	if err != nil {
		t.Fatal(err)
	}
	var listeners sync.WaitGroup
	t.Cleanup(func() { // after that of the rig, which ends the processes
		l.Close()
		listeners.Wait()
	})
	listeners.Go(func() {
		for {
			conn, err := l.AcceptUnix()
			if err != nil {
				return
			}
			if listener, err := received(conn); err == nil {
				listeners.Go(func() { listen(listener, s.decide) })
				_, _ = conn.Write([]byte{0})
			}
			conn.Close()
		}
	})
	fields := []string{socket}
	for name, nr := range calls {
		s.names[nr] = name
		fields = append(fields, strconv.Itoa(int(nr)))
	}
	t.Setenv(envSentry, strings.Join(fields, " "))
	return s
}

// requireSentry skips the test where the kernel has no sentries to offer.
func requireSentry(t *testing.T) {
	t.Helper()
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		t.Fatal(err)
	}
	var major, minor int
	_, _ = fmt.Sscanf(unix.ByteSliceToString(name.Release[:]), "%d.%d", &major, &minor)
	if major < 5 || major == 5 && minor < 19 {
		rig.Skip(t, "faults are injected by Linux 5.19 and later")
	}
}

// watch has each call judged, and returns what ends that.
func (s *sentry) watch(judge func(call) verdict) (stop func()) {
	s.set(judge)
	return func() { s.set(nil) }
}

func (s *sentry) set(judge func(call) verdict) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.judge = judge
}

// decide answers the kernel.
func (s *sentry) decide(n notification) response {
	s.mu.Lock()
	defer s.mu.Unlock()
	pass := response{flags: unix.SECCOMP_USER_NOTIF_FLAG_CONTINUE}
	if s.judge == nil {
		return pass
	}
	c := call{name: s.names[n.nr], args: n.args}
	path, ok := strings.CutPrefix(pathOf(c.name, n), s.dir+"/")
	if !ok {
		return pass
	}
	c.path = path
	switch v := s.judge(c); {
	case v.kill:
		_ = unix.Kill(int(n.pid), unix.SIGKILL)
		return response{errno: -int32(unix.EINTR)} // nobody sees it
	case v.errno != 0:
		return response{errno: -int32(v.errno)}
	case v.pretend:
		return response{}
	}
	return pass
}

// pathOf returns the path that a call is about, empty if it has none.
func pathOf(name string, n notification) string {
	switch {
	case name == "msync":
		return mapped(n.pid, n.args[0])
	case !strings.HasSuffix(name, "at") && !strings.HasSuffix(name, "at2"):
		return descriptor(n.pid, n.args[0])
	}
	path := memory(n.pid, n.args[1])
	if !filepath.IsAbs(path) {
		path = filepath.Join(descriptor(n.pid, n.args[0]), path)
	}
	return path
}

// descriptor returns the path of an open file.
func descriptor(pid uint32, fd uint64) string {
	link := fmt.Sprintf("/proc/%d/fd/%d", pid, int32(fd))
	if int32(fd) == unix.AT_FDCWD {
		link = fmt.Sprintf("/proc/%d/cwd", pid)
	}
	path, _ := os.Readlink(link)
	return path
}

// mapped returns the path of the file that is mapped at an address.
func mapped(pid uint32, address uint64) string {
	maps, _ := os.ReadFile(fmt.Sprintf("/proc/%d/maps", pid))
	for line := range strings.Lines(string(maps)) {
		var from, to uint64
		if _, err := fmt.Sscanf(line, "%x-%x", &from, &to); err == nil && from <= address && address < to {
			if i := strings.Index(line, "/"); i >= 0 {
				return strings.TrimSpace(line[i:])
			}
		}
	}
	return ""
}

// record returns the calls that f makes.
func (s *sentry) record(f func()) (calls []call) {
	stop := s.watch(func(c call) verdict {
		calls = append(calls, c)
		return verdict{}
	})
	f()
	stop()
	return slices.Clip(calls)
}

// strike has one call meet the verdict: the nth from now on that suits, from 0
// on. It returns what ends that and tells which call it was, if any.
func (s *sentry) strike(nth int, suits func(call) bool, v verdict) (stop func() (struck call, ok bool)) {
	var struck call
	seen, ok := 0, false
	end := s.watch(func(c call) verdict {
		if ok || !suits(c) {
			return verdict{}
		}
		if seen++; seen <= nth {
			return verdict{}
		}
		struck, ok = c, true
		return v
	})
	return func() (call, bool) {
		end()
		return struck, ok
	}
}

func anyCall(call) bool { return true }
