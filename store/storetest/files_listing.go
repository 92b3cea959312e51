package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"path"
	"strings"
	"sync"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

func testListPages(t *testing.T, f store.Files) {
	const n = 50
	var want []store.FileInfo
	for i := range n {
		ref := newFileRef("a-b.tar.gz")
		publishFile(t, f, ref, make([]byte, i))
		want = append(want, publishedInfo(ref, i))
	}
	wantFiles(t, f, want...)
	for _, limit := range []int{1, 2, 7, n - 1, n, n + 1} {
		seen := make(map[store.FileInfo]int)
		for _, info := range listFiles(t, f, limit, func() {}) {
			seen[info]++
		}
		for _, info := range want {
			if seen[info] != 1 {
				t.Errorf("by pages of %d, %+v was listed %d times", limit, info, seen[info])
			}
		}
	}
}

func testListChanging(t *testing.T, f store.Files) {
	stays := make(map[string]int)
	var goes []store.FileRef
	for range 40 {
		ref := newFileRef("stays")
		publishFile(t, f, ref, nil)
		stays[ref.ID] = 0
		ref = newFileRef("goes")
		publishFile(t, f, ref, nil)
		goes = append(goes, ref)
	}
	for _, info := range listFiles(t, f, 3, func() {
		publishFile(t, f, newFileRef("comes"), nil)
		if len(goes) > 0 {
			noError(t, "Delete", f.Delete(t.Context(), goes[0]))
			goes = goes[1:]
		}
	}) {
		if _, ok := stays[info.ID]; ok {
			stays[info.ID]++
		}
	}
	for id, times := range stays {
		if times != 1 {
			t.Errorf("%s stayed and was listed %d times", id, times)
		}
	}
}

func testListInProgress(t *testing.T, f store.Files) {
	begun, err := f.Create(t.Context(), newFileRef("a"), 1000)
	noError(t, "Create", err)
	defer begun.Abort()
	defer writeFile(t, f, newFileRef("b"), make([]byte, 1000)).Abort()
	ref := newFileRef("c")
	u := commitFile(t, f, ref, make([]byte, 1000))
	wantFiles(t, f)
	noError(t, "Publish", u.Publish(t.Context()))
	wantFiles(t, f, publishedInfo(ref, 1000))
}

func testListPaths(t *testing.T, f store.Files) {
	paths := make(map[string]store.FileRef)
	for range 10 {
		publishFile(t, f, newFileRef("a"), nil)
	}
	files, _, err := f.List(t.Context(), "", 100)
	noError(t, "List", err)
	for _, info := range files {
		if other, taken := paths[info.Path]; taken {
			t.Errorf("%+v and %+v are both at %q", other, info.FileRef, info.Path)
		}
		paths[info.Path] = info.FileRef
		noError(t, "Delete", f.Delete(t.Context(), info.FileRef))
	}
	if len(files) != 10 {
		t.Errorf("%d files listed, want 10", len(files))
	}
}

func testPath(t *testing.T, f store.Files) {
	seen := make(map[string]bool)
	for _, name := range []string{"image.png", "a", "a-b_c.tar.gz", strings.Repeat("a", 196) + ".pdf"} {
		for range 20 {
			ref := newFileRef(name)
			p := f.Path(ref)
			if p == "" || path.IsAbs(p) || path.Clean(p) != p || strings.HasPrefix(p, "..") {
				t.Errorf("path %q is not plain and relative", p)
			}
			if strings.Trim(p, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-/") != "" {
				t.Errorf("path %q has to be escaped", p)
			}
			if path.Ext(p) != path.Ext(name) && path.Ext(name) != "" {
				t.Errorf("path %q lost the extension of %q", p, name)
			}
			if seen[p] {
				t.Errorf("path %q has two files", p)
			}
			seen[p] = true
			noAttempt := store.FileRef{ID: ref.ID, Name: ref.Name}
			if f.Path(noAttempt) != p {
				t.Errorf("path %q depends on the attempt", p)
			}
		}
	}
}

func testHostile(t *testing.T, f store.Files) {
	good := newFileRef("a")
	evil := []string{
		"..", "../../etc/passwd", "/etc/passwd", "a/b", `a\b`, "a\x00b", "a b", "ü", "%2e%2e", "a\n", "a:b",
		strings.Repeat("a", 300), ".hidden",
	}
	for _, s := range evil {
		for _, ref := range []store.FileRef{
			{ID: s, Name: good.Name, Attempt: good.Attempt},
			{ID: good.ID[:len(good.ID)-1] + s, Name: good.Name, Attempt: good.Attempt},
			{ID: good.ID, Name: s, Attempt: good.Attempt},
			{ID: good.ID, Name: good.Name, Attempt: s},
		} {
			refusesRef(t, f, ref)
		}
	}
	for _, ref := range []store.FileRef{{}, {Name: good.Name, Attempt: good.Attempt}, {ID: "0", Name: good.Name, Attempt: good.Attempt}} {
		refusesRef(t, f, ref)
	}
	for _, ref := range []store.FileRef{{ID: good.ID}, {ID: good.ID, Name: good.Name}, {ID: good.ID, Attempt: good.Attempt}} {
		if u, err := f.Create(t.Context(), ref, 1); err == nil {
			u.Abort()
			t.Errorf("an upload of %+v was begun", ref)
		}
	}
	wantFiles(t, f)
}

