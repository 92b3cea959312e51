// Package caddytest drives a whole Caddy from outside, behind a real ejabberd
// and with real XMPP clients. What it needs are Debian packages: ejabberd,
// python3-slixmpp, go-sendxmpp. Without them its tests skip, unless
// XMPP_UPLOAD_E2E=required is set: then they fail.
package caddytest

import (
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

const python = "/usr/bin/python3" // Debian's: another one has no slixmpp

// need skips the test if a Debian package that it uses is missing.
func need(t *testing.T, packages ...string) {
	t.Helper()
	has := map[string]func() bool{
		"ejabberd":        func() bool { return onPath("erl") && ejabberdLibraries() != "" },
		"python3-slixmpp": func() bool { return exec.Command(python, "-c", "import slixmpp, aiohttp").Run() == nil },
		"go-sendxmpp":     func() bool { return onPath("go-sendxmpp") },
	}
	for _, name := range packages {
		if !has[name]() {
			rig.Skip(t, "the Debian package "+name+" is missing")
		}
	}
}

func onPath(command string) bool {
	_, err := exec.LookPath(command)
	return err == nil
}

// ejabberdLibraries returns the directory of Erlang libraries that has
// ejabberd; its name depends on the architecture. Empty if there is none.
func ejabberdLibraries() string {
	found, _ := filepath.Glob("/usr/lib/*/ejabberd-*/ebin/ejabberd.app")
	if len(found) == 0 {
		return ""
	}
	return filepath.Dir(filepath.Dir(filepath.Dir(found[0])))
}
