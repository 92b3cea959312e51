package disk

import (
	"errors"
	"io/fs"
	"os"
	"sync"
	"sync/atomic"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// shard is a directory of files. It is opened once and stays open, so that to
// open a file costs no walk through directories.
type shard struct {
	name string
	// isNew: its own name may not survive a power cut yet.
	isNew atomic.Bool

	mu   sync.Mutex // guards opening and publishing
	root *os.Root   // nil until it is opened
}

// shard returns the open directory of the ID's files. One that is not there is
// made if create is set; else the error is fs.ErrNotExist.
func (f *Files) shard(id string, create bool) (*shard, error) {
	s, err := f.lookup(shardName(id))
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root != nil {
		return s, nil
	}
	if create {
		if err := f.makeShard(s); err != nil {
			return nil, err
		}
	}
	s.root, err = f.root.OpenRoot(s.name)
	return s, err
}

func (f *Files) lookup(name string) (*shard, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.closed {
		return nil, store.ErrClosed
	}
	s := f.shards[name]
	if s == nil {
		s = &shard{name: name}
		f.shards[name] = s
	}
	return s, nil
}

// forget makes the next upload open the shard anew. It is not closed, as others
// may use it.
func (f *Files) forget(s *shard) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.shards[s.name] == s {
		delete(f.shards, s.name)
	}
}

// makeShard makes the directory. Its name comes to the disk with its first
// upload.
func (f *Files) makeShard(s *shard) error {
	err := f.root.Mkdir(s.name, 0o755)
	if errors.Is(err, fs.ErrExist) {
		return nil
	}
	if err != nil {
		return err
	}
	s.isNew.Store(true)
	if err := f.root.Chmod(s.name, 0o755); err != nil { // whatever the umask
		return errors.Join(err, f.root.Remove(s.name))
	}
	return nil
}

// publish gives committed bytes their final name, unless they have it. Nothing
// else makes final names, so under the lock none is ever replaced.
func (s *shard) publish(ref store.FileRef) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, err := s.root.Lstat(publishedName(ref))
	if !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return s.root.Rename(partName(ref), publishedName(ref))
}

// remove removes the file; one that is not there is no error.
func (s *shard) remove(name string) error {
	if err := s.root.Remove(name); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// sync makes the names of the files survive a power cut.
func (s *shard) sync() error {
	dir, err := s.root.Open(".")
	if err != nil {
		return err
	}
	return errors.Join(syncDir(dir), dir.Close())
}

func (s *shard) close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.root == nil {
		return nil
	}
	return s.root.Close()
}
