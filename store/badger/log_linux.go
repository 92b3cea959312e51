package badger

import (
	"os"

	"golang.org/x/sys/unix"
)

// flush writes what is dirty in the file, also through a mapping, to the disk.
func flush(f *os.File) error { return unix.Fdatasync(int(f.Fd())) } //nolint:gosec // a descriptor fits

// preallocate takes room for the first size bytes of the file, if it can.
func preallocate(f *os.File, size int64) {
	_ = unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size) //nolint:gosec // a descriptor fits
}
