package badger_test

import (
	"path/filepath"
	"testing"

	"go.uber.org/goleak"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/storetest"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Libraries start these once and for good.
		goleak.IgnoreTopFunction("github.com/golang/glog.(*fileSink).flushDaemon"),
	)
}

func TestBadgerKeepsThePromisesOfSlots(t *testing.T) {
	storetest.Slots(t, func(t *testing.T) (store.Slots, func() store.Slots) {
		dir := t.TempDir()
		var s *badger.Slots
		open := func() store.Slots {
			var err error
			if s, err = badger.Open(dir); err != nil {
				t.Fatal(err)
			}
			return s
		}
		closeIt := func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
		}
		t.Cleanup(func() { closeIt() })
		return open(), func() store.Slots {
			closeIt()
			return open()
		}
	})
}

// TestARestoredCopyKeepsThePromisesOfSlots goes on with a copy of the store,
// each time that another one would be opened again.
func TestARestoredCopyKeepsThePromisesOfSlots(t *testing.T) {
	storetest.Slots(t, func(t *testing.T) (store.Slots, func() store.Slots) {
		s := open(t, t.TempDir())
		return s, func() store.Slots {
			dir := filepath.Join(t.TempDir(), "restored", "slots")
			restore(t, dir, backup(t, s))
			s = open(t, dir)
			return s
		}
	})
}
