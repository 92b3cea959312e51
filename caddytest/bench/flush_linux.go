package main

import (
	"os"

	"golang.org/x/sys/unix"
)

// flushFileSystem flushes the file system that the file is on.
func flushFileSystem(file *os.File) error { return unix.Syncfs(int(file.Fd())) }

// flushBytes flushes a file, without times that nobody needs.
func flushBytes(file *os.File) error { return unix.Fdatasync(int(file.Fd())) }
