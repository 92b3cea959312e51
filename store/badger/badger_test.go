package badger_test

import (
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
