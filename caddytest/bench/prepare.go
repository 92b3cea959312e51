package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store/badger"
)

// past returns the history of so many uploads over the last 30 days, which will
// not expire soon.
func past(uploads int) history {
	const month = 30 * 24 * time.Hour
	step := max(month/time.Duration(uploads), time.Millisecond).Truncate(time.Millisecond)
	first := time.Now().Add(-time.Duration(uploads) * step).Truncate(time.Millisecond)
	return history{Uploads: uploads, JIDs: min(uploads, 10_000), First: first, Step: step, Keep: 10 * 365 * 24 * time.Hour}
}

// prepared returns a directory with the slots of so many uploads, and with their
// files if they are asked for. What was prepared before is used again.
func (b *bench) prepared(uploads int, withFiles bool) (string, error) {
	kind := "slots"
	if withFiles {
		kind = "uploads"
	}
	dir := filepath.Join(b.cache, fmt.Sprintf("%d-%s", uploads, kind))
	if _, err := os.Stat(dir); !errors.Is(err, fs.ErrNotExist) {
		return dir, err
	}
	partial := dir + ".partial"
	if err := errors.Join(os.RemoveAll(partial), past(uploads).prepare(partial, withFiles)); err != nil {
		return "", err
	}
	return dir, os.Rename(partial, dir)
}

const historyFile = "history"

// readHistory returns the history that a directory was prepared with.
func readHistory(dir string) (h history, err error) {
	text, err := os.ReadFile(filepath.Join(dir, historyFile))
	if err != nil {
		return h, err
	}
	return h, json.Unmarshal(text, &h)
}

// prepare fills dir/slots, and dir/files if they are asked for.
func (h history) prepare(dir string, withFiles bool) error {
	text, err := json.Marshal(h)
	if err != nil {
		return err
	}
	if err := errors.Join(os.MkdirAll(dir, 0o755), os.WriteFile(filepath.Join(dir, historyFile), text, 0o644)); err != nil {
		return err
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(h.backup(w)) }()
	if err := badger.Restore(filepath.Join(dir, "slots"), r); err != nil {
		return errors.Join(err, r.CloseWithError(err)) // ends the other side
	}
	if !withFiles {
		return nil
	}
	return h.writeFiles(filepath.Join(dir, "files"))
}

// writeFiles makes the tree of files that store/disk would have made.
func (h history) writeFiles(dir string) error {
	if err := errors.Join(os.MkdirAll(dir, 0o755), makeShards(dir)); err != nil {
		return err
	}
	const writers = 4
	var group sync.WaitGroup
	errs := make([]error, writers)
	body := make([]byte, 1024)
	for w := range writers {
		group.Go(func() {
			for i := w; i < h.Uploads && errs[w] == nil; i += writers {
				slot := h.slot(i)
				errs[w] = os.WriteFile(filepath.Join(dir, slot.ID[:2], slot.ID+"-"+slot.URLName), body[:slot.Size], 0o644)
			}
		})
	}
	group.Wait()
	return errors.Join(errs...)
}

// copySlots copies prepared slots.
func (b *bench) copySlots(prepared string) (string, error) {
	slots, err := os.MkdirTemp(b.dir, "slots-")
	if err != nil {
		return "", err
	}
	err = os.CopyFS(slots, os.DirFS(filepath.Join(prepared, "slots")))
	return slots, errors.Join(err, flushDisk())
}

// startOn starts this module on slots, and on prepared files if there are any.
func (b *bench) startOn(slots, prepared, config string, wrapper ...string) (*process, error) {
	addr := freeAddr()
	config = strings.ReplaceAll(fmt.Sprintf(config, "http://"+addr), "%DIR%/slots", slots)
	if prepared != "" {
		config = strings.ReplaceAll(config, "%DIR%/files", filepath.Join(prepared, "files"))
	}
	return b.startCaddyIn(wrapper, config, addr)
}
