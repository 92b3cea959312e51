//go:build !linux

package badger

import "os"

// flush writes what is dirty in the file to the disk.
func flush(f *os.File) error { return f.Sync() }

// preallocate is false, as there is no means for it here.
func preallocate(*os.File, int64) bool { return false }
