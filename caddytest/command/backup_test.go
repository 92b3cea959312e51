package command

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// What restore makes of a backup, and of a copy of the files that was made
// after it, is what was there.
func TestBackupAndRestore(t *testing.T) {
	s, _ := start(t, some()...)
	file := filepath.Join(s.Dir, "copy")
	if err := os.WriteFile(file, []byte("an older one"), 0o600); err != nil {
		t.Fatal(err)
	}
	s.expect("", "backup", file)
	before := s.must("list")
	if got := s.finish(s.command("backup", "-")); got.status != 0 || len(got.stdout) < 100 {
		t.Errorf("backup to standard output: exit status %d, %d bytes", got.status, len(got.stdout))
	}
	other := &server{rig.New(t), t}
	copied := filepath.Join(other.Dir, "slots")
	want := "Restored the slots to " + copied + ".\n" +
		"Put back the directory of the files too and start Caddy. What is missing then,\ncaddy xmpp-upload verify tells.\n"
	other.expect(want, "restore", file, "--to", copied)
	if err := os.CopyFS(filepath.Join(other.Dir, "files"), os.DirFS(filepath.Join(s.Dir, "files"))); err != nil {
		t.Fatal(err)
	}
	s.must("purge", "alice@example.com") // the copy is not touched any more
	other.Start(other.site(other.Dir))
	if got := other.must("list"); got != before {
		t.Errorf("after restore there is\n%swant\n%s", got, before)
	}
	other.expect("Compared 3 uploads with 3 files.\nAll is well.\n", "verify")
	// Nothing is restored over what is in use.
	got := other.run("restore", file, "--to", copied)
	if got.status != 2 || !strings.Contains(got.stderr, copied+" is not empty") {
		t.Errorf("restore to a directory in use: exit status %d, %q", got.status, got.stderr)
	}
}

// Without --to, restore works where Caddy looks by default, and takes standard
// input.
func TestRestoreToTheDefaultDirectory(t *testing.T) {
	s, _ := start(t, some()...)
	copied := s.must("backup", "-")
	before := s.must("list")
	other := &server{rig.New(t), t}
	cmd := other.command("restore", "-")
	cmd.Stdin = strings.NewReader(copied)
	if got := other.finish(cmd); got.status != 0 || got.stderr != "" {
		t.Fatalf("exit status %d: %s", got.status, got.stderr)
	}
	other.Start("http://" + other.Addr + " {\n\txmpp_upload {\n\t\tcleanup_interval 1h\n\t}\n}\n")
	if got := other.must("list"); got != before {
		t.Errorf("after restore there is\n%swant\n%s", got, before)
	}
}

func TestRestoreOfSomethingElse(t *testing.T) {
	s, _ := start(t, some()...)
	whole := s.must("backup", "-")
	for name, content := range map[string]string{
		"nothing": "", "another file": "once upon a time", "a part": whole[:len(whole)-1], "a damaged one": whole[:50] + "x" + whole[51:],
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			cmd := s.command("restore", "-", "--to", filepath.Join(dir, "slots"))
			cmd.Stdin = strings.NewReader(content)
			got := s.finish(cmd)
			if got.status != 2 || got.stdout != "" || strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("exit status %d, %q, %q, want 2 and one line", got.status, got.stdout, got.stderr)
			}
			nothingIn(t, dir)
		})
	}
}

func TestBackupOfOneOfSeveralStores(t *testing.T) {
	s := &server{rig.New(t), t}
	one, two := filepath.Join(s.Dir, "one"), filepath.Join(s.Dir, "two")
	rig.Seed(t, two, some()[0])
	site := s.site(one)
	s.Start(site + strings.Replace(s.site(two), s.Addr, s.Addr+"/two", 1))
	dir := t.TempDir()
	file := filepath.Join(dir, "copy")
	if got := s.run("backup", file); got.status != 2 || !strings.Contains(got.stderr, "store") {
		t.Errorf("exit status %d, %q, want 2 and that there are several stores", got.status, got.stderr)
	}
	nothingIn(t, dir)
	s.expect("", "backup", file, "--store", filepath.Join(two, "slots"))
	s.must("restore", file, "--to", filepath.Join(dir, "slots"))
}

// stalled is a server whose backup comes to a stop in the middle. It closes
// begun when that is reached, and goes on to its end, which is none, when go on
// is closed.
func stalled(t *testing.T) (address string, begun, goOn chan struct{}) {
	begun, goOn = make(chan struct{}), make(chan struct{})
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write(bytes.Repeat([]byte("x"), 1<<20))
		_ = http.NewResponseController(w).Flush()
		close(begun)
		select {
		case <-goOn:
		case <-r.Context().Done():
		}
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(server.Close)
	return strings.TrimPrefix(server.URL, "http://"), begun, goOn
}

func TestBackupThatIsCutShortLeavesWhatWasThere(t *testing.T) {
	signal := func(signal os.Signal) func(*os.Process, chan struct{}) {
		return func(p *os.Process, _ chan struct{}) { _ = p.Signal(signal) }
	}
	tests := []struct {
		name string
		end  func(p *os.Process, goOn chan struct{})
		want string
	}{
		{"by the server", func(_ *os.Process, goOn chan struct{}) { close(goOn) }, "cut short"},
		{"by Ctrl-C", signal(syscall.SIGINT), "Error: interrupted\n"},
		{"by its manager", signal(syscall.SIGTERM), "Error: interrupted\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := &server{rig.New(t), t}
			address, begun, goOn := stalled(t)
			dir := t.TempDir()
			file := filepath.Join(dir, "copy")
			if err := os.WriteFile(file, []byte("an older one"), 0o600); err != nil {
				t.Fatal(err)
			}
			cmd := s.command("backup", file, "--address", address)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			<-begun
			rig.Await(t, "the first part", func() bool {
				found, _ := filepath.Glob(filepath.Join(dir, ".copy.*"))
				return len(found) == 1
			})
			tt.end(cmd.Process, goOn)
			if status := s.status(cmd.Wait()); status != 2 || !strings.Contains(stderr.String(), tt.want) {
				t.Errorf("exit status %d, %q, want 2 and %q", status, stderr.String(), tt.want)
			}
			if b, err := os.ReadFile(file); string(b) != "an older one" {
				t.Errorf("the older backup is now %d bytes, %v", len(b), err)
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
			nothingIn(t, dir)
		})
	}
}

func nothingIn(t *testing.T, dir string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) > 0 {
		t.Errorf("left in %s: %v, %v", dir, entries, err)
	}
}
