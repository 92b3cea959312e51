//go:build unix

package space

import (
	"fmt"

	"golang.org/x/sys/unix"
)

// Free returns the bytes that an unprivileged process may still use on the file
// system that holds path.
func Free(path string) (int64, error) {
	var st unix.Statfs_t
	if err := unix.Statfs(path, &st); err != nil {
		return 0, fmt.Errorf("asking for the free space of %s: %w", path, err)
	}
	// A negative count means that even the reserve is used. Types differ by system.
	return max(int64(st.Bavail), 0) * unit(&st), nil //nolint:gosec,unconvert
}
