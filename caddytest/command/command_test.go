package command

import (
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func day(t time.Time) string { return t.UTC().Format("Jan _2 15:04") }

func TestCommandsShowWhatIsThere(t *testing.T) {
	s, slots := start(t, some()...)
	const month = 30 * 24 * time.Hour
	row := func(i int, format string) string {
		return fmt.Sprintf(format, slots[i].ID, day(slots[i].Reserved), day(slots[i].Reserved.Add(month)))
	}
	const titles = "ID                                   JID                NAME                     SIZE  STATE     GRANTED       EXPIRES\n"
	waiting := fmt.Sprintf("%s  bob@example.com    slot.bin                500 B  waiting   %s  %s\n",
		slots[3].ID, day(slots[3].Reserved), day(slots[3].Deadline))
	s.expect(titles+waiting+
		row(2, "%s  bob@example.com    "+shown+"      7 B  uploaded  %s  %s\n")+
		row(1, "%s  alice@example.com  holiday.jpg           1.5 KiB  uploaded  %s  %s\n")+
		row(0, "%s  alice@example.com  old.txt                1000 B  uploaded  %s  %s\n"), "list")

	s.expect(fmt.Sprintf(`ID              %s
JID             alice@example.com
Name            holiday.jpg
Size            1.5 KiB (1536 bytes)
Type            image/jpeg
State           uploaded
Slot granted    %s
Uploaded        %[2]s
Expires         %[3]s
Store           %[4]s
`, slots[1].ID, full(slots[1].Reserved), full(slots[1].Expires), filepath.Join(s.Dir, "slots")), "show", slots[1].ID)

	s.expect(`JID                FILES   STORED
alice@example.com      2  2.5 KiB
bob@example.com        1      7 B
`, "users")

	s.expect(`JID             alice@example.com
Rule            1, allow example.com
Size of a file  1.0 MiB
Stored          2 files, 2.5 KiB
Waiting         0 slots, 0 B
In all          2.5 KiB of 2.0 MiB

LIMIT    USED     OF  PER  ROOM
uploads     0  1,000   1h   now
`, "usage", "Alice@Example.com")

	s.expect("Granted         yes\nRule            1, allow example.com\n", "check", "alice@example.com", "1MiB")

	got := s.must("stats")
	if want := "Stored          3 files, 2.5 KiB\nExpired         0 files of these\nWaiting         1 slot, 500 B\n"; !strings.HasPrefix(got, want) {
		t.Errorf("stats shows\n%swant\n%s", got, want)
	}
}

func full(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

// What --json prints is what the API answers.
func TestJSONIsTheAnswerOfTheAPI(t *testing.T) {
	s, slots := start(t, some()...)
	for _, tt := range []struct{ command, path string }{
		{"list", "uploads"},
		{"list --jid bob@example.com", "uploads?jid=bob@example.com"},
		{"list --state waiting", "uploads?state=waiting"},
		{"list -q HOLIDAY", "uploads?q=HOLIDAY"},
		{"list --limit 1", "uploads?limit=1"},
		{"list --from 2020-01-01", "uploads?from=2020-01-01"},
		{"list --to 2020-01-01", "uploads?to=2020-01-01"},
		{"list --after " + slots[1].ID, "uploads?after=" + slots[1].ID},
		{"list --store " + filepath.Join(s.Dir, "slots"), "uploads"},
		{"show " + slots[0].ID, "uploads/" + slots[0].ID},
		{"users", "users"},
		{"users --limit 1", "users?limit=1"},
		{"usage bob@example.com", "users/bob@example.com"},
		{"check bob@example.com 5", "check?jid=bob@example.com&size=5"},
	} {
		if got, want := s.must(append(strings.Fields(tt.command), "--json")...), s.api(tt.path); got != want {
			t.Errorf("%s --json printed\n%swant\n%s", tt.command, got, want)
		}
	}
	for _, tt := range []struct{ command, want string }{
		{"verify", `{"slots":3,"files":3,"missing":[],"orphaned":[],"wrong_size":[],"repaired":0}`},
		{"delete " + slots[1].ID, `{"slots":0,"files":1,"bytes":1536}`},
		{"cleanup --older-than 2d", `{"slots":0,"files":1,"bytes":1000,"discarded":0,"orphaned":0,"missing":0,"published":0}`},
		{"purge bob@example.com", `{"slots":1,"files":1,"bytes":7}`},
	} {
		s.expect(tt.want+"\n", append(strings.Fields(tt.command), "--json")...)
	}
}

// api returns what the admin API answers.
func (s *server) api(path string) string {
	s.t.Helper()
	resp, err := http.Get("http://" + s.Admin + "/xmpp_upload/" + path)
	if err != nil {
		s.t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		s.t.Fatal(err)
	}
	return string(body)
}

func TestExitStatusOfNo(t *testing.T) {
	s, slots := start(t, some()...)
	tests := []struct {
		args           []string
		stdout, stderr string
	}{
		{[]string{"check", "mallory@example.com", "1"}, "Granted         no\nRule            0, deny mallory@example.com\nRefused         not_allowed: ", ""},
		{[]string{"check", "me@example.org", "1"}, "Granted         no\nRule            none, so may not upload\nRefused         not_allowed: ", ""},
		{[]string{"check", "alice@example.com", "1.5MiB"}, "Granted         no\nRule            1, allow example.com\nRefused         file_too_large: ", ""},
		{[]string{"check", "--json", "mallory@example.com", "1"}, `{"granted":false,`, ""},
		{[]string{"show", strings.Repeat("0", 35)}, "", "Error: "},
		{[]string{"delete", strings.Repeat("0", 35), slots[0].ID}, "Removed: 1 file, 1000 B; 0 unused slots.\n", strings.Repeat("0", 35) + ": "},
	}
	for _, tt := range tests {
		got := s.run(tt.args...)
		if got.status != 1 || !strings.HasPrefix(got.stdout, tt.stdout) || !strings.HasPrefix(got.stderr, tt.stderr) || (tt.stderr == "") != (got.stderr == "") {
			t.Errorf("%q: exit status %d\n%s%swant 1\n%s%s", tt.args, got.status, got.stdout, got.stderr, tt.stdout, tt.stderr)
		}
	}
}

func TestExitStatusOfFailures(t *testing.T) {
	s, _ := start(t)
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"stats", "--address", s.Addr}, "what answers at " + s.Addr + " is not the admin endpoint"},
		{[]string{"stats", "--address", "127.0.0.1:1"}, "no Caddy answers at 127.0.0.1:1 (connection refused); is it running"},
		{[]string{"stats", "--address", "unix//no/such.sock"}, "no Caddy answers at unix//no/such.sock (no such file or directory)"},
		{[]string{"stats", "--store", "/elsewhere"}, "/elsewhere"},
		{[]string{"stats", "--store", ""}, "store"},
		{[]string{"list", "--state", "gone"}, `"gone"`},
		{[]string{"list", "--jid", ""}, "jid"},
		{[]string{"list", "--limit", "0"}, "limit"},
		{[]string{"list", "--after", "nonsense"}, "after"},
		{[]string{"usage", "@"}, "JID"},
		{[]string{"cleanup", "--older-than", "soon"}, "older_than"},
		{[]string{"lisst"}, "did you mean list?"},
		{[]string{"check", "alice@example.com"}, "SIZE is missing"},
		{[]string{"list", "--nothing"}, "unknown flag: --nothing"},
	}
	for _, tt := range tests {
		got := s.run(tt.args...)
		if got.status != 2 || got.stdout != "" || !strings.HasPrefix(got.stderr, "Error: ") || !strings.Contains(got.stderr, tt.want) ||
			strings.Count(got.stderr, "\n") != 1 {
			t.Errorf("%q: exit status %d, stdout %q, stderr %q, want 2, nothing, and one line with %q", tt.args, got.status, got.stdout, got.stderr, tt.want)
		}
	}
	s.Stop()
	if got := s.run("check", "alice@example.com", "1"); got.status != 2 || !strings.Contains(got.stderr, "no Caddy answers at "+s.Admin) {
		t.Errorf("check without a server: exit status %d, %q, want 2", got.status, got.stderr)
	}
}

