package disk

import (
	"os"

	"golang.org/x/sys/windows"
)

// errLocked: another process holds the lock.
var errLocked = windows.ERROR_LOCK_VIOLATION

// notPolled is of use elsewhere.
const notPolled = 0

// lockFile locks the file until it is closed or its process dies.
func lockFile(f *os.File) error {
	const flags = windows.LOCKFILE_EXCLUSIVE_LOCK | windows.LOCKFILE_FAIL_IMMEDIATELY
	err := windows.LockFileEx(windows.Handle(f.Fd()), flags, 0, 1, 0, new(windows.Overlapped))
	return os.NewSyscallError("LockFileEx", err)
}

// syncDir does nothing: NTFS keeps its own order, and flushes no directories.
func syncDir(*os.File) error { return nil }
