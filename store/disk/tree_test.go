package disk_test

import (
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

// begin begins an upload of three bytes and writes them.
func begin(t *testing.T, f store.Files, ref store.FileRef) store.Upload {
	t.Helper()
	u, err := f.Create(t.Context(), ref, 3)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write([]byte("abc")); err != nil {
		t.Fatal(err)
	}
	return u
}

// storeOne stores a file of three bytes.
func storeOne(t *testing.T, f store.Files) store.FileRef {
	t.Helper()
	ref := newRef()
	u := begin(t, f, ref)
	if err := errors.Join(u.Commit(t.Context()), u.Publish(t.Context())); err != nil {
		t.Fatal(err)
	}
	return ref
}

func TestWebServersSeePublishedBytesOnly(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	ref := newRef()
	name := filepath.Join(dir, filepath.FromSlash(f.Path(ref)))
	hidden := func(when string) {
		t.Helper()
		if _, err := os.Stat(name); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s: %v, want no file", when, err)
		}
		if shown, _ := filepath.Glob(filepath.Join(dir, "[!.]*", "[!.]*")); len(shown) > 0 {
			t.Errorf("%s: %q are not hidden", when, shown)
		}
	}
	u := begin(t, f, ref)
	hidden("while it is written")
	if err := u.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	hidden("once committed")
	if err := u.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(name); err != nil || string(got) != "abc" {
		t.Errorf("once published: %q, %v", got, err)
	}
	if err := f.Delete(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	hidden("once deleted")
}

func TestForeignFilesAreLeftAlone(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	ref := storeOne(t, f)
	shard := filepath.Dir(f.Path(ref))
	other := "00"
	if shard == other {
		other = "11"
	}
	for _, name := range []string{"index.html", "AA/a", shard + "/robots.txt", shard + "/.htaccess", other + "/" + filepath.Base(f.Path(ref))} {
		name = filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Mkdir(filepath.Join(dir, shard, shard+newRef().ID[len(shard):]+"-a"), 0o755); err != nil {
		t.Fatal(err)
	}
	files, next, err := f.List(t.Context(), "", 100)
	if err != nil || next != "" || len(files) != 1 || files[0].ID != ref.ID || files[0].Path != f.Path(ref) {
		t.Errorf("listed %+v, %q, %v, want %s only", files, next, err, ref.ID)
	}
}

func TestNothingOutsideOfTheDirectoryIsOpened(t *testing.T) {
	outside := t.TempDir()
	dir := t.TempDir()
	f := open(t, dir)
	ref := newRef()
	secret := filepath.Join(outside, filepath.Base(f.Path(ref)))
	if err := os.WriteFile(secret, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(outside, filepath.Join(dir, filepath.Dir(f.Path(ref)))); err != nil {
		t.Fatal(err)
	}
	if file, err := f.Open(t.Context(), ref); err == nil {
		file.Close()
		t.Error("a file outside was opened")
	}
	if u, err := f.Create(t.Context(), ref, 1); err == nil {
		u.Abort()
		t.Error("an upload outside was begun")
	}
	if err := f.Delete(t.Context(), ref); err == nil {
		t.Error("a file outside was deleted")
	}
	if _, err := os.Stat(secret); err != nil {
		t.Error(err)
	}
}

func TestPublishReplacesNothing(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	ref := storeOne(t, f)
	second := store.FileRef{ID: ref.ID, Name: ref.Name, Attempt: store.NewAttempt()}
	u, err := f.Create(t.Context(), second, 1)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := u.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	_ = errors.Join(u.Commit(t.Context()), u.Publish(t.Context()))
	file, err := f.Open(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if got, err := io.ReadAll(file); err != nil || string(got) != "abc" {
		t.Errorf("%q, %v, want what was published first", got, err)
	}
}

// TestPowerCutMayTakeTheNewName undoes the rename, as a power cut may.
func TestPowerCutMayTakeTheNewName(t *testing.T) {
	dir := t.TempDir()
	f, err := disk.Open(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	ref := newRef()
	u := begin(t, f, ref)
	if err := u.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
	name := filepath.Join(dir, f.Path(ref))
	parts, err := filepath.Glob(filepath.Join(filepath.Dir(name), ".*.part"))
	if err != nil || len(parts) != 1 {
		t.Fatalf("unpublished bytes in %q, %v", parts, err)
	}
	if err := errors.Join(u.Publish(t.Context()), f.Close(), os.Rename(name, parts[0])); err != nil {
		t.Fatal(err)
	}

	f = open(t, dir)
	want := store.FileInfo{
		FileRef: store.FileRef{ID: ref.ID, Attempt: ref.Attempt}, Size: 3,
		Path: filepath.ToSlash(filepath.Join(filepath.Dir(f.Path(ref)), filepath.Base(parts[0]))),
	}
	if files := listAll(t, f); len(files) != 1 || files[0] != want {
		t.Errorf("listed %+v, want %+v", files, want)
	}
	wantBytes(t, f, ref, []byte("abc"))
	if got, err := os.ReadFile(name); err != nil || string(got) != "abc" {
		t.Errorf("not published again: %q, %v", got, err)
	}
}

func TestDirectoriesRemovedByHandAreMadeAgain(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	ref := storeOne(t, f)
	if err := f.Delete(t.Context(), ref); err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, filepath.Dir(f.Path(ref)))); err != nil {
		t.Fatal(err)
	}
	u := begin(t, f, ref)
	if err := errors.Join(u.Commit(t.Context()), u.Publish(t.Context())); err != nil {
		t.Fatal(err)
	}
	wantBytes(t, f, ref, []byte("abc"))
}

// TestOpenedFilesTakeTheShortWay holds files against what net asks of a source
// before it lets the kernel copy.
func TestOpenedFilesTakeTheShortWay(t *testing.T) {
	f := open(t, t.TempDir())
	file, err := f.Open(t.Context(), storeOne(t, f))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	if _, ok := file.(interface {
		fs.File
		io.Seeker
		syscall.Conn
	}); !ok {
		t.Errorf("%T is nothing that can be sent", file)
	}
}

func TestClosedStore(t *testing.T) {
	f, err := disk.Open(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	ref := storeOne(t, f)
	late := begin(t, f, newRef())
	if err := errors.Join(f.Close(), f.Close()); err != nil {
		t.Fatal(err)
	}
	_, createErr := f.Create(t.Context(), newRef(), 1)
	_, openErr := f.Open(t.Context(), ref)
	_, _, listErr := f.List(t.Context(), "", 1)
	for what, err := range map[string]error{
		"Create": createErr, "Open": openErr, "List": listErr,
		"Commit": late.Commit(t.Context()), "Abort": late.Abort(),
		"Publish": f.Publish(t.Context(), ref), "Delete": f.Delete(t.Context(), ref),
	} {
		if !errors.Is(err, store.ErrClosed) {
			t.Errorf("%s: %v, want %v", what, err, store.ErrClosed)
		}
	}
}
