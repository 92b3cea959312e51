package command_test

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
	"testing"
	"unicode"

	"github.com/creack/pty"
	"github.com/rivo/uniseg"
)

// screen is a terminal. What was written to it is its text, once closed.
type screen struct {
	tty, keyboard *os.File
	text          chan string
}

func newScreen(t *testing.T, columns int) *screen {
	t.Helper()
	master, tty, err := pty.Open()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { master.Close() })
	if err := pty.Setsize(tty, &pty.Winsize{Rows: 24, Cols: uint16(columns)}); err != nil {
		t.Fatal(err)
	}
	s := &screen{tty: tty, keyboard: master, text: make(chan string, 1)}
	go func() {
		b, _ := io.ReadAll(master) // ends with an error when the terminal is closed
		s.text <- strings.ReplaceAll(string(b), "\r\n", "\n")
	}()
	return s
}

func (s *screen) close() string {
	s.tty.Close()
	return <-s.text
}

const twoUploads = `{"uploads":[
	{"id":"06f0cvq2v0ah8r3e9k2q7m1d5s4t6u8n0pa","jid":"a.very.long.name.of.a.user@uploads.example.com","name":"日本語のとても長い名前のファイル.tar.gz",
	 "size":1572864,"state":"uploaded","reserved_at":"2020-01-02T03:04:05Z","expires_at":"2020-02-01T03:04:06Z"},
	{"id":"06f0cvq2v0ah8r3e9k2q7m1d5s4t6u8n0pb","jid":"bob@example.com","name":"b","size":7,"state":"waiting","reserved_at":"2020-01-02T03:04:00Z","expires_at":null}]}`

func TestTablesFitTheTerminal(t *testing.T) {
	a := serve(t, map[string]string{"GET /xmpp_upload/uploads": twoUploads})
	tests := []struct {
		columns int
		titles  string
	}{
		{200, "ID JID NAME SIZE STATE GRANTED EXPIRES"},
		{120, "ID JID NAME SIZE STATE GRANTED EXPIRES"},
		{100, "ID JID NAME SIZE STATE GRANTED"},
		{80, "ID JID NAME SIZE STATE"},
		{70, "ID JID NAME SIZE"},
	}
	for _, tt := range tests {
		s := newScreen(t, tt.columns)
		got := run(nil, s.tty, nil, "list", "--address", a.address())
		text := s.close()
		lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
		if got.status != 0 || len(lines) != 3 || strings.Join(strings.Fields(lines[0]), " ") != tt.titles {
			t.Fatalf("%d columns: exit status %d and\n%swant a table of %s", tt.columns, got.status, text, tt.titles)
		}
		for _, line := range lines {
			if w := uniseg.StringWidth(line); w > tt.columns {
				t.Errorf("%d columns: a line has %d: %s", tt.columns, w, line)
			}
		}
		if !strings.Contains(text, "06f0cvq2v0ah8r3e9k2q7m1d5s4t6u8n0pa") {
			t.Errorf("%d columns: the ID is cut:\n%s", tt.columns, text)
		}
		if tt.columns < 150 && !strings.Contains(text, "…") {
			t.Errorf("%d columns: no sign that something is cut:\n%s", tt.columns, text)
		}
	}
}

func TestCutTable(t *testing.T) {
	a := serve(t, map[string]string{"GET /xmpp_upload/uploads": twoUploads})
	s := newScreen(t, 80)
	run(nil, s.tty, nil, "list", "--address", a.address())
	want := `ID                                   JID          NAME            SIZE  STATE
06f0cvq2v0ah8r3e9k2q7m1d5s4t6u8n0pa  a.very.lon…  日本語のと…  1.5 MiB  uploaded
06f0cvq2v0ah8r3e9k2q7m1d5s4t6u8n0pb  bob@exampl…  b                7 B  waiting
`
	if got := s.close(); got != want {
		t.Errorf("got\n%swant\n%s", got, want)
	}
}

// hostile is a name as nobody should have it, though a store might.
const hostile = "\x1b]0;pwned\a\x1b[2Jevil\u202efdp.exe\r\n\u009b31m\u200b\u2028\U000e0041x"

