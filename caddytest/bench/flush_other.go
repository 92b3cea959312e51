//go:build !linux

package main

import "os"

// flushFileSystem flushes all file systems.
func flushFileSystem(*os.File) error { return flushDisk() }

// flushBytes flushes a file.
func flushBytes(file *os.File) error { return file.Sync() }
