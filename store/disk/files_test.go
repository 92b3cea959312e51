package disk_test

import (
	"bytes"
	"io"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
	"github.com/caddy-xmpp/xmpp-upload/store/storetest"
)

func open(t testing.TB, dir string) *disk.Files {
	t.Helper()
	f, err := disk.Open(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.Close(); err != nil {
			t.Errorf("Close: %v", err)
		}
	})
	return f
}

func listAll(t *testing.T, f *disk.Files) []store.FileInfo {
	t.Helper()
	files, next, err := f.List(t.Context(), "", 1_000_000)
	if err != nil || next != "" {
		t.Fatalf("List: next %q, %v", next, err)
	}
	return files
}

func wantBytes(t *testing.T, f *disk.Files, ref store.FileRef, want []byte) {
	t.Helper()
	file, err := f.Open(t.Context(), ref)
	if err != nil {
		t.Errorf("%+v: %v", ref, err)
		return
	}
	defer file.Close()
	got, err := io.ReadAll(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%+v: %d bytes, %v, are not the %d committed", ref, len(got), err, len(want))
	}
}

func newRef() store.FileRef {
	return store.FileRef{ID: store.NewID(time.Now()), Name: "a.bin", Attempt: store.NewAttempt()}
}

func TestFiles(t *testing.T) {
	storetest.Files(t, func(t testing.TB) store.Files { return open(t, t.TempDir()) })
}