func TestNothingHostileReachesATerminal(t *testing.T) {
	name, _ := json.Marshal(hostile)
	upload := `{"id":` + string(name) + `,"jid":` + string(name) + `,"name":` + string(name) + `,"content_type":` + string(name) +
		`,"state":` + string(name) + `,"store":` + string(name) + `,"size":1,"reserved_at":"2020-01-02T03:04:05Z"}`
	user := `{"jid":` + string(name) + `,"rule":{"index":0,"pattern":` + string(name) + `},"bytes":[{"limit":1,"per":` + string(name) + `}],"uploads":[]}`
	a := serve(t, map[string]string{
		"GET /xmpp_upload/uploads":                             `{"uploads":[` + upload + `],"next":` + string(name) + `}`,
		"GET /xmpp_upload/uploads?state=x":                     `404 {"error":` + string(name) + `}`,
		"GET /xmpp_upload/uploads/x":                           upload,
		"GET /xmpp_upload/users":                               `{"users":[` + user + `]}`,
		"GET /xmpp_upload/users/x":                             user,
		"GET /xmpp_upload/check?jid=x&size=1":                  `{"granted":false,"error":` + string(name) + `,"message":` + string(name) + `}`,
		"GET /xmpp_upload/stats":                               `{"days":[{"day":` + string(name) + `,"uploads":1}]}`,
		"DELETE /xmpp_upload/uploads/x":                        `404 {"error":` + string(name) + `}`,
		"DELETE /xmpp_upload/users/x":                          `404 {"error":` + string(name) + `}`,
		"POST /xmpp_upload/verify":                             `{"missing":[` + string(name) + `],"orphaned":[` + string(name) + `]}`,
		"POST /xmpp_upload/verify?progress=true":               `{"missing":[` + string(name) + `],"orphaned":[` + string(name) + `]}`,
		"POST /xmpp_upload/cleanup?older_than=x&progress=true": `{"error":` + string(name) + `}`,
	})
	for _, line := range []string{
		"list", "show x", "users", "usage x", "verify", "check x 1", "delete -y x", "purge -y x", "stats", "cleanup --older-than x",
		"list --json", "show x --json", "usage x --json", "verify --json", "list --state x",
	} {
		s := newScreen(t, 200)
		run(nil, s.tty, s.tty, append(strings.Fields(line), "--address", a.address())...)
		text := s.close()
		if strings.HasPrefix(line, "cleanup") || line == "verify" {
			text = text[strings.LastIndex(text, "\r")+1:] // after the bar, which moves the cursor
		}
		if !strings.Contains(text, "pwned") {
			t.Errorf("%s: the name is not there at all: %q", line, text)
		}
		for _, r := range text {
			if r != '\n' && !unicode.IsPrint(r) {
				t.Errorf("%s: %U reaches the terminal: %q", line, r, text)
				break
			}
		}
	}
}

func TestJSONOnATerminalMeansTheSame(t *testing.T) {
	name, _ := json.Marshal(hostile)
	answer := `{"uploads":[{"name":` + string(name) + `}]}`
	a := serve(t, map[string]string{"GET /xmpp_upload/uploads": answer})
	s := newScreen(t, 80)
	run(nil, s.tty, nil, "list", "--json", "--address", a.address())
	var got struct{ Uploads []struct{ Name string } }
	if err := json.Unmarshal([]byte(s.close()), &got); err != nil || got.Uploads[0].Name != hostile {
		t.Errorf("read back %q, %v, want %q", got, err, hostile)
	}
	a.expect(t, result{answer + "\n", "", 0}, "list", "--json") // elsewhere it stays as it is
}

func TestProgress(t *testing.T) {
	a := serve(t, map[string]string{
		"POST /xmpp_upload/cleanup?progress=true": `{"done":1,"total":4}` + "\n" + `{"done":4,"total":4}` + "\n" +
			`{"slots":0,"files":4,"bytes":4,"discarded":0,"orphaned":0,"missing":0,"published":0}` + "\n",
		"POST /xmpp_upload/verify?progress=true":             `{"done":1,"total":4}` + "\n" + `{"error":"the disk is gone"}` + "\n",
		"POST /xmpp_upload/verify?progress=true&repair=true": `{"done":1,"total":4}` + "\n",
	})
	tests := []struct {
		args           string
		stdout, stderr string
		status         int
	}{
		{"cleanup", "Removed: 4 files, 4 B; 0 unused slots.\n", "", 0},
		{"verify", "", "Error: the disk is gone\n", 2},
		{"verify --repair", "", "Error: the answer of " + a.address() + " was cut short: unexpected EOF\n", 2},
	}
	for _, tt := range tests {
		t.Run(tt.args, func(t *testing.T) {
			s := newScreen(t, 80)
			got := run(nil, nil, s.tty, append(strings.Fields(tt.args), "--address", a.address())...)
			drawn := s.close()
			if got.status != tt.status || got.stdout != tt.stdout || !strings.HasSuffix(drawn, "\r"+tt.stderr) {
				t.Errorf("exit status %d, stdout %q, stderr %q, want %d, %q, and at its end %q", got.status, got.stdout, drawn, tt.status, tt.stdout, tt.stderr)
			}
			if !strings.Contains(drawn, "/4") {
				t.Errorf("no bar was drawn: %q", drawn)
			}
		})
	}
}

