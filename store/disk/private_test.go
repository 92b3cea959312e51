package disk_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

// Errors are logged, and the names of files are the business of their users.
func TestErrorsNameNoFile(t *testing.T) {
	dir := t.TempDir()
	f, err := disk.Open(dir, false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ref := newRef()
	ref.Name = "private.txt"
	path := filepath.Join(dir, filepath.FromSlash(f.Path(ref)))
	if err := os.MkdirAll(path, 0o755); err != nil { // a directory in its place
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(path, "a"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	u, err := f.Create(t.Context(), ref, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = u.Abort() }()
	deleted := f.Delete(t.Context(), store.FileRef{ID: ref.ID, Name: ref.Name})
	if err := os.RemoveAll(path); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/outside", path); err != nil {
		t.Fatal(err)
	}
	_, opened := f.Open(t.Context(), store.FileRef{ID: ref.ID, Name: ref.Name})
	for _, err := range []error{deleted, opened} {
		if err == nil || strings.Contains(err.Error(), "private") {
			t.Errorf("error %v", err)
		}
	}
}
