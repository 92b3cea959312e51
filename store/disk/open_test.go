//go:build linux

package disk_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

// run runs a command of the system, or skips the test where there is none.
func run(t *testing.T, name string, args ...string) {
	t.Helper()
	if _, err := exec.LookPath(name); err != nil {
		t.Skipf("needs %s: %v", name, err)
	}
	if out, err := exec.Command(name, args...).CombinedOutput(); err != nil {
		t.Skipf("%s %v: %v: %s", name, args, err, out)
	}
}

func TestPermissions(t *testing.T) {
	defer syscall.Umask(syscall.Umask(0o077))
	for _, test := range []struct {
		name   string
		there  fs.FileMode // of the directory before, 0 for none
		public bool
		want   fs.FileMode
	}{
		{"made private", 0, false, 0o700},
		{"made public", 0, true, 0o755},
		{"left as it is", 0o750, false, 0o750},
		{"opened to others", 0o710, true, 0o755},
	} {
		t.Run(test.name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "state", "files")
			if test.there != 0 {
				if err := os.MkdirAll(dir, 0o700); err != nil {
					t.Fatal(err)
				}
				if err := os.Chmod(dir, test.there); err != nil {
					t.Fatal(err)
				}
			}
			f, err := disk.Open(dir, test.public)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			file := f.Path(storeOne(t, f))
			for name, want := range map[string]fs.FileMode{
				".": test.want, ".lock": 0o600, filepath.Dir(file): 0o755, file: 0o644,
			} {
				info, err := os.Stat(filepath.Join(dir, name))
				if err != nil || info.Mode().Perm() != want {
					t.Errorf("%s: %v, %v, want %v", name, info.Mode(), err, want)
				}
			}
		})
	}
}

func TestOpenErrors(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	used := filepath.Join(dir, "used")
	open(t, used)
	for _, test := range []struct {
		name, dir string
		want      string
	}{
		{"a file", file, "name a directory, not a file"},
		{"below a file", filepath.Join(file, "a"), "name a directory, not a file"},
		{"in use", used, `change the configuration of a running server with "caddy reload"`},
		{"read-only", mountTmpfs(t, syscall.MS_RDONLY, "size=1m"), "ReadWritePaths"},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := disk.Open(test.dir, false)
			if err == nil {
				f.Close()
				t.Fatal("opened")
			}
			if !strings.Contains(err.Error(), test.want) || !strings.Contains(err.Error(), test.dir) {
				t.Errorf("%q, want %s and %q", err, test.dir, test.want)
			}
		})
	}
}

func TestOpenWithoutPermission(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("needs root to become a user without permission")
	}
	cmd := child(t, "open", "/xmpp-upload-not-permitted/files")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	out, err := cmd.CombinedOutput()
	if err == nil || !strings.Contains(string(out), "user 65534 may not write there") {
		t.Errorf("%v: %s", err, out)
	}
}

func TestOneProcessAtATime(t *testing.T) {
	dir := t.TempDir()
	f := open(t, dir)
	out, err := child(t, "open", dir).CombinedOutput()
	if err == nil || !strings.Contains(string(out), dir+": another process uses it") || !strings.Contains(string(out), "caddy reload") {
		t.Errorf("a second process: %v: %s", err, out)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if out, err := child(t, "open", dir).CombinedOutput(); err != nil {
		t.Errorf("after Close: %v: %s", err, out)
	}
}
