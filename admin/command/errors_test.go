package command_test

import (
	"net"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"
)

func TestWrongUse(t *testing.T) {
	tests := []struct {
		args []string
		want string
	}{
		{[]string{"lst"}, `there is no command "lst"; did you mean list`},
		{[]string{"list", "x"}, `"x" is too much; see caddy xmpp-upload list --help`},
		{[]string{"list", "--stat", "x"}, "unknown flag: --stat"},
		{[]string{"list", "--limit", "x"}, `invalid argument "x" for "--limit" flag`},
		{[]string{"list", "--all", "--limit", "3"}, "--all and --limit exclude each other"},
		{[]string{"list", "--from", "yesterday"}, `--from: "yesterday" is neither an age such as 7d nor a date`},
		{[]string{"list", "--to", "-7d"}, `--to: "-7d" is neither`},
		{[]string{"show"}, "ID is missing; see caddy xmpp-upload show --help"},
		{[]string{"check", "a@b"}, "SIZE is missing"},
		{[]string{"purge", ""}, "JID is missing"},
		{[]string{"check", "a@b", "big"}, `"big" is no size; use a number of bytes or a size such as 10MiB`},
		{[]string{"stats", "--config", "/no/such/file"}, "/no/such/file"},
		{[]string{"stats", "--address", "127.0.0.1:1-9"}, "invalid admin address 127.0.0.1:1-9"},
		{[]string{"restore", "/no/such/file"}, "open /no/such/file: no such file or directory"},
	}
	for _, tt := range tests {
		t.Run(strings.Join(tt.args, " "), func(t *testing.T) {
			got := run(nil, nil, nil, tt.args...)
			if got.status != 2 || got.stdout != "" || !strings.HasPrefix(got.stderr, "Error: ") || !strings.Contains(got.stderr, tt.want) {
				t.Errorf("exit status %d, stdout %q, stderr %q, want 2, nothing and %q", got.status, got.stdout, got.stderr, tt.want)
			}
			if strings.Count(got.stderr, "\n") != 1 {
				t.Errorf("stderr is %q, want one line", got.stderr)
			}
		})
	}
}

func TestWithoutSubcommandHelpIsShown(t *testing.T) {
	got := run(nil, nil, nil)
	if got.status != 0 || !strings.Contains(got.stdout, "Available Commands:") {
		t.Errorf("exit status %d, stdout %q, want 0 and help", got.status, got.stdout)
	}
}

func TestErrorsOfTheServer(t *testing.T) {
	answer := func(status int, body string) string {
		s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
			w.WriteHeader(status)
			_, _ = w.Write([]byte(body))
		}))
		t.Cleanup(s.Close)
		return strings.TrimPrefix(s.URL, "http://")
	}
	stranger := " is not the admin endpoint of a Caddy with the module xmpp_upload ("
	unused := freeAddress(t)
	socket := "unix/" + filepath.Join(t.TempDir(), "admin.sock")
	tests := []struct{ name, address, want string }{
		{
			"no server", unused, "no Caddy answers at " + unused + " (connection refused); is it running, and its admin endpoint not off? " +
				"Say where it is with --address, or name its configuration with --config",
		},
		{"no socket", socket, "no Caddy answers at " + socket + " (no such file or directory); is it running"},
		{"an error of the API", answer(400, `{"error":"jid is not valid"}`), "jid is not valid"},
		{"an error with hostile text", answer(400, `{"error":"\u001b[2J\u202eevil"}`), `\x1b[2J\u202eevil`},
		{"nothing in use", answer(404, `{"error":"no xmpp_upload handler is in use"}`), "no xmpp_upload handler is in use"},
		{"Caddy without the module", answer(404, "404 page not found\n"), stranger + "HTTP 404)"},
		{"another server", answer(200, "<html>"), stranger + "its answer is not the JSON expected)"},
		{"another API", answer(403, `{"message":"no"}`), stranger + "HTTP 403)"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			for _, args := range [][]string{{"stats"}, {"check", "a@b", "1"}, {"usage", "a@b"}, {"stats", "--json"}} {
				got := run(nil, nil, nil, append(args, "--address", tt.address)...)
				if got.status != 2 || got.stdout != "" || !strings.HasPrefix(got.stderr, "Error: ") ||
					!strings.Contains(got.stderr, tt.want) || strings.Count(got.stderr, "\n") != 1 {
					t.Errorf("%q: exit status %d, stdout %q, stderr %q, want 2, nothing and %q", args, got.status, got.stdout, got.stderr, tt.want)
				}
			}
		})
	}
}

func freeAddress(t *testing.T) string {
	l, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestAnswerThatIsCutShort(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_, _ = w.Write([]byte(`{"stored_files":1`))
		_ = http.NewResponseController(w).Flush()
		panic(http.ErrAbortHandler)
	}))
	t.Cleanup(s.Close)
	address := strings.TrimPrefix(s.URL, "http://")
	dir := t.TempDir()
	for _, args := range [][]string{{"stats"}, {"list", "--json"}, {"backup", filepath.Join(dir, "copy")}, {"backup", "-"}} {
		got := run(nil, nil, nil, append(args, "--address", address)...)
		if got.status != 2 || !strings.Contains(got.stderr, "the answer of "+address+" was cut short") {
			t.Errorf("%q: exit status %d, stderr %q, want 2 and that it was cut short", args, got.status, got.stderr)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("a backup that failed leaves %q", left)
	}
	if left, _ := filepath.Glob(filepath.Join(dir, ".*")); len(left) > 0 {
		t.Errorf("a backup that failed leaves %q", left)
	}
}

func TestAdminEndpointOnASocket(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "admin.sock")
	l, err := net.Listen("unix", socket)
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		_, _ = w.Write([]byte(r.RequestURI))
	}))
	s.Listener = l
	s.Start()
	t.Cleanup(s.Close)
	for _, address := range []string{"unix/" + socket, "unix/" + socket + "|0200"} {
		got := run(nil, nil, nil, "backup", "-", "--address", address)
		if want := (result{"/xmpp_upload/backup", "", 0}); got != want {
			t.Errorf("%s: got %v, want %v", address, got, want)
		}
	}
}

func TestBackupToWhatIsNoFile(t *testing.T) {
	a := serve(t, map[string]string{"GET /xmpp_upload/backup": "copy"})
	dir := t.TempDir()
	for _, name := range []string{"/dev/null", dir} {
		a.expect(t, result{"", "Error: " + name + " is not a file; name one, or - for standard output\n", 2}, "backup", name)
	}
	s := newScreen(t, 80)
	got := run(nil, s.tty, nil, "backup", "-", "--address", a.address())
	if text := s.close(); got.status != 2 || text != "" {
		t.Errorf("backup to a terminal: exit status %d, screen %q, want 2 and nothing", got.status, text)
	}
}
