package disk

import (
	"context"
	"errors"
	"io/fs"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// defaultLimit is the most files in a page if the caller does not say.
const defaultLimit = 1000

// List returns the files in the order of their paths. The cursor is the path of
// the last one. What does not have the name of a file of ours is left out.
func (f *Files) List(ctx context.Context, after string, limit int) ([]store.FileInfo, string, error) {
	if limit <= 0 {
		limit = defaultLimit
	}
	shards, err := fs.ReadDir(f.root.FS(), ".")
	if err != nil {
		return nil, "", failed("listing files", err)
	}
	p := page{after: after, limit: limit}
	for _, entry := range shards {
		if p.full {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		// What is not a shard has no file of ours in it.
		if name := entry.Name(); entry.IsDir() && len(name) == shardChars && name+"/~" > after {
			if err := f.listShard(name, &p); err != nil {
				return nil, "", failed("listing files", err)
			}
		}
	}
	if !p.full {
		p.last = ""
	}
	return p.files, p.last, nil
}

// page is a part of a listing.
type page struct {
	after string // the cursor that the page begins after
	limit int
	files []store.FileInfo
	last  string // the path of the last file
	full  bool   // there are more files than the limit
}

func (f *Files) listShard(name string, p *page) error {
	s, err := f.shard(name, false)
	if err != nil {
		return ifThere(err)
	}
	entries, err := fs.ReadDir(s.root.FS(), ".")
	if err != nil {
		return ifThere(err)
	}
	for _, entry := range entries {
		path := name + "/" + entry.Name()
		if path <= p.after {
			continue
		}
		info, ok, err := f.info(s, entry.Name())
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		if len(p.files) == p.limit {
			p.full = true
			return nil
		}
		p.files = append(p.files, info)
		p.last = path
	}
	return nil
}

// info tells of the file of this name; it is false for what is no file of ours
// or belongs to an upload in progress. Whether it does is asked first: what is
// still there after its upload has ended, nobody writes or will publish.
func (f *Files) info(s *shard, name string) (store.FileInfo, bool, error) {
	info, ok := parseName(name)
	if !ok || shardName(info.ID) != s.name || f.active.has(info.Attempt) {
		return store.FileInfo{}, false, nil
	}
	stat, err := s.root.Lstat(name)
	if err != nil {
		return store.FileInfo{}, false, ifThere(err)
	}
	info.Size = stat.Size()
	return info, stat.Mode().IsRegular(), nil
}

// ifThere forgives what was removed after it was listed.
func ifThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
