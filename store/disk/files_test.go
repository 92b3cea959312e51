package disk_test

import (
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

func newRef() store.FileRef {
	return store.FileRef{ID: store.NewID(time.Now()), Name: "a.bin", Attempt: store.NewAttempt()}
}

func TestFiles(t *testing.T) {
	storetest.Files(t, func(t testing.TB) store.Files { return open(t, t.TempDir()) })
}
