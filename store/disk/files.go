package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// file is a file of known size that is open for reading. As it is an *os.File,
// copying it to a plain connection takes the kernel's short way.
type file struct {
	*os.File
	size int64
}

// Size in bytes.
func (f *file) Size() int64 { return f.size }

// Open opens committed bytes for reading.
func (f *Files) Open(ctx context.Context, ref store.FileRef) (store.File, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if err := errors.Join(checkPublished(ref), checkAttempt(ref)); err != nil {
		return nil, failed("opening a file", err)
	}
	file, err := f.open(ref)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, store.ErrNotFound
	}
	if err != nil {
		return nil, failed("opening a file", err)
	}
	return file, nil
}

// open looks for the published file, then for committed bytes, then again for
// the published file, as it may have been renamed meanwhile.
func (f *Files) open(ref store.FileRef) (*file, error) {
	s, err := f.shard(ref.ID, false)
	if err != nil {
		return nil, err
	}
	found, err := openIn(s.root, publishedName(ref))
	if !errors.Is(err, fs.ErrNotExist) || ref.Attempt == "" || f.active.writing(ref.Attempt) {
		return found, err
	}
	found, err = openIn(s.root, partName(ref))
	if errors.Is(err, fs.ErrNotExist) {
		return openIn(s.root, publishedName(ref))
	}
	if err == nil {
		// If this fails, the next to open the file tries again.
		_ = s.publish(ref)
	}
	return found, err
}

func openIn(root *os.Root, name string) (*file, error) {
	f, err := root.OpenFile(name, os.O_RDONLY|notPolled, 0)
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil && !info.Mode().IsRegular() {
		err = fs.ErrNotExist
	}
	if err != nil {
		return nil, errors.Join(err, f.Close())
	}
	return &file{File: f, size: info.Size()}, nil
}

// Publish gives committed bytes their final name.
func (f *Files) Publish(ctx context.Context, ref store.FileRef) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if err := checkUpload(ref); err != nil {
		return failed("publishing a file", err)
	}
	if f.active.writing(ref.Attempt) {
		return store.ErrNotFound
	}
	s, err := f.shard(ref.ID, false)
	if err == nil {
		err = s.publish(ref)
	}
	return published(err)
}

// published tells why committed bytes did not get their final name.
func published(err error) error {
	switch {
	case err == nil:
		return nil
	case errors.Is(err, fs.ErrNotExist):
		return store.ErrNotFound
	}
	return failed("publishing a file", err)
}

// Discard removes unpublished bytes.
func (f *Files) Discard(ctx context.Context, ref store.FileRef) error {
	if err := checkPart(ref); err != nil {
		return failed("discarding an upload", err)
	}
	return f.remove(ctx, store.FileRef{ID: ref.ID, Attempt: ref.Attempt})
}

// Delete removes all bytes of ref.
func (f *Files) Delete(ctx context.Context, ref store.FileRef) error {
	if err := checkEither(ref); err != nil {
		return failed("deleting a file", err)
	}
	return f.remove(ctx, ref)
}

// remove removes the unpublished bytes first: if they are published meanwhile,
// they are found under their final name.
func (f *Files) remove(ctx context.Context, ref store.FileRef) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	s, err := f.shard(ref.ID, false)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && ref.Attempt != "" {
		err = s.remove(partName(ref))
	}
	if err == nil && ref.Name != "" {
		err = s.remove(publishedName(ref))
	}
	f.room.Forget()
	if err != nil {
		return failed("deleting a file", err)
	}
	return nil
}

// Interface guard
var _ store.File = (*file)(nil)