func refusesRef(t *testing.T, f store.Files, ref store.FileRef) {
	t.Helper()
	if u, err := f.Create(t.Context(), ref, 1); err == nil {
		u.Abort()
		t.Errorf("Create took %+v", ref)
	}
	if file, err := f.Open(t.Context(), ref); err == nil {
		file.Close()
		t.Errorf("Open took %+v", ref)
	}
	if f.Publish(t.Context(), ref) == nil {
		t.Errorf("Publish took %+v", ref)
	}
	if f.Delete(t.Context(), ref) == nil {
		t.Errorf("Delete took %+v", ref)
	}
	if store.IsID(ref.ID) && store.IsAttempt(ref.Attempt) {
		return // a name is nothing to unpublished bytes, and the attempt nothing to published ones
	}
	if f.Discard(t.Context(), ref) == nil {
		t.Errorf("Discard took %+v", ref)
	}
}

func testFree(t *testing.T, f store.Files) {
	free := func() int64 {
		n, err := f.Free(t.Context())
		noError(t, "Free", err)
		return n
	}
	if free() < 0 {
		return // no such bound
	}
	// Others may use the disk meanwhile: one of several tries must succeed.
	const size, slack = 64 << 20, 32 << 20
	var before, during, after int64
	for range 5 {
		before = free()
		u, err := f.Create(t.Context(), newFileRef("a"), size)
		noError(t, "Create", err)
		_, err = u.Write(make([]byte, 1<<20))
		noError(t, "Write", err)
		during = free()
		noError(t, "Abort", u.Abort())
		after = free()
		if max(before, during, after)-min(before, during, after) < slack {
			break
		}
	}
	if max(before, during, after)-min(before, during, after) >= slack {
		t.Errorf("free before an upload of %d bytes %d, during it %d, after it %d", size, before, during, after)
	}
	if u, err := f.Create(t.Context(), newFileRef("a"), 1<<60); !errors.Is(err, store.ErrNoSpace) {
		if err == nil {
			u.Abort()
		}
		t.Errorf("an upload of 2^60 bytes: %v, want %v", err, store.ErrNoSpace)
	}
}

func testCanceled(t *testing.T, f store.Files) {
	ref, data := newFileRef("a"), fileContents(11, 1000)
	publishFile(t, f, ref, data)
	u := writeFile(t, f, newFileRef("b"), data)
	defer u.Abort()
	ended, cancel := context.WithCancel(t.Context())
	cancel()

	_, createErr := f.Create(ended, newFileRef("c"), 10)
	_, openErr := f.Open(ended, ref)
	_, _, listErr := f.List(ended, "", 10)
	_, freeErr := f.Free(ended)
	for what, err := range map[string]error{
		"Create": createErr, "Open": openErr, "List": listErr, "Free": freeErr,
		"Commit": u.Commit(ended), "Publish": f.Publish(ended, ref),
		"Delete": f.Delete(ended, ref), "Discard": f.Discard(ended, ref),
	} {
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%s: %v, want %v", what, err, context.Canceled)
		}
	}
	wantFile(t, f, ref, data)
}

// testMany runs uploads that end in every way, while others read and list.
func testMany(t *testing.T, f store.Files) {
	const uploads = 64
	refs := make([]store.FileRef, uploads)
	var wg sync.WaitGroup
	for i := range refs {
		refs[i] = newFileRef("a.bin")
		wg.Go(func() {
			if err := uploadOne(t.Context(), f, refs[i], i); err != nil {
				t.Errorf("upload %d: %v", i, err)
			}
		})
	}
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if err := readOne(t.Context(), f, refs); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()

	var want []store.FileInfo
	for i, ref := range refs {
		if i%4 == 0 {
			wantNoFile(t, f, ref)
			continue
		}
		data := fileContents(uint64(i), 1000*i)
		wantFile(t, f, ref, data)
		want = append(want, publishedInfo(ref, len(data)))
	}
	wantFiles(t, f, want...)
}

// uploadOne aborts every fourth upload, and publishes the others.
func uploadOne(ctx context.Context, f store.Files, ref store.FileRef, i int) error {
	u, err := beginFile(ctx, f, ref, fileContents(uint64(i), 1000*i))
	if err != nil {
		return err
	}
	defer u.Abort()
	if i%8 == 0 {
		return nil
	}
	if err := u.Commit(ctx); err != nil {
		return err
	}
	if i%4 == 0 {
		return nil
	}
	return u.Publish(ctx)
}

func readOne(ctx context.Context, f store.Files, refs []store.FileRef) error {
	i := rand.IntN(len(refs)/4)*4 + 1 + rand.IntN(3) // never one that is aborted
	if _, _, err := f.List(ctx, "", 10); err != nil {
		return fmt.Errorf("List: %w", err)
	}
	file, err := f.Open(ctx, refs[i])
	if errors.Is(err, store.ErrNotFound) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("Open: %w", err)
	}
	defer file.Close()
	n, err := io.Copy(io.Discard, file)
	if err != nil || n != int64(1000*i) {
		return fmt.Errorf("read %d bytes of upload %d, %w", n, i, err)
	}
	return nil
}
