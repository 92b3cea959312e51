package disk

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/space"
)

// writebackStep is how many bytes an upload writes before the disk is told to
// begin with them: the larger an upload, the less is left to wait for at its end.
const writebackStep = 1 << 20

var errEnded = errors.New("upload has ended")

// upload writes one part file.
type upload struct {
	files *Files
	shard *shard
	ref   store.FileRef
	file  *os.File // nil once its bytes are committed or abandoned

	size, written int64
	started       int64 // bytes whose write-back began
	reserved      bool  // the file system set size bytes aside
	taken         int64 // what this upload added to Files.taken and has not settled

	committed, ended bool
}

// Create begins an upload.
func (f *Files) Create(ctx context.Context, ref store.FileRef, size int64) (store.Upload, error) {
	u, err := f.create(ctx, ref, size)
	if err != nil {
		return nil, failed("beginning an upload", err)
	}
	return u, nil
}

func (f *Files) create(ctx context.Context, ref store.FileRef, size int64) (*upload, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := checkUpload(ref); err != nil {
		return nil, err
	}
	if size < 0 {
		return nil, fmt.Errorf("size %d is negative", size)
	}
	// What cannot fit must not fill the disk before it fails.
	if free, err := space.Free(f.dir); err != nil {
		return nil, err
	} else if size > free {
		return nil, fmt.Errorf("%w: %d bytes are free, %d are needed", store.ErrNoSpace, free, size)
	}
	if !f.active.enter(ref.Attempt) {
		return nil, fmt.Errorf("this attempt: %w", fs.ErrExist)
	}
	s, file, err := f.createPart(ref)
	if err != nil {
		f.active.leave(ref.Attempt)
		return nil, err
	}
	u := &upload{files: f, shard: s, ref: ref, file: file, size: size}
	if err := u.prepare(); err != nil {
		return nil, errors.Join(err, u.Abort())
	}
	return u, nil
}

// createPart makes the part file. If its shard was removed by hand, such as an
// empty directory may be, it is made again.
func (f *Files) createPart(ref store.FileRef) (*shard, *os.File, error) {
	for again := false; ; again = true {
		s, err := f.shard(ref.ID, true)
		if err != nil {
			return nil, nil, err
		}
		file, err := s.root.OpenFile(partName(ref), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
		if again || !errors.Is(err, fs.ErrNotExist) {
			return s, file, err
		}
		f.forget(s)
	}
}

// prepare lets everybody read what later may be public, whatever the umask, and
// reserves room.
func (u *upload) prepare() error {
	err := u.file.Chmod(0o644)
	if err != nil {
		return err
	}
	if u.reserved, err = reserve(u.file, u.size); err != nil {
		return err
	}
	if u.reserved {
		u.take(u.size)
	}
	return nil
}

// Write appends to the file.
func (u *upload) Write(p []byte) (int, error) {
	if u.file == nil {
		return 0, errEnded
	}
	if int64(len(p)) > u.size-u.written {
		return 0, fmt.Errorf("more than the announced %d bytes", u.size)
	}
	n, err := u.file.Write(p)
	u.written += int64(n)
	if !u.reserved {
		u.take(int64(n))
	}
	if err == nil && u.written-u.started >= writebackStep {
		err = startWriteback(u.file, u.started, u.written-u.started)
		u.started = u.written
	}
	if err != nil {
		return n, failed("writing an upload", err)
	}
	return n, nil
}

// Commit returns once the bytes and their name survive a power cut. It waits
// for the disk even if ctx ends. What a failed flush wrote is in doubt, and
// stays so: a second Commit is an error.
func (u *upload) Commit(ctx context.Context) error {
	if u.file == nil {
		return errEnded
	}
	if u.written != u.size {
		return fmt.Errorf("%d of the announced %d bytes were written", u.written, u.size)
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	err := u.flush()
	err = errors.Join(err, u.close())
	if err != nil {
		return failed("flushing an upload", err)
	}
	u.settle()
	u.committed = true
	u.files.active.commit(u.ref.Attempt)
	return nil
}

// flush brings the bytes of a large upload to the disk by itself, so that those
// who share the rest of the flush need not wait for them.
func (u *upload) flush() error {
	if u.started > 0 {
		if err := finishWriteback(u.file); err != nil {
			return err
		}
	}
	return u.files.flusher.flush(u.shard, u.file)
}

// Publish gives the bytes their final name, even if ctx has ended: their slot is
// used.
func (u *upload) Publish(context.Context) error {
	if u.ended {
		return errEnded
	}
	if !u.committed {
		return errors.New("upload is not committed")
	}
	u.ended = true
	defer u.files.active.leave(u.ref.Attempt)
	return published(u.shard.publish(u.ref))
}

// Abort removes the part file, unless Publish was called.
func (u *upload) Abort() error {
	if u.ended {
		return nil
	}
	u.ended = true
	// Even if removing fails: then clean-up finds it in the listing.
	defer u.files.active.leave(u.ref.Attempt)
	u.settle()
	err := errors.Join(u.close(), u.shard.remove(partName(u.ref)))
	u.files.room.Forget()
	if err != nil {
		return failed("aborting an upload", err)
	}
	return nil
}

func (u *upload) close() error {
	if u.file == nil {
		return nil
	}
	file := u.file
	u.file = nil
	return file.Close()
}

// take counts bytes that the file system counts as used, and that are not yet.
func (u *upload) take(n int64) {
	u.taken += n
	u.files.taken.Add(n)
}

// settle leaves it to the file system what is used: before it may become free.
func (u *upload) settle() {
	u.files.settled.Add(u.taken)
	u.taken = 0
}

// Interface guard
var _ store.Upload = (*upload)(nil)
