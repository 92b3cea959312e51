package space

import (
	"fmt"
	"math"

	"golang.org/x/sys/windows"
)

// Free returns the bytes that this user may still use on the volume that holds
// path.
func Free(path string) (int64, error) {
	p, err := windows.UTF16PtrFromString(path)
	if err != nil {
		return 0, err
	}
	var free uint64
	if err := windows.GetDiskFreeSpaceEx(p, &free, nil, nil); err != nil {
		return 0, fmt.Errorf("asking for the free space of %s: %w", path, err)
	}
	return int64(min(free, math.MaxInt64)), nil
}
