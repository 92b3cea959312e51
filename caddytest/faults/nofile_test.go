//go:build linux

package faults

import (
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// For a while no file can be made beside the slots: the file system is
// read-only, a quota is used up, or too many files are open. Then slots are
// refused once the log is full, and files are served; and after that all goes
// on.
func TestNoNewFilesBesideTheSlots(t *testing.T) {
	requireSentry(t)
	for _, errno := range []unix.Errno{unix.EROFS, unix.EDQUOT, unix.EMFILE, unix.EIO} {
		t.Run(unix.ErrnoName(errno), func(t *testing.T) {
			s := newService(t, "")
			watcher := post(t, s.stores, diskCalls)
			s.start()
			s.mustSend(s.mustAskFor(bystander, kib))
			refusals := 0
			watcher.watch(func(c call) verdict {
				if c.creates() && strings.HasPrefix(c.path, "slots/") {
					refusals++
					return verdict{errno: errno}
				}
				return verdict{}
			})
			granted, refused := s.fillLogs(func() bool {
				watcher.mu.Lock()
				defer watcher.mu.Unlock()
				return refusals > 100
			})
			if err := s.served(s.stored[0]); err != nil {
				t.Errorf("a file is not served meanwhile: %v", err)
			}
			watcher.set(nil)
			if n := s.removeFill(); n != granted || refused == 0 {
				t.Errorf("%d slots are there, want %d; %d were refused", n, granted, refused)
			}
			s.mustSend(s.mustAsk(kib))
			s.checkAll()
		})
	}
}
