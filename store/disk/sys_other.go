//go:build !linux

package disk

import "os"

// reserve cannot set room aside here: an upload that finds none fails while it
// is written.
func reserve(*os.File, int64) (bool, error) { return false, nil }

// startWriteback and finishWriteback would only make the flush shorter.
func startWriteback(*os.File, int64, int64) error { return nil }
func finishWriteback(*os.File) error              { return nil }

// syncsTogether: each file is flushed for itself.
func syncsTogether(*os.File) bool            { return false }
func (f *flusher) flushAll(jobs []*flushJob) { f.flushEach(jobs) }
