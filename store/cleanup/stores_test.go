package cleanup_test

import (
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
	"github.com/caddy-xmpp/xmpp-upload/store/storetest"
)

// TestTheDefaultStoresKeepTheirPromisesTogether is the pair that most use.
func TestTheDefaultStoresKeepTheirPromisesTogether(t *testing.T) {
	storetest.Stores(t, func(t *testing.T) (storetest.Pair, func() storetest.Pair) {
		slotsDir, filesDir := t.TempDir(), t.TempDir()
		var slots *badger.Slots
		var files *disk.Files
		open := func() storetest.Pair {
			var err error
			if slots, err = badger.Open(slotsDir); err != nil {
				t.Fatal(err)
			}
			if files, err = disk.Open(filesDir, false); err != nil {
				t.Fatal(err)
			}
			return storetest.Pair{Slots: slots, Files: files}
		}
		end := func() {
			if err := slots.Close(); err != nil {
				t.Error(err)
			}
			if err := files.Close(); err != nil {
				t.Error(err)
			}
		}
		t.Cleanup(func() { end() })
		return open(), func() storetest.Pair {
			end()
			return open()
		}
	})
}
