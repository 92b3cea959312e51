//go:build unix && !linux

package space

import "golang.org/x/sys/unix"

// unit is what the counts of blocks are in.
func unit(st *unix.Statfs_t) int64 { return int64(st.Bsize) }
