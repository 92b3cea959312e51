package badger

import (
	"errors"
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
	// Path of the directory. It is made if it does not exist. The default is
	// xmpp-upload/slots in Caddy's data directory.
	Path string `json:"path,omitempty"`
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

// Provision settles the path.
func (m *Module) Provision(caddy.Context) (err error) {
	if m.Path == "" {
		m.Path = filepath.Join(caddy.AppDataDir(), "xmpp-upload", "slots")
	}
	if m.Path = caddy.NewReplacer().ReplaceKnown(m.Path, ""); m.Path == "" {
		return errors.New("slots badger: the path is empty after its placeholders were replaced")
	}
	m.Path, err = filepath.Abs(m.Path)
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

// Key implements store.SlotsModule.
func (m *Module) Key() string { return "badger " + m.Path }

// AcquireSlots implements store.SlotsModule.
func (m *Module) AcquireSlots() (*store.Ref[store.Slots], error) {
	return pool.Acquire(m.Path, func() (store.Slots, func() error, error) {
		s, err := Open(m.Path)
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
