//go:build !linux

package badger

import "os"

// flush writes what is dirty in the file to the disk.
func flush(f *os.File) error { return f.Sync() }

// preallocate does nothing where the system has no means for it.
func preallocate(*os.File, int64) {}
