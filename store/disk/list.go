package disk

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"slices"

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
	shards, err := names(f.root)
	if err != nil {
		return nil, "", failed("listing files", err)
	}
	p := page{after: after, limit: limit}
	for _, name := range shards {
		if p.full {
			break
		}
		if err := ctx.Err(); err != nil {
			return nil, "", err
		}
		if len(name) != shardChars || name+"/~" <= after {
			continue
		}
		if err := f.listShard(name, &p); err != nil {
			return nil, "", failed("listing files", err)
		}
	}
	if !p.full {
		p.last = ""
	}
	return p.files, p.last, nil
}

// names returns the names in a directory, in order. Nothing else is asked of
// the files, as that would take most of the time.
func names(root *os.Root) ([]string, error) {
	dir, err := root.Open(".")
	if err != nil {
		return nil, err
	}
	list, err := dir.Readdirnames(-1)
	slices.Sort(list)
	return list, errors.Join(err, dir.Close())
}

// page is a part of a listing.
type page struct {
	after string // the cursor that the page begins after
	limit int
	files []store.FileInfo
	last  string // the path of the last file
	full  bool   // there are more files than the limit
}

// listShard adds the files of a shard. What is not a directory has no file of
// ours in it.
func (f *Files) listShard(name string, p *page) error {
	stat, err := f.root.Lstat(name)
	if err != nil || !stat.IsDir() {
		return ifThere(err)
	}
	s, err := f.shard(name, false)
	if err != nil {
		return ifThere(err)
	}
	files, err := names(s.root)
	if err != nil {
		return ifThere(err)
	}
	for _, file := range files {
		if name+"/"+file <= p.after {
			continue
		}
		info, ok, err := f.info(s, file)
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
		p.last = info.Path
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
	info.Size, info.Path = stat.Size(), s.name+"/"+name
	return info, stat.Mode().IsRegular(), nil
}

// ifThere forgives what was removed after it was listed.
func ifThere(err error) error {
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
