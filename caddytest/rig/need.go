package rig

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// Skip skips a test for want of something, or fails it where nothing may be
// skipped: where the environment has XMPP_UPLOAD_E2E=required.
func Skip(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("XMPP_UPLOAD_E2E") == "required" {
		t.Fatalf("%s, and XMPP_UPLOAD_E2E=required", reason)
	}
	t.Skip(reason)
}

// Program returns the path of a program that a test drives, and skips the test
// if the Debian package that has it is missing.
func Program(t testing.TB, name, debianPackage string) string {
	t.Helper()
	for _, file := range []string{name, filepath.Join("/usr/sbin", name)} {
		if path, err := exec.LookPath(file); err == nil {
			return path
		}
	}
	Skip(t, "the Debian package "+debianPackage+" is missing")
	return ""
}
