// Package rig runs Caddy with this module as a process of its own, so that
// tests can reload, stop and kill it, and read its logs and its memory.
//
// A test package that uses it has this TestMain:
//
//	func TestMain(m *testing.M) { rig.Main(m) }
//
// There is nothing to build first: the test binary itself becomes Caddy when
// the rig starts it again. With -race, that Caddy is checked for races too.
package rig

import (
	"io"
	"os"
	"testing"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-xmpp/xmpp-upload"
)

const (
	// envCaddy turns the test binary into Caddy's command.
	envCaddy = "XMPP_UPLOAD_RIG_CADDY"
	// envLifeline makes that Caddy end when its standard input does.
	envLifeline = "XMPP_UPLOAD_RIG_LIFELINE"
)

// Main runs the tests of m, or Caddy if the rig started this process.
func Main(m *testing.M) {
	if os.Getenv(envCaddy) == "" {
		os.Exit(m.Run())
	}
	if os.Getenv(envLifeline) != "" {
		go exitWithParent()
	}
	caddycmd.Main()
}

// exitWithParent ends the process when the tests have died without stopping
// it, as a test does that runs out of time.
func exitWithParent() {
	_, _ = io.Copy(io.Discard, os.Stdin)
	os.Exit(1)
}
