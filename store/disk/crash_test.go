//go:build linux

package disk_test

import (
	"bufio"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

// TestCrash kills a process that uploads, again and again, and looks at what it
// left.
func TestCrash(t *testing.T) {
	dir := t.TempDir()
	committed := make(map[string]store.FileRef) // by ID
	for range 5 {
		uploads := 1 + rand.IntN(150)
		for _, ref := range killAfter(t, dir, uploads) {
			committed[ref.ID] = ref
		}
		recoverFrom(t, dir, committed)
		if t.Failed() {
			t.Fatalf("after a kill that followed %d uploads", uploads)
		}
	}
}

// killAfter returns the uploads that a process committed before it was killed:
// the given number and those that raced the kill.
func killAfter(t *testing.T, dir string, uploads int) (committed []store.FileRef) {
	cmd := child(t, "upload", dir)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewScanner(out)
	for lines.Scan() {
		var ref store.FileRef
		if _, err := fmt.Sscan(lines.Text(), &ref.ID, &ref.Name, &ref.Attempt); err != nil {
			t.Errorf("line %q: %v", lines.Text(), err)
		}
		committed = append(committed, ref)
		if len(committed) == uploads {
			if err := cmd.Process.Kill(); err != nil {
				t.Error(err)
			}
		}
	}
	if err := cmd.Wait(); err == nil || len(committed) < uploads {
		t.Fatalf("%d of %d uploads before the process ended: %v", len(committed), uploads, err)
	}
	return committed
}

// recoverFrom expects that what was committed is whole, and all else listed as
// unpublished, and discards that.
func recoverFrom(t *testing.T, dir string, committed map[string]store.FileRef) {
	f, err := disk.Open(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()

	for _, info := range listAll(t, f) {
		ref, ok := committed[info.ID]
		if info.Published && !ok {
			t.Errorf("%+v is published, its slot was not committed", info)
		}
		if !info.Published && info.Attempt != ref.Attempt {
			if err := f.Discard(t.Context(), info.FileRef); err != nil {
				t.Error(err)
			}
		}
	}
	for _, ref := range committed {
		wantBytes(t, f, ref, crashContents(ref))
	}
	var files int
	for _, info := range listAll(t, f) {
		files++
		if !info.Published {
			t.Errorf("%+v was opened, but is not published", info)
		}
	}
	if files != len(committed) || countFiles(t, dir) != files {
		t.Errorf("%d files listed, %d in the directory, want %d", files, countFiles(t, dir), len(committed))
	}
}

// countFiles counts all files but the lock.
func countFiles(t *testing.T, dir string) (n int) {
	t.Helper()
	err := fs.WalkDir(os.DirFS(dir), ".", func(p string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() && path.Base(p) != ".lock" {
			n++
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return n
}
