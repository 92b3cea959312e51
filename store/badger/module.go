package badger

import (
	"fmt"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

func init() {
	caddy.RegisterModule(Module{})
}

// Module keeps slots in an embedded Badger database. Handlers that name the same
// directory share one database, over reloads too. One process at a time may
// have it open.
type Module struct {
	// Path of the directory. It is made if it is not there. Placeholders such
	// as `{env.STATE_DIRECTORY}` are replaced; a relative path begins at the
	// working directory. Default: `xmpp-upload/slots` in Caddy's data directory.
	Path string `json:"path,omitempty"`

	dir string
}

// pool holds the databases that are open, by their directories.
var pool store.Pool[store.Slots]

// CaddyModule returns the Caddy module information.
func (Module) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.xmpp_upload.slots.badger",
		New: func() caddy.Module { return new(Module) },
	}
}

// Provision finds out which directory is meant.
func (m *Module) Provision(caddy.Context) error {
	path, err := caddy.NewReplacer().ReplaceOrErr(m.Path, true, true)
	if err != nil {
		return fmt.Errorf("path of the slots directory: %w", err)
	}
	if path == "" {
		path = filepath.Join(caddy.AppDataDir(), "xmpp-upload", "slots")
	}
	m.dir, err = filepath.Abs(path)
	return err
}

// UnmarshalCaddyfile reads
//
//	badger [<path>]
func (m *Module) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next() // the module's name
	if d.NextArg() {
		m.Path = d.Val()
	}
	if d.NextArg() {
		return d.Errf("slots badger takes one path, not also %q", d.Val())
	}
	if d.NextBlock(d.Nesting()) {
		return d.Errf("slots badger has no options, %q neither", d.Val())
	}
	return nil
}

// Key is the directory.
func (m *Module) Key() string { return m.dir }

// AcquireSlots implements store.SlotsModule.
func (m *Module) AcquireSlots() (*store.Ref[store.Slots], error) {
	return pool.Acquire(m.dir, func() (store.Slots, func() error, error) {
		s, err := Open(m.dir)
		if err != nil {
			return nil, nil, err
		}
		return s, s.Close, nil
	})
}

// Interface guards
var (
	_ caddy.Provisioner     = (*Module)(nil)
	_ caddyfile.Unmarshaler = (*Module)(nil)
	_ store.SlotsModule     = (*Module)(nil)
)
