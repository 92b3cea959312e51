package disk

import (
	"errors"
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

func init() {
	caddy.RegisterModule(new(Module))
}

// pool shares open directories among configurations and requests.
var pool store.Pool[store.Files]

// Module keeps uploaded files in a directory of a local file system. Handlers
// that name the same directory share it. One process at a time can use it.
type Module struct {
	// Path of the directory. It is made if it is not there. Placeholders such
	// as `{env.STATE_DIRECTORY}` are replaced; a relative path begins at the
	// working directory. Default: `xmpp-upload/files` in Caddy's data directory.
	Path string `json:"path,omitempty"`

	dir    string
	public bool
}

// CaddyModule returns the Caddy module information.
func (*Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.xmpp_upload.files.disk",
		New: func() caddy.Module { return new(Module) },
	}
}

// UnmarshalCaddyfile sets up the module from Caddyfile tokens:
//
//	disk [<path>]
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		m.Path = d.Val()
	}
	if d.NextArg() {
		return d.ArgErr()
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("unknown option %q: disk takes only the path of its directory", d.Val())
	}
	return nil
}

// Provision finds out which directory is meant.
func (m *Module) Provision(caddy.Context) error {
	path, err := caddy.NewReplacer().ReplaceOrErr(m.Path, true, true)
	if err != nil {
		return fmt.Errorf("path of the files directory: %w", err)
	}
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), "xmpp-upload", "files")
	}
	m.dir, err = filepath.Abs(path)
	return err
}

// Key is the directory.
func (m *Module) Key() string { return m.dir }

// Public lets other users of the machine read the files.
func (m *Module) Public() { m.public = true }

// AcquireFiles opens the directory, or shares it if it is open.
func (m *Module) AcquireFiles() (*store.Ref[store.Files], error) {
	ref, err := pool.Acquire(m.dir, func() (store.Files, func() error, error) {
		f, err := Open(m.dir, m.public)
		if err != nil {
			return nil, nil, err
		}
		return f, f.Close, nil
	})
	if err != nil || !m.public {
		return ref, err
	}
	// It may have been opened for a configuration that kept it private.
	if f, ok := ref.Value.(*Files); ok {
		if err := f.makePublic(); err != nil {
			return nil, errors.Join(err, ref.Release())
		}
	}
	return ref, nil
}

// Interface guards
var (
	_ caddy.Module          = (*Module)(nil)
	_ caddy.Provisioner     = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
	_ store.FilesModule     = (*Module)(nil)
)
