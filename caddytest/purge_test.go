package caddytest

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const purgeModule = "mod_xmpp_upload_purge"

// testPurge installs the module of docs/ as docs/operating.md says, removes an
// account, and expects its uploads to go, and those of others to stay.
func (s *stack) testPurge(t *testing.T) {
	const leaver = "jürgen@localhost"
	leave := s.upload(t, leaver, job{Name: "mine.txt", Size: 5}, job{Name: "also mine.txt", Size: 6})
	stay := s.upload(t, "alice@localhost", job{Name: "hers.txt", Size: 7})

	s.installPurge(t)
	if err := s.ejabberd.call("unregister", map[string]string{"user": "jürgen", "host": "localhost"}); err != nil {
		t.Fatal(err)
	}
	for _, r := range leave {
		rig.Await(t, "the file to be gone", func() bool { return s.status(t, r.Get) == http.StatusNotFound })
	}
	for _, r := range stay {
		if code := s.status(t, r.Get); code != http.StatusOK {
			t.Errorf("a file of another user: %d", code)
		}
	}
	log, err := os.ReadFile(s.ejabberd.logFile())
	if err != nil || strings.Contains(string(log), "are still there") {
		t.Errorf("ejabberd was told no (%v)", err)
	}
}

// installPurge copies the module's sources, has ejabberd compile them, and adds
// the module to its configuration.
func (s *stack) installPurge(t *testing.T) {
	t.Helper()
	e := s.ejabberd
	to := filepath.Join(e.dir, ".ejabberd-modules", "sources", purgeModule)
	if err := os.CopyFS(to, os.DirFS(filepath.Join("..", "docs", purgeModule))); err != nil {
		t.Fatal(err)
	}
	if err := e.call("module_install", map[string]string{"module": purgeModule}); err != nil {
		t.Fatal(err)
	}
	config := filepath.Join(e.dir, "ejabberd.yml")
	old, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	module := fmt.Sprintf("modules:\n  %s:\n    admin_url: \"http://%s\"\n", purgeModule, s.caddy.Admin)
	e.write("ejabberd.yml", []byte(strings.Replace(string(old), "\nmodules:\n", "\n"+module, 1)))
	if err := e.call("reload_config", nil); err != nil {
		t.Fatal(err)
	}
}

func (s *stack) status(t *testing.T, target string) int {
	t.Helper()
	resp, err := http.Get(target) //nolint:noctx // on loopback
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}
