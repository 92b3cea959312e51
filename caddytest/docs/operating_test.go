package docs

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const operating = "docs/operating.md"

// operator types what docs/operating.md shows.
type operator struct {
	*rig.Caddy
	t     *testing.T
	slots []string // IDs of what is there at the beginning
	base  string
	bin   string // has a command caddy that asks this Caddy
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	o := &operator{Caddy: rig.New(t), t: t}
	o.base = "http://" + o.Addr
	now := time.Now()
	for _, slot := range rig.Seed(t, o.Dir,
		rig.Stored{JID: "me@example.com", Name: "holiday.jpg", Type: "image/jpeg", Size: 1000, At: now.Add(-time.Hour)},
		rig.Stored{JID: "me@example.com", Name: "other.txt", Type: "text/plain", Size: 2000, At: now.Add(-time.Hour)},
		rig.Stored{JID: "leaver@example.com", Name: "old.txt", Type: "text/plain", Size: 3000, At: now.Add(-time.Hour)},
		rig.Stored{JID: "you@example.com", Name: "long ago.txt", Type: "text/plain", Size: 4000, At: now.Add(-20 * 24 * time.Hour)},
		rig.Stored{JID: "you@example.com", Name: "stays.txt", Type: "text/plain", Size: 5000, At: now.Add(-time.Hour)},
	) {
		o.slots = append(o.slots, slot.ID+"/"+slot.URLName)
	}
	o.writeCommand()
	o.start()
	return o
}

func (o *operator) start() {
	o.t.Helper()
	o.Start(fmt.Sprintf("%s {\n\txmpp_upload {\n\t\tallow * {\n\t\t\tmax_file_size 20MB\n\t\t}\n\t\tslots badger %[2]s/slots\n\t\tfiles disk %[2]s/files\n\t}\n}\n", o.base, o.Dir))
}

// writeCommand makes the command caddy of the operator's shell. It is the
// tests' own program, and knows where the admin endpoint of the tests is.
func (o *operator) writeCommand() {
	o.t.Helper()
	o.bin = filepath.Join(o.Dir, "bin")
	cmd := o.Command()
	script := "#!/bin/sh\n"
	for _, env := range cmd.Env {
		if name, value, _ := strings.Cut(env, "="); strings.HasPrefix(name, "XMPP_UPLOAD_RIG_CADDY") || name == "HOME" {
			script += fmt.Sprintf("export %s='%s'\n", name, value)
		}
	}
	script += fmt.Sprintf("case $2 in restore) exec '%[1]s' \"$@\";; *) exec '%[1]s' \"$@\" --address '%[2]s';; esac\n", cmd.Path, o.Admin)
	if err := os.MkdirAll(o.bin, 0o755); err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(o.bin, "caddy"), []byte(script), 0o755); err != nil { //nolint:gosec // a program
		o.t.Fatal(err)
	}
}

// types runs all commands of a section and returns what they print.
func (o *operator) types(heading string) string {
	o.t.Helper()
	var script string
	for _, b := range blocks(o.t, operating) {
		if b.heading == heading && b.lang == "sh" {
			script += b.text
		}
	}
	if script == "" {
		o.t.Fatalf("%s has no commands under %q", operating, heading)
	}
	script = replace(script, "/var/lib/caddy/xmpp-upload", o.Dir, "/var/backups/xmpp-upload", o.Dir+"/backup")
	sh := exec.CommandContext(o.t.Context(), "sh", "-exc", script) //nolint:gosec // of our own documents
	sh.Dir = o.Dir
	sh.Env = append(os.Environ(), "PATH="+o.bin+":"+os.Getenv("PATH"), "ID="+strings.Split(o.slots[0], "/")[0])
	var stderr strings.Builder
	sh.Stderr = &stderr
	out, err := sh.Output()
	if err != nil {
		o.t.Fatalf("%s: %v\n%s%s", heading, err, stderr.String(), out)
	}
	return string(out)
}

// wants checks which of the uploads are served.
func (o *operator) wants(served ...bool) {
	o.t.Helper()
	for i, want := range served {
		_, err := rig.NewClient(o.t, "").Download(o.t.Context(), o.base+"/"+o.slots[i])
		var status *rig.StatusError
		if errors.As(err, &status) && status.Code != http.StatusNotFound || err == nil != want {
			o.t.Errorf("%s: %v, served should be %v", o.slots[i], err, want)
		}
	}
}

func (o *operator) wantsText(out string, some ...string) {
	o.t.Helper()
	for _, text := range some {
		if !strings.Contains(out, text) {
			o.t.Errorf("%q is missing in\n%s", text, out)
		}
	}
}

// Every command of the document does what the document says, one after the
// other, as an operator who reads it would type them.
func TestOperating(t *testing.T) {
	rig.Program(t, "rsync", "rsync")
	o := newOperator(t)
	defer o.Stop()

	o.wants(true, true, true, true, true)
	o.wantsText(o.types("Look around"), "holiday.jpg", "leaver@example.com", `"users":[`)
	o.wantsText(o.types("Why was a user refused?"), "refused", "me@example.com")

	o.types("Delete")
	o.wants(false, false, true, true, true)
	o.types("Accounts that are removed")
	o.wants(false, false, false, true, true)
	o.types("Clean up and verify")
	o.wants(false, false, false, false, true)

	o.restores()
}

func (o *operator) restores() {
	o.t.Helper()
	if err := os.Mkdir(filepath.Join(o.Dir, "backup"), 0o700); err != nil {
		o.t.Fatal(err)
	}
	o.types("Backup")
	o.Kill()
	for _, dir := range []string{"slots", "files"} {
		if err := os.RemoveAll(filepath.Join(o.Dir, dir)); err != nil {
			o.t.Fatal(err)
		}
	}
	o.types("Restore")
	o.start()
	o.wants(false, false, false, false, true)

	out, err := exec.CommandContext(o.t.Context(), filepath.Join(o.bin, "caddy"), "xmpp-upload", "verify", "--json").Output()
	if err != nil {
		o.t.Fatal(err)
	}
	var found struct {
		Slots, Files                 int
		Missing, Orphaned, WrongSize []string
	}
	if err := json.Unmarshal(out, &found); err != nil || found.Slots != 1 || found.Files != 1 || len(found.Missing)+len(found.Orphaned) > 0 {
		o.t.Errorf("after the restore: %s (%v)", out, err)
	}
}

func TestOperatingPrometheusConfigurationIsValid(t *testing.T) {
	promtool := rig.Program(t, "promtool", "prometheus")
	dir := t.TempDir()
	writeFile(t, filepath.Join(dir, "alerts.yml"), read(t, "docs/alerts.yml"))
	writeFile(t, filepath.Join(dir, "prometheus.yml"), firstOf(t, operating, "Monitoring", "yaml"))
	out, err := exec.CommandContext(t.Context(), promtool, "check", "config", filepath.Join(dir, "prometheus.yml")).CombinedOutput()
	if err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