func TestWithoutATerminalNoProgressIsAskedFor(t *testing.T) {
	a := serve(t, map[string]string{"POST /xmpp_upload/cleanup": `{}`})
	a.expect(t, result{"Removed: 0 files, 0 B; 0 unused slots.\n", "", 0}, "cleanup")
	s := newScreen(t, 80)
	got := run(nil, nil, s.tty, "cleanup", "--json", "--address", a.address())
	if drawn := s.close(); got.stdout != "{}\n" || drawn != "" {
		t.Errorf("--json printed %q and drew %q, want the answer only", got.stdout, drawn)
	}
}

func TestRemovalsAskOnATerminal(t *testing.T) {
	const (
		upload = "/xmpp_upload/uploads/b"
		user   = "/xmpp_upload/users/alice@example.com"
		gone   = `{"slots":1,"files":2,"bytes":1536}`
	)
	answers := map[string]string{
		"GET " + upload:    `{"id":"b","jid":"alice@example.com","name":"a.png","size":1,"state":"uploaded","reserved_at":"2020-01-02T03:04:05Z"}`,
		"DELETE " + upload: gone,
		"GET " + user:      `{"jid":"alice@example.com","stored_files":2,"stored_bytes":1536,"waiting_slots":1,"waiting_bytes":7}`,
		"DELETE " + user:   gone,
	}
	const (
		askDelete = "ID  JID                NAME   SIZE  STATE     GRANTED       EXPIRES\n" +
			"b   alice@example.com  a.png   1 B  uploaded  Jan  2  2020  never\nRemove 1 upload? [y/N] "
		askPurge = "Remove all of alice@example.com (2 files, 1.5 KiB; waiting: 1 slot, 7 B)? [y/N] "
	)
	tests := []struct {
		args, typed, asks string
		removes           bool
	}{
		{"delete b", "y\n", askDelete, true},
		{"delete b", "\n", askDelete, false},
		{"delete b --yes", "", "", true},
		{"purge alice@example.com", "YES\n", askPurge, true},
		{"purge alice@example.com", "yesterday\n", askPurge, false},
		{"purge alice@example.com", "\x04", askPurge, false}, // the end of input
		{"purge alice@example.com -y", "", "", true},
	}
	for _, tt := range tests {
		t.Run(fmt.Sprintf("%s, answered %q", tt.args, tt.typed), func(t *testing.T) {
			a := serve(t, answers)
			s := newScreen(t, 80)
			if _, err := s.keyboard.WriteString(tt.typed); err != nil {
				t.Fatal(err)
			}
			got := run(s.tty, nil, s.tty, append(strings.Fields(tt.args), "--address", a.address())...)
			text := s.close()
			if !strings.Contains(text, tt.asks) {
				t.Errorf("showed %q, want %q", text, tt.asks)
			}
			removed := strings.HasPrefix(a.asked[len(a.asked)-1], "DELETE ")
			if removed != tt.removes {
				t.Errorf("asked the API %q, want removal %v", a.asked, tt.removes)
			}
			if tt.removes && (got.status != 0 || got.stdout != "Removed: 2 files, 1.5 KiB; 1 unused slot.\n") {
				t.Errorf("exit status %d, stdout %q", got.status, got.stdout)
			}
			if !tt.removes && (got.status != 1 || got.stdout != "" || !strings.HasSuffix(text, "Error: nothing was removed\n")) {
				t.Errorf("exit status %d, stdout %q, screen %q, want 1, and that nothing was removed", got.status, got.stdout, text)
			}
		})
	}
}

func TestDeleteAsksForWhatIsThereOnly(t *testing.T) {
	a := serve(t, map[string]string{
		"GET /xmpp_upload/uploads/x":    `404 {"error":"no such upload"}`,
		"DELETE /xmpp_upload/uploads/x": `404 {"error":"no such upload"}`,
	})
	s := newScreen(t, 80)
	got := run(s.tty, nil, s.tty, "delete", "x", "--address", a.address())
	if text := s.close(); got.status != 1 || text != "x: no such upload\n" {
		t.Errorf("exit status %d, screen %q, want 1 and no question", got.status, text)
	}
}
