package badger

import (
	"os"

	"golang.org/x/sys/unix"
)

// flush writes what is dirty in the file, also through a mapping, to the disk.
func flush(f *os.File) error { return unix.Fdatasync(int(f.Fd())) } //nolint:gosec // a descriptor fits

// preallocate takes room for the first size bytes of the file. It is false where
// there is none, or where the file system has no means for it.
func preallocate(f *os.File, size int64) bool {
	return unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size) == nil //nolint:gosec // a descriptor fits
}
