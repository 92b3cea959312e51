package space

import "golang.org/x/sys/unix"

// unit is what the counts of blocks are in: not Bsize, which network file
// systems and FUSE choose as they like.
func unit(st *unix.Statfs_t) int64 { return st.Frsize }