func TestTheConfigurationTellsTheAddress(t *testing.T) {
	s, _ := start(t)
	cmd := s.command("users", "--json", "--config", filepath.Join(s.Dir, "Caddyfile"), "--adapter", "caddyfile")
	cmd.Env = append(cmd.Env, "CADDY_ADMIN=127.0.0.1:1")
	if got := s.finish(cmd); got.status != 0 || got.stdout != `{"users":[]}`+"\n" { // on stderr Caddy tells which file it reads
		t.Errorf("got %d, %s%s", got.status, got.stdout, got.stderr)
	}
}

func TestAdminEndpointOnASocket(t *testing.T) {
	s := &server{rig.New(t), t}
	dir, err := os.MkdirTemp("", "admin") // a path that is short enough for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	socket := "unix/" + filepath.Join(dir, "admin.sock")
	s.Start(s.site(s.Dir))
	// The next configuration moves the endpoint to the socket.
	file := filepath.Join(s.Dir, "moved")
	config := strings.Replace(s.Caddyfile(s.site(s.Dir)), "admin "+s.Admin, "admin "+socket, 1)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := s.caddy("reload", "--config", file, "--adapter", "caddyfile", "--address", s.Admin).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	s.expect(`{"users":[]}`+"\n", "users", "--json", "--address", socket)
	rig.Await(t, "the old address to close", func() bool { return s.run("users").status == 2 })
}

