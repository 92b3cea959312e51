package disk

import (
	"errors"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// reserve sets size bytes aside for the empty file, which keeps its length, so
// that a crash cannot make a part of an upload look complete. It is false where
// the file system cannot do so.
func reserve(f *os.File, size int64) (bool, error) {
	if size == 0 {
		return false, nil
	}
	for {
		err := unix.Fallocate(int(f.Fd()), unix.FALLOC_FL_KEEP_SIZE, 0, size)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, unix.EOPNOTSUPP), errors.Is(err, unix.ENOSYS):
			return false, nil
		case !errors.Is(err, unix.EINTR):
			return false, os.NewSyscallError("fallocate", err)
		}
	}
}

// startWriteback tells the disk to begin with these bytes, and does not wait.
func startWriteback(f *os.File, offset, n int64) error {
	return syncRange(f, offset, n, unix.SYNC_FILE_RANGE_WRITE)
}

// finishWriteback returns once the disk has taken all bytes of the file, or
// failed to. To be safe there, they still need a flush.
func finishWriteback(f *os.File) error {
	return syncRange(f, 0, 0, unix.SYNC_FILE_RANGE_WRITE|unix.SYNC_FILE_RANGE_WAIT_BEFORE|unix.SYNC_FILE_RANGE_WAIT_AFTER)
}

func syncRange(f *os.File, offset, n int64, flags int) error {
	err := unix.SyncFileRange(int(f.Fd()), offset, n, flags)
	if errors.Is(err, unix.ENOSYS) {
		return nil // it only makes the flush shorter
	}
	return os.NewSyscallError("sync_file_range", err)
}

// syncsTogether reports whether one syncfs does what a flush of each file and
// directory does: it is known of these file systems, and Linux before 5.17 kept
// some errors to itself.
func syncsTogether(top *os.File) bool {
	var st unix.Statfs_t
	if unix.Fstatfs(int(top.Fd()), &st) != nil {
		return false
	}
	switch int64(st.Type) {
	case unix.EXT4_SUPER_MAGIC, unix.XFS_SUPER_MAGIC:
		return kernelSince(5, 17)
	}
	return false
}

func kernelSince(major, minor int) bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return false
	}
	version := strings.SplitN(unix.ByteSliceToString(name.Release[:]), ".", 3)
	if len(version) < 3 {
		return false
	}
	haveMajor, _ := strconv.Atoi(version[0])
	haveMinor, _ := strconv.Atoi(version[1])
	return haveMajor > major || haveMajor == major && haveMinor >= minor
}

// flushAll flushes the whole file system once. An error of that may be
// another's, but fails all. One of a file that was told to another call of
// syncfs is found by asking for the file's own.
func (f *flusher) flushAll(jobs []*flushJob) {
	err := os.NewSyscallError("syncfs", unix.Syncfs(int(f.top.Fd())))
	for _, job := range jobs {
		if job.err = err; err == nil {
			job.err = syncRange(job.file, 0, 0, unix.SYNC_FILE_RANGE_WAIT_BEFORE)
		}
	}
}
