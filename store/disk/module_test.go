package disk_test

import (
	"context"
	"encoding/json"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

// module returns the module that Caddy makes of the JSON.
func module(t *testing.T, config string) (*disk.Module, error) {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	m, err := ctx.LoadModuleByID("http.xmpp_upload.files.disk", json.RawMessage(config))
	if err != nil {
		return nil, err
	}
	return m.(*disk.Module), nil
}

func TestModulePath(t *testing.T) {
	home := t.TempDir()
	t.Setenv("XDG_DATA_HOME", home)
	t.Setenv("XMPP_UPLOAD_TEST_STATE", "/srv/state")
	secret := filepath.Join(home, "path")
	if err := os.WriteFile(secret, []byte("/srv/from-file\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct{ name, path, want string }{
		{"default", "", filepath.Join(home, "caddy", "xmpp-upload", "files")},
		{"absolute", "/srv/files", "/srv/files"},
		{"cleaned", "/srv//a/../files/", "/srv/files"},
		{"relative", "files", filepath.Join(here, "files")},
		{"environment", "{env.XMPP_UPLOAD_TEST_STATE}/files", "/srv/state/files"},
		{"file", "{file." + secret + "}", "/srv/from-file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			m, err := module(t, `{"path":"`+test.path+`"}`)
			if err != nil {
				t.Fatal(err)
			}
			if m.Key() != test.want {
				t.Errorf("key %s, want %s", m.Key(), test.want)
			}
		})
	}
}

func TestModuleErrors(t *testing.T) {
	for _, config := range []string{
		`{"path":"{env.XMPP_UPLOAD_TEST_UNSET}/files"}`,
		`{"path":"{no.such.placeholder}"}`,
		`{"root":"/srv/files"}`,
	} {
		if _, err := module(t, config); err == nil {
			t.Errorf("%s was taken", config)
		}
	}
}

func TestCaddyfile(t *testing.T) {
	for _, test := range []struct {
		name, input string
		want        string // the path, or of an error: a part
		wrong       bool
	}{
		{"default", "disk", "", false},
		{"path", "disk /srv/files", "/srv/files", false},
		{"placeholder", "disk {env.STATE_DIRECTORY}/files", "{env.STATE_DIRECTORY}/files", false},
		{"empty block", "disk /srv/files {\n}", "/srv/files", false},
		{"two paths", "disk /srv/a /srv/b", "wrong argument count", true},
		{"unknown option", "disk {\n\troot /srv\n}", `unknown option "root"`, true},
	} {
		t.Run(test.name, func(t *testing.T) {
			var m disk.Module
			err := m.UnmarshalCaddyfile(caddyfile.NewTestDispenser(test.input))
			if test.wrong {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %s", err, test.want)
				}
				return
			}
			if err != nil || m.Path != test.want {
				t.Errorf("path %q, %v, want %q", m.Path, err, test.want)
			}
		})
	}
}

func TestModulesOfOneDirectoryShareIt(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "files")
	old, err := module(t, `{"path":"`+dir+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	reloaded, err := module(t, `{"path":"`+dir+`/."}`)
	if err != nil {
		t.Fatal(err)
	}
	reloaded.Public()

	first, err := old.AcquireFiles()
	if err != nil {
		t.Fatal(err)
	}
	wantMode(t, dir, 0o700)
	second, err := reloaded.AcquireFiles()
	if err != nil {
		t.Fatal(err)
	}
	if first.Value != second.Value {
		t.Error("one directory was opened twice")
	}
	wantMode(t, dir, 0o755)

	if err := first.Release(); err != nil {
		t.Fatal(err)
	}
	storeOne(t, second.Value)
	if err := second.Release(); err != nil {
		t.Fatal(err)
	}
	open(t, dir) // it is free again
}

func TestAcquireError(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	m, err := module(t, `{"path":"`+dir+`"}`)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := m.AcquireFiles(); err == nil || !strings.Contains(err.Error(), "caddy reload") {
		t.Errorf("%v, want the advice to reload", err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	ref, err := m.AcquireFiles()
	if err != nil {
		t.Fatal(err)
	}
	if err := ref.Release(); err != nil {
		t.Error(err)
	}
}

func wantMode(t *testing.T, name string, want fs.FileMode) {
	t.Helper()
	info, err := os.Stat(name)
	if err != nil || info.Mode().Perm() != want {
		t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
	}
}