func TestRemovals(t *testing.T) {
	s, slots := start(t, some()...)
	s.expect("Removed: 1 file, 1.5 KiB; 0 unused slots.\n", "delete", slots[1].ID)
	s.expect("Removed: 1 file, 7 B; 1 unused slot.\n", "purge", "bob@example.com")
	s.expect("Removed: 0 files, 0 B; 0 unused slots.\n", "purge", "bob@example.com")
	s.expect("Removed: 0 files, 0 B; 0 unused slots.\n", "cleanup", "--older-than", "4d")
	s.expect("Removed: 1 file, 1000 B; 0 unused slots.\n", "cleanup", "--older-than", "2d")
	s.expect(`{"uploads":[]}`+"\n", "list", "--json")
	var names []string
	_ = filepath.WalkDir(filepath.Join(s.Dir, "files"), func(path string, d os.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != ".lock" {
			names = append(names, path)
		}
		return err
	})
	if len(names) > 0 {
		t.Errorf("files are left: %q", names)
	}
}

func TestVerify(t *testing.T) {
	expired := rig.Stored{JID: "bob@example.com", Name: "expired", Size: 1, At: ago(96 * time.Hour), Keep: time.Minute}
	s, slots := start(t, append([]rig.Stored{expired}, some()...)...)
	expiredID, slots := slots[0].ID, slots[1:]
	// What is damaged before the first clean-up would be mended by it.
	rig.Await(t, "the clean-up at the start", func() bool {
		return !strings.Contains(s.must("list", "--json"), expiredID)
	})
	s.expect("Compared 3 uploads with 3 files.\nAll is well.\n", "verify")

	file := func(i int) string {
		found, err := filepath.Glob(filepath.Join(s.Dir, "files", "*", slots[i].ID+"-*"))
		if err != nil || len(found) != 1 {
			t.Fatalf("files of %s: %q, %v", slots[i].ID, found, err)
		}
		return found[0]
	}
	if err := os.Remove(file(0)); err != nil {
		t.Fatal(err)
	}
	if err := os.Truncate(file(1), 1); err != nil {
		t.Fatal(err)
	}
	faults := func(mended int) string {
		return fmt.Sprintf("Uploads without a file:\n  %s\nUploads with a file of another size:\n  %s\n2 faults found, %d mended.\n",
			slots[0].ID, slots[1].ID, mended)
	}
	if got, want := s.run("verify"), (result{"Compared 3 uploads with 2 files.\n" + faults(0), "", 1}); got != want {
		t.Errorf("got %v, want %v", got, want)
	}
	if got := s.run("verify", "--json"); got.status != 1 || !strings.HasPrefix(got.stdout, `{"slots":3,`) {
		t.Errorf("got %v, want the damage and exit status 1", got)
	}
	s.expect("Compared 3 uploads with 2 files.\n"+faults(2), "verify", "--repair")
	s.expect("Compared 1 upload with 1 file.\nAll is well.\n", "verify")
}

