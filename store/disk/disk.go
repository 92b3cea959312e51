// Package disk keeps uploaded files in a directory of a local file system.
//
// Every published file is <dir>/<shard>/<ID>-<name>, where the shard is the
// first two characters of the ID: a static web server can serve the tree.
// Before that its bytes are in <dir>/<shard>/.<ID>.<attempt>.part, and on the
// disk to stay before Commit returns. Publishing renames, and that alone may be
// lost in a power cut: whoever opens a file whose committed bytes still have
// their first name finds them there, and publishes them again.
package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/space"
)

// lockName is the file whose lock says that a process uses the directory.
const lockName = ".lock"

// Files keeps files in a directory that no other process uses meanwhile.
type Files struct {
	dir     string
	root    *os.Root
	top     *os.File // the directory itself
	lock    *os.File
	flusher *flusher
	active  active

	// What uploads took of the free space before they were committed, and what
	// of it ended since. Free tells why these are two that only grow.
	taken, settled atomic.Int64
	room           *space.Meter // free and taken

	mu     sync.Mutex
	closed bool
	shards map[string]*shard
}

// Open opens the directory, and makes it if it is not there. It must be closed
// in the end. Only one process can have it open; the error says so. Nothing
// is removed: what a crash left behind is listed as unpublished.
//
// If public is set, other users of the machine may read the tree. Else it is
// for this user only, unless its permissions say otherwise.
func Open(dir string, public bool) (*Files, error) {
	f, err := openLocked(dir, public)
	if err != nil {
		return nil, fmt.Errorf("files directory %s: %w", dir, remedy(err))
	}
	if public {
		if err := f.makePublic(); err != nil {
			return nil, errors.Join(err, f.Close())
		}
	}
	return f, nil
}

func openLocked(dir string, public bool) (_ *Files, err error) {
	mode := fs.FileMode(0o700)
	if public {
		mode = 0o755
	}
	if err := makeDir(dir, mode); err != nil {
		return nil, err
	}
	f := &Files{dir: dir, shards: make(map[string]*shard)}
	f.room = space.NewMeter(f.measure)
	defer func() {
		if err != nil {
			err = errors.Join(err, f.closeAll())
		}
	}()
	if f.root, err = os.OpenRoot(dir); err != nil {
		return nil, err
	}
	if f.top, err = f.root.Open("."); err != nil {
		return nil, err
	}
	if f.lock, err = f.root.OpenFile(lockName, os.O_CREATE|os.O_RDWR, 0o600); err != nil {
		return nil, err
	}
	if err := lockFile(f.lock); err != nil {
		return nil, err
	}
	// Shards that a process made just before it died may not be on the disk.
	if err := syncDir(f.top); err != nil {
		return nil, err
	}
	f.flusher = newFlusher(f.top)
	return f, nil
}

// makeDir makes the directory and those above it, to stay.
func makeDir(dir string, mode fs.FileMode) error {
	info, err := os.Stat(dir)
	if err == nil && !info.IsDir() {
		return syscall.ENOTDIR
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	parent := filepath.Dir(dir)
	if err := makeDir(parent, mode); err != nil {
		return err
	}
	if err := os.Mkdir(dir, mode); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	p, err := os.Open(parent)
	if err != nil {
		return err
	}
	return errors.Join(syncDir(p), p.Close())
}

// remedy tells the operator what to do about an error of opening.
func remedy(err error) error {
	var advice string
	switch {
	case errors.Is(err, errLocked):
		advice = `another process uses it; end that one first, or change the configuration of a running server with "caddy reload"`
	case errors.Is(err, syscall.ENOTDIR):
		advice = "name a directory, not a file"
	case errors.Is(err, syscall.EROFS):
		advice = "the file system is read-only; mount it writable, or, under systemd, add the directory to ReadWritePaths"
	case errors.Is(err, fs.ErrPermission):
		advice = fmt.Sprintf("user %d may not write there; make that user its owner, or name another directory", os.Getuid())
	case noSpace(err):
		return fmt.Errorf("%w; make room, or name a directory of another file system: %w", store.ErrNoSpace, err)
	default:
		return err
	}
	return fmt.Errorf("%s: %w", advice, err)
}

// makePublic lets other users of the machine read the tree, if the directory is
// ours. Who gave it to us decides otherwise.
func (f *Files) makePublic() error {
	const readable = 0o055
	info, err := f.top.Stat()
	if err != nil {
		return fmt.Errorf("files directory %s: %w", f.dir, err)
	}
	if info.Mode().Perm()&readable == readable {
		return nil
	}
	err = f.top.Chmod(info.Mode().Perm() | readable)
	if err != nil && !errors.Is(err, fs.ErrPermission) {
		return fmt.Errorf("files directory %s: making it readable: %w", f.dir, err)
	}
	return nil
}

// Close ends the use of the directory. Uploads and downloads must have ended.
func (f *Files) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil
	}
	f.closed = true
	return f.closeAll()
}

func (f *Files) closeAll() error {
	if f.flusher != nil {
		f.flusher.close()
	}
	var errs []error
	for _, s := range f.shards {
		errs = append(errs, s.close())
	}
	if f.top != nil {
		errs = append(errs, f.top.Close())
	}
	if f.root != nil {
		errs = append(errs, f.root.Close())
	}
	if f.lock != nil {
		errs = append(errs, f.lock.Close()) // gives the lock back
	}
	return errors.Join(errs...)
}

// Path is where a web server whose root is the directory finds the published
// file; empty for a reference that names none.
func (f *Files) Path(ref store.FileRef) string {
	if checkPublished(ref) != nil {
		return ""
	}
	return path.Join(shardName(ref.ID), publishedName(ref))
}

// Free returns the bytes that new files may take. Two counters make it an
// answer that is never too high, though uploads begin and end meanwhile: what
// is read before was taken before, and what is settled after is left out.
func (f *Files) Free(ctx context.Context) (int64, error) {
	if err := ctx.Err(); err != nil {
		return 0, err
	}
	room, err := f.room.Recent()
	if err != nil {
		return 0, err
	}
	return max(room-f.settled.Load(), 0), nil
}

func (f *Files) measure() (int64, error) {
	taken := f.taken.Load()
	free, err := space.Free(f.dir)
	return free + taken, err
}

// noSpace reports whether err means that the disk or its quota is used up.
func noSpace(err error) bool {
	return errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT)
}

// failed wraps an error of the file system, so that callers can tell it. It has
// no path: the name in it is the user's, and errors are logged.
func failed(doing string, err error) error {
	if path, ok := errors.AsType[*fs.PathError](err); ok {
		err = fmt.Errorf("%s: %w", path.Op, path.Err)
	} else if link, ok := errors.AsType[*os.LinkError](err); ok {
		err = fmt.Errorf("%s: %w", link.Op, link.Err)
	}
	switch {
	case errors.Is(err, os.ErrClosed):
		err = store.ErrClosed
	case noSpace(err):
		err = fmt.Errorf("%w: %w", store.ErrNoSpace, err)
	}
	return fmt.Errorf("%s: %w", doing, err)
}

// Interface guard
var _ store.Files = (*Files)(nil)
