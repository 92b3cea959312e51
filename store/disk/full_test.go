//go:build linux

package disk_test

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/storetest"
)

const mib = 1 << 20

// mountTmpfs returns a directory with a small file system of its own.
func mountTmpfs(t testing.TB, flags uintptr, options string) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small tmpfs")
	}
	dir := t.TempDir()
	if err := syscall.Mount("tmpfs", dir, "tmpfs", flags, options); err != nil {
		t.Skipf("cannot mount a small tmpfs: %v", err)
	}
	t.Cleanup(func() {
		if err := syscall.Unmount(dir, 0); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// TestFilesOnTmpfs is where each file and directory is flushed for itself.
func TestFilesOnTmpfs(t *testing.T) {
	storetest.Files(t, func(t testing.TB) store.Files {
		return open(t, mountTmpfs(t, 0, "size=256m"))
	})
}

func TestFullDisk(t *testing.T) {
	dir := mountTmpfs(t, 0, "size=8m")
	f := open(t, dir)
	free := func() int64 {
		t.Helper()
		n, err := f.Free(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n
	}
	upload := func(size int64) (store.FileRef, error) {
		ref := newRef()
		u, err := f.Create(t.Context(), ref, size)
		if err != nil {
			return ref, err
		}
		defer u.Abort()
		if _, err := io.Copy(u, io.LimitReader(zeros{}, size)); err != nil {
			return ref, err
		}
		if err := u.Commit(t.Context()); err != nil {
			return ref, err
		}
		return ref, u.Publish(t.Context())
	}

	empty := free()
	if _, err := upload(9 * mib); !errors.Is(err, store.ErrNoSpace) {
		t.Fatalf("9 of 8 MiB: %v, want %v", err, store.ErrNoSpace)
	}
	if free() != empty {
		t.Fatalf("%d bytes are free after the refusal, want %d", free(), empty)
	}

	var stored []store.FileRef
	for {
		ref, err := upload(mib)
		if err != nil {
			if !errors.Is(err, store.ErrNoSpace) {
				t.Fatalf("on a full disk: %v, want %v", err, store.ErrNoSpace)
			}
			break
		}
		stored = append(stored, ref)
		if want := empty - mib*int64(len(stored)); free() != want {
			t.Fatalf("%d bytes are free, want %d", free(), want)
		}
	}
	if n := countFiles(t, dir); n != len(stored) || n < 6 {
		t.Fatalf("%d files are there, %d were stored", n, len(stored))
	}

	if err := f.Delete(t.Context(), stored[0]); err != nil {
		t.Fatalf("Delete on a full disk: %v", err)
	}
	if _, err := upload(mib); err != nil {
		t.Fatalf("with room again: %v", err)
	}
}

func TestFullDiskRacing(t *testing.T) {
	dir := mountTmpfs(t, 0, "size=8m")
	f := open(t, dir)
	empty, err := f.Free(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var wg sync.WaitGroup
	uploads := make([]store.Upload, 32)
	for i := range uploads {
		wg.Go(func() {
			u, err := f.Create(t.Context(), newRef(), mib)
			if err != nil && !errors.Is(err, store.ErrNoSpace) {
				t.Errorf("Create: %v, want %v", err, store.ErrNoSpace)
			}
			uploads[i] = u
		})
	}
	wg.Wait()
	begun := 0
	for _, u := range uploads {
		if u == nil {
			continue
		}
		begun++
		if _, err := u.Write(make([]byte, mib)); err != nil {
			t.Errorf("writing to reserved room: %v", err)
		}
	}
	if begun < 6 || begun > 8 || countFiles(t, dir) != begun {
		t.Errorf("%d uploads of 1 MiB were begun in 8 MiB, %d files are there", begun, countFiles(t, dir))
	}
	for _, u := range uploads {
		if u != nil && u.Abort() != nil {
			t.Error("not aborted")
		}
	}
	if free, err := f.Free(t.Context()); err != nil || free != empty || countFiles(t, dir) != 0 {
		t.Errorf("%d bytes are free, %v, want %d; %d files are there", free, err, empty, countFiles(t, dir))
	}
}

func TestFreeIsExact(t *testing.T) {
	f := open(t, mountTmpfs(t, 0, "size=8m"))
	wantFree := func(when string, want int64) {
		t.Helper()
		if got, err := f.Free(t.Context()); err != nil || got != want {
			t.Errorf("%s: %d bytes are free, %v, want %d", when, got, err, want)
		}
	}
	empty, err := f.Free(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	u, err := f.Create(t.Context(), newRef(), 2*mib)
	if err != nil {
		t.Fatal(err)
	}
	wantFree("reserved", empty)
	half := bytes.Repeat([]byte{1}, mib)
	for range 2 {
		if _, err := u.Write(half); err != nil {
			t.Fatal(err)
		}
		wantFree("written", empty)
	}
	if err := u.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	wantFree("committed", empty-2*mib)
	if err := u.Abort(); err != nil {
		t.Fatal(err)
	}
	wantFree("aborted", empty)
}

// TestNoReservation runs on ext2, which cannot reserve room: the disk fills
// while an upload is written.
func TestNoReservation(t *testing.T) {
	f := open(t, mountExt2(t))
	empty, err := f.Free(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Create(t.Context(), newRef(), empty+1); !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("more than is free: %v, want %v", err, store.ErrNoSpace)
	}
	var uploads []store.Upload
	for range 2 { // each fits alone
		u, err := f.Create(t.Context(), newRef(), empty*2/3/4096*4096)
		if err != nil {
			t.Fatal(err)
		}
		uploads = append(uploads, u)
	}
	_, err = io.Copy(uploads[0], io.LimitReader(zeros{}, empty*2/3/4096*4096))
	if err != nil {
		t.Fatal(err)
	}
	if free, err := f.Free(t.Context()); err != nil || free < empty*9/10 || free > empty {
		t.Errorf("%d bytes are free while one writes, %v, want %d or little less", free, err, empty)
	}
	_, err = io.Copy(uploads[1], io.LimitReader(zeros{}, empty*2/3/4096*4096))
	if !errors.Is(err, store.ErrNoSpace) {
		t.Errorf("on a full disk: %v, want %v", err, store.ErrNoSpace)
	}
	if err := errors.Join(uploads[1].Abort(), uploads[0].Commit(t.Context()), uploads[0].Publish(t.Context())); err != nil {
		t.Error(err)
	}
}

// mountExt2 returns the directory of a small ext2 in a file.
func mountExt2(t *testing.T) string {
	t.Helper()
	if os.Getuid() != 0 {
		t.Skip("needs root to mount a small ext2")
	}
	image := filepath.Join(t.TempDir(), "image")
	if err := os.WriteFile(image, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(image, 8*mib); err != nil {
		t.Fatal(err)
	}
	run(t, "mkfs.ext2", "-q", "-m", "0", image)
	dir := t.TempDir()
	run(t, "mount", "-o", "loop", image, dir)
	t.Cleanup(func() { run(t, "umount", dir) })
	return dir
}

// zeros is an endless reader.
type zeros struct{}

func (zeros) Read(p []byte) (int, error) {
	clear(p)
	return len(p), nil
}