func TestInATerminal(t *testing.T) {
	s, slots := start(t, some()...)

	text, status := s.terminal(80, "", "list")
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	if status != 0 || len(lines) != 5 || strings.Join(strings.Fields(lines[0]), " ") != "ID JID NAME SIZE STATE" {
		t.Errorf("list: exit status %d and\n%s", status, text)
	}
	for _, line := range lines {
		if len([]rune(line)) > 80 {
			t.Errorf("list: a line is too long: %s", line)
		}
		if strings.ContainsFunc(line, func(r rune) bool { return !unicode.IsPrint(r) }) {
			t.Errorf("list: something else than text reaches the terminal: %q", line)
		}
	}
	if text, status := s.terminal(80, "", "list", "--json"); status != 0 || strings.ContainsAny(text, "\x1b\u202e") {
		t.Errorf("list --json: exit status %d and %q", status, text)
	}

	text, status = s.terminal(80, "n\n", "delete", slots[1].ID)
	if status != 1 || !strings.Contains(text, "holiday.jpg") || !strings.Contains(text, "Remove 1 upload? [y/N] ") ||
		!strings.HasSuffix(text, "Error: nothing was removed\n") {
		t.Errorf("delete, answered with no: exit status %d and\n%s", status, text)
	}
	s.must("show", slots[1].ID)

	text, status = s.terminal(80, "\x04", "purge", "alice@example.com")
	if status != 1 || !strings.Contains(text, "Remove all of alice@example.com (2 files, 2.5 KiB; waiting: 0 slots, 0 B)? [y/N] ") {
		t.Errorf("purge, not answered: exit status %d and\n%s", status, text)
	}
	s.must("show", slots[1].ID)

	text, status = s.terminal(80, "y\n", "purge", "alice@example.com")
	if status != 0 || !strings.HasSuffix(text, "Removed: 2 files, 2.5 KiB; 0 unused slots.\n") {
		t.Errorf("purge, answered with yes: exit status %d and\n%s", status, text)
	}

	for name, want := range map[string]string{
		"verify":  "\rCompared 1 upload with 1 file.\nAll is well.\n",
		"cleanup": "\rRemoved: 0 files, 0 B; 0 unused slots.\n",
	} {
		text, status := s.terminal(80, "", name)
		if status != 0 || !strings.HasSuffix(text, want) {
			t.Errorf("%s: exit status %d and\n%q\nwant, after the bar\n%q", name, status, text, want)
		}
	}
}

func TestHelpAndManual(t *testing.T) {
	s := &server{rig.New(t), t}
	commands := strings.Fields("list show users usage check stats delete purge cleanup verify backup restore")
	manual := filepath.Join(s.Dir, "man")
	if out, err := s.caddy("manpage", "--directory", manual).CombinedOutput(); err != nil {
		t.Fatalf("manpage: %v: %s", err, out)
	}
	all := s.must()
	for _, name := range commands {
		if !strings.Contains(all, "\n  "+name+" ") {
			t.Errorf("the help does not name %s:\n%s", name, all)
		}
		help := s.must(name, "--help")
		if !strings.Contains(help, "Examples:\n") || !strings.Contains(help, "xmpp-upload "+name) {
			t.Errorf("the help of %s has no example:\n%s", name, help)
		}
		if out, err := s.caddy("help", "xmpp-upload", name).Output(); err != nil || string(out) != help {
			t.Errorf("caddy help xmpp-upload %s: %v\n%s", name, err, out)
		}
		if _, err := os.Stat(filepath.Join(manual, "caddy-xmpp-upload-"+name+".8")); err != nil {
			t.Error(err)
		}
	}
}

func TestCompletion(t *testing.T) {
	s := &server{rig.New(t), t}
	tests := []struct{ typed, want string }{
		{"cl", "cleanup\t"},
		{"list --state ", "waiting\nuploaded\nexpired\n"},
		{"cleanup --no-", "--no-slots\t"},
		{"verify --", "--repair\t"},
		{"stats ", ":4\n"}, // no files
	}
	for _, tt := range tests {
		args := append([]string{"__complete", "xmpp-upload"}, strings.Split(tt.typed, " ")...)
		out, err := s.caddy(args...).Output()
		if err != nil || !strings.Contains(string(out), tt.want) {
			t.Errorf("%q completes to %q, %v, want %q", tt.typed, out, err, tt.want)
		}
	}
}
