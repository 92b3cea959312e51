//go:build unix

package disk

import (
	"errors"
	"os"

	"golang.org/x/sys/unix"
)

// errLocked: another process holds the lock.
var errLocked = unix.EWOULDBLOCK

// notPolled spares opening a file to read it four system calls: without it, package
// os makes the file non-blocking, to wait for it as for a connection, and then
// not again, as that is not possible. Regular files take no notice of it.
const notPolled = unix.O_NONBLOCK

// lockFile locks the file until it is closed or its process dies.
func lockFile(f *os.File) error {
	for {
		err := unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
		if !errors.Is(err, unix.EINTR) {
			return os.NewSyscallError("flock", err)
		}
	}
}

// syncDir makes the names in the directory survive a power cut.
func syncDir(dir *os.File) error { return dir.Sync() }
