// Package command tests "caddy xmpp-upload" as an operator runs it: a process
// that asks another, which runs Caddy.
package command

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/creack/pty"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

func TestMain(m *testing.M) { rig.Main(m) }

// rules let alice and bob upload.
const rules = `
		deny mallory@example.com
		allow example.com {
			max_file_size 1MiB
			max_total_size 2MiB
			uploads 1000 per 1h
		}`

// server is a Caddy and the shell of its operator.
type server struct {
	*rig.Caddy
	t *testing.T
}

// start starts a Caddy that has stored uploads, which must be in the order of
// time, and returns them.
func start(t *testing.T, uploads ...rig.Stored) (*server, []store.Slot) {
	s := &server{rig.New(t), t}
	var slots []store.Slot
	for _, u := range uploads { // one by one, since their times are far apart
		slots = append(slots, rig.Seed(t, s.Dir, u)...)
	}
	s.Start(s.site(s.Dir))
	return s, slots
}

// site is one whose stores are in dir.
func (s *server) site(dir string) string {
	return fmt.Sprintf("http://%s {\n\txmpp_upload {%s\n\t\tslots badger %s\n\t\tfiles disk %s\n\t}\n}\n",
		s.Addr, rules, filepath.Join(dir, "slots"), filepath.Join(dir, "files"))
}

// result is what a command was.
type result struct {
	stdout, stderr string
	status         int
}

// caddy returns "caddy args…", not yet started. The default admin endpoint is
// that of the server.
func (s *server) caddy(args ...string) *exec.Cmd {
	cmd := s.Command(args...)
	// With -race a process sleeps for a second before it exits, unless told.
	cmd.Env = append(cmd.Env, "CADDY_ADMIN="+s.Admin, "TZ=UTC", "GORACE=atexit_sleep_ms=0")
	return cmd
}

// command returns "caddy xmpp-upload args…".
func (s *server) command(args ...string) *exec.Cmd {
	return s.caddy(append([]string{"xmpp-upload"}, args...)...)
}

// run runs a command without a terminal.
func (s *server) run(args ...string) result {
	s.t.Helper()
	return s.finish(s.command(args...))
}

func (s *server) finish(cmd *exec.Cmd) result {
	s.t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	status := s.status(cmd.Run())
	return result{stdout.String(), stderr.String(), status}
}

func (s *server) status(err error) int {
	s.t.Helper()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return 0
}

// expect runs a command that must print just this, end well and say nothing
// else.
func (s *server) expect(stdout string, args ...string) {
	s.t.Helper()
	if got, want := s.run(args...), (result{stdout, "", 0}); got != want {
		s.t.Errorf("caddy xmpp-upload %s\ngot  %d\n%s%s\nwant %d\n%s", strings.Join(args, " "),
			got.status, got.stdout, got.stderr, want.status, want.stdout)
	}
}

// must runs a command that must end well, and returns what it printed.
func (s *server) must(args ...string) string {
	s.t.Helper()
	got := s.run(args...)
	if got.status != 0 || got.stderr != "" {
		s.t.Fatalf("caddy xmpp-upload %s: exit status %d: %s", strings.Join(args, " "), got.status, got.stderr)
	}
	return got.stdout
}

// terminal runs a command in a terminal of so many columns, in which somebody
// types, and returns what the screen shows and the exit status.
func (s *server) terminal(columns uint16, typed string, args ...string) (string, int) {
	s.t.Helper()
	cmd := s.command(args...)
	screen, err := pty.StartWithSize(cmd, &pty.Winsize{Rows: 24, Cols: columns})
	if err != nil {
		s.t.Fatal(err)
	}
	defer screen.Close()
	if _, err := io.WriteString(screen, typed); err != nil {
		s.t.Fatal(err)
	}
	text, _ := io.ReadAll(screen) // ends with an error when the command has ended
	return strings.ReplaceAll(string(text), "\r\n", "\n"), s.status(cmd.Wait())
}

// ago is a time that is told in whole seconds.
func ago(d time.Duration) time.Time { return time.Now().Add(-d).Truncate(time.Second) }

// some are uploads of alice, a slot of bob, and a file of bob with a name as
// nobody should see it raw.
func some() []rig.Stored {
	return []rig.Stored{
		{JID: "alice@example.com", Name: "old.txt", Type: "text/plain", Size: 1000, At: ago(72 * time.Hour)},
		{JID: "alice@example.com", Name: "holiday.jpg", Type: "image/jpeg", Size: 1536, At: ago(2 * time.Hour)},
		{JID: "bob@example.com", Name: hostile, Type: "text/plain", Size: 7, At: ago(time.Hour)},
		{JID: "bob@example.com", Name: "slot.bin", Size: 500, At: ago(time.Minute), Unused: true},
	}
}

const (
	hostile = "\x1b[2J\u202efdp.exe"
	shown   = `\x1b[2J\u202efdp.exe`
)
