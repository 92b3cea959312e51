//go:build linux

// Package faults holds a whole Caddy to its promises when the machine below it
// fails: every call to the kernel that touches the stores fails once, or the
// process dies there; the power is cut at random moments; the clock jumps.
//
// Calls are made to fail by a sentry, which the kernel asks about each of them
// (seccomp's user notification), so the program under test is as it is. What
// the promises are is in one place, for all tests: service.check.
package faults

import (
	"fmt"
	"os"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestMain(m *testing.M) {
	if to := os.Getenv(envSentry); to != "" {
		if err := surrender(to); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
	}
	rig.Main(m)
}
