package command_test

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/spf13/cobra"

	"github.com/caddy-xmpp/xmpp-upload/admin/command"
)

func TestMain(m *testing.M) {
	time.Local = time.UTC
	os.Exit(m.Run())
}

// api answers as the admin API would, each request by its method and URI, and
// remembers what was asked.
type api struct {
	*httptest.Server
	mu    sync.Mutex
	asked []string
}

// serve starts an api. An answer that begins with a status, such as "404 {…}",
// is given with it.
func serve(t *testing.T, answers map[string]string) *api {
	a := new(api)
	a.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked := r.Method + " " + r.URL.RequestURI()
		a.mu.Lock()
		a.asked = append(a.asked, asked)
		a.mu.Unlock()
		answer, ok := answers[asked]
		if !ok {
			http.Error(w, "unexpected: "+asked, http.StatusTeapot)
			return
		}
		if body, refused := strings.CutPrefix(answer, "404 "); refused {
			w.WriteHeader(http.StatusNotFound)
			answer = body
		}
		_, _ = io.WriteString(w, answer)
	}))
	t.Cleanup(a.Close)
	return a
}

func (a *api) address() string { return strings.TrimPrefix(a.URL, "http://") }

// result is what a run of the command was.
type result struct {
	stdout, stderr string
	status         int
}

// run runs "caddy xmpp-upload args…". Files in place of the standard streams
// may be terminals; nil are none.
func run(stdin, stdout, stderr *os.File, args ...string) result {
	cmd := &cobra.Command{Use: "xmpp-upload"}
	command.Command().CobraFunc(cmd)
	root := &cobra.Command{Use: "caddy", SilenceUsage: true}
	root.AddCommand(cmd)
	root.SetArgs(append([]string{"xmpp-upload"}, args...))

	var out, errs bytes.Buffer
	root.SetIn(strings.NewReader(""))
	root.SetOut(&out)
	root.SetErr(&errs)
	if stdin != nil {
		root.SetIn(stdin)
	}
	if stdout != nil {
		root.SetOut(stdout)
	}
	if stderr != nil {
		root.SetErr(stderr)
	}
	err := root.Execute()
	return result{out.String(), errs.String(), status(err)}
}

// status is the exit status that Caddy makes of an error.
func status(err error) int {
	switch {
	case err == nil:
		return 0
	case err.Error() == "exiting with status 2":
		return 2
	}
	return 1
}

// expect runs a command that needs no terminal.
func (a *api) expect(t *testing.T, want result, args ...string) {
	t.Helper()
	got := run(nil, nil, nil, append(args, "--address", a.address())...)
	if got != want {
		t.Errorf("caddy xmpp-upload %s\ngot  %d\n%s%s\nwant %d\n%s%s", strings.Join(args, " "),
			got.status, got.stdout, got.stderr, want.status, want.stdout, want.stderr)
	}
}

func TestTables(t *testing.T) {
	tests := []struct {
		name, asks, answer string
		args               []string
		want               string
	}{
		{
			"list", "GET /xmpp_upload/uploads",
			`{"uploads":[
				{"id":"b","jid":"alice@example.com","name":"a long name with 100% of its letters.tar.gz","size":1572864,"state":"uploaded",
				 "reserved_at":"2020-01-02T03:04:05Z","uploaded_at":"2020-01-02T03:04:06Z","expires_at":"2020-02-01T03:04:06Z"},
				{"id":"a","jid":"bob@example.com","name":"日本.txt","size":7,"state":"waiting","reserved_at":"2020-01-02T03:04:00Z","expires_at":null}]}`,
			[]string{"list"},
			`ID  JID                NAME                                            SIZE  STATE     GRANTED       EXPIRES
b   alice@example.com  a long name with 100% of its letters.tar.gz  1.5 MiB  uploaded  Jan  2  2020  Feb  1  2020
a   bob@example.com    日本.txt                                         7 B  waiting   Jan  2  2020  never
`,
		},
		{
			"an empty list", "GET /xmpp_upload/uploads?jid=x%40y&limit=7&q=Z&state=expired&store=%2Fs",
			`{"uploads":[]}`,
			[]string{"list", "--jid", "x@y", "--limit", "7", "-q", "Z", "--state", "expired", "--store", "/s"},
			"ID  JID  NAME  SIZE  STATE  GRANTED  EXPIRES\n",
		},
		{
			"show", "GET /xmpp_upload/uploads/b",
			`{"id":"b","jid":"alice@example.com","name":"a.png","size":1572864,"content_type":"image/png","state":"waiting","in_flight":true,
			  "reserved_at":"2020-01-02T03:04:05Z","uploaded_at":null,"expires_at":"2020-02-01T03:04:06Z","store":"/slots"}`,
			[]string{"show", "b"},
			`ID              b
JID             alice@example.com
Name            a.png
Size            1.5 MiB (1572864 bytes)
Type            image/png
State           waiting, being received
Slot granted    2020-01-02 03:04:05 UTC
Uploaded        not yet
Expires         2020-02-01 03:04:06 UTC
Store           /slots
`,
		},
		{
			"users", "GET /xmpp_upload/users?after=c&limit=2",
			`{"users":[{"jid":"alice@example.com","stored_files":1234,"stored_bytes":1048576},{"jid":"b@c","stored_files":1,"stored_bytes":0}]}`,
			[]string{"users", "--after", "c", "--limit", "2"},
			`JID                FILES   STORED
alice@example.com  1,234  1.0 MiB
b@c                    1      0 B
`,
		},
		{
			"usage", "GET /xmpp_upload/users/alice@example.com",
			`{"jid":"alice@example.com","rule":{"index":2,"pattern":"example.com","deny":false},"max_file_size":524288,"max_total_size":10485760,
			  "stored_files":2,"stored_bytes":1048576,"waiting_slots":1,"waiting_bytes":1048576,
			  "bytes":[{"limit":1048576,"per":"1h","used":1048576,"room_in":3599}],"uploads":[{"limit":3,"per":"1d","used":1,"room_in":0}]}`,
			[]string{"usage", "alice@example.com"},
			`JID             alice@example.com
Rule            2, allow example.com
Size of a file  512 KiB
Stored          2 files, 1.0 MiB
Waiting         1 slot, 1.0 MiB
In all          2.0 MiB of 10 MiB

LIMIT       USED       OF  PER        ROOM
bytes    1.0 MiB  1.0 MiB   1h  in 59m 59s
uploads        1        3   1d         now
`,
		},
		{
			"usage of one whom no rule matches, in two stores", "GET /xmpp_upload/users/x@y",
			`{"jid":"x@y","rule":null,"max_file_size":0,"max_total_size":0,"stored_files":1,"stored_bytes":5,"bytes":[],"uploads":[],
			  "stores":[{"store":"/one","jid":"x@y","rule":{"index":0,"pattern":"*","deny":true},"stored_files":1,"stored_bytes":5},
			            {"store":"/two","jid":"x@y","rule":null}]}`,
			[]string{"usage", "x@y"},
			`JID             x@y
Rule            none, so may not upload
Size of a file  no limit
Stored          1 file, 5 B
Waiting         0 slots, 0 B
In all          no limit

Store           /one
JID             x@y
Rule            0, deny *
Size of a file  no limit
Stored          1 file, 5 B
Waiting         0 slots, 0 B
In all          no limit

Store           /two
JID             x@y
Rule            none, so may not upload
Size of a file  no limit
Stored          0 files, 0 B
Waiting         0 slots, 0 B
In all          no limit
`,
		},
		{
			"stats", "GET /xmpp_upload/stats",
			`{"stored_files":1234567,"stored_bytes":1073741824,"waiting_slots":2,"waiting_bytes":10,"expired_files":1,
			  "free_bytes":{"slots":1099511627776,"files":null},
			  "days":[{"day":"2026-01-01","uploads":0,"bytes":0},{"day":"2026-01-02","uploads":5,"bytes":2048}]}`,
			[]string{"stats"},
			`Stored          1,234,567 files, 1.0 GiB
Expired         1 file of these
Waiting         2 slots, 10 B
Free for slots  1.0 TiB
Free for files  no bound

DAY         UPLOADS     SIZE
2026-01-02        5  2.0 KiB
`,
		},
		{
			"delete", "DELETE /xmpp_upload/uploads/b", `{"slots":0,"files":1,"bytes":1536}`,
			[]string{"delete", "b"},
			"Removed: 1 file, 1.5 KiB; 0 unused slots.\n",
		},
		{
			"purge", "DELETE /xmpp_upload/users/j%C3%BCrgen@example.com", `{"slots":1,"files":2,"bytes":1536}`,
			[]string{"purge", "jürgen@example.com"},
			"Removed: 2 files, 1.5 KiB; 1 unused slot.\n",
		},
		{
			"cleanup", "POST /xmpp_upload/cleanup?files=false&older_than=30d&slots=false",
			`{"slots":1,"files":2,"bytes":1536,"discarded":1,"orphaned":2,"missing":0,"published":0}`,
			[]string{"cleanup", "--older-than", "30d", "--no-slots", "--no-files"},
			"Removed: 2 files, 1.5 KiB; 1 unused slot.\n1 unfinished upload was discarded.\n2 files without a slot were removed.\n",
		},
		{
			"verify finds nothing", "POST /xmpp_upload/verify",
			`{"slots":1,"files":2,"missing":[],"orphaned":[],"wrong_size":[],"repaired":0}`,
			[]string{"verify"},
			"Compared 1 upload with 2 files.\nAll is well.\n",
		},
		{
			"verify repairs", "POST /xmpp_upload/verify?repair=true",
			`{"slots":3,"files":2,"missing":["a"],"orphaned":["0/b"],"wrong_size":["c"],"repaired":3}`,
			[]string{"verify", "--repair"},
			"Compared 3 uploads with 2 files.\nUploads without a file:\n  a\nFiles without an upload:\n  0/b\n" +
				"Uploads with a file of another size:\n  c\n3 faults found, 3 mended.\n",
		},
		{
			"check", "GET /xmpp_upload/check?jid=a%40b&size=10485760",
			`{"granted":true,"rule":{"index":1,"pattern":"*","deny":false}}`,
			[]string{"check", "a@b", "10MiB"},
			"Granted         yes\nRule            1, allow *\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := serve(t, map[string]string{tt.asks: tt.answer})
			a.expect(t, result{tt.want, "", 0}, tt.args...)
			a.expect(t, result{tt.answer + "\n", "", 0}, append(tt.args, "--json")...)
		})
	}
}

func TestNo(t *testing.T) {
	tests := []struct {
		name, asks, answer string
		args               []string
		stdout, stderr     string
	}{
		{
			"refused", "GET /xmpp_upload/check?jid=a%40b&size=5", `{"granted":false,"rule":{"index":0,"pattern":"a@b","deny":false},` +
				`"error":"rate_quota","message":"too much","limit":1048576,"used":1048570,"retry_after":90061}`,
			[]string{"check", "a@b", "5"},
			"Granted         no\nRule            0, allow a@b\nRefused         rate_quota: too much\nLimit           1,048,576\n" +
				"Used            1,048,570\nGranted in      1d 1h\n", "",
		},
		{
			"refused without a rule", "GET /xmpp_upload/check?jid=a%40b&size=5",
			`{"granted":false,"rule":null,"error":"not_allowed","message":"no"}`,
			[]string{"check", "a@b", "5"},
			"Granted         no\nRule            none, so may not upload\nRefused         not_allowed: no\n", "",
		},
		{
			"damage", "POST /xmpp_upload/verify", `{"slots":2,"files":1,"missing":["a"],"orphaned":[],"wrong_size":[],"repaired":0}`,
			[]string{"verify"},
			"Compared 2 uploads with 1 file.\nUploads without a file:\n  a\n1 fault found, 0 mended.\n", "",
		},
		{
			"show of an unknown ID", "GET /xmpp_upload/uploads/x%2Fy", `404 {"error":"no such upload"}`,
			[]string{"show", "x/y"},
			"", "Error: no such upload\n",
		},
		{
			"delete of an unknown ID", "DELETE /xmpp_upload/uploads/x", `404 {"error":"no such upload"}`,
			[]string{"delete", "x"},
			"Removed: 0 files, 0 B; 0 unused slots.\n", "x: no such upload\n",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			a := serve(t, map[string]string{tt.asks: tt.answer})
			a.expect(t, result{tt.stdout, tt.stderr, 1}, tt.args...)
		})
	}
}

func TestDeleteGoesOnAfterAnUnknownID(t *testing.T) {
	a := serve(t, map[string]string{
		"DELETE /xmpp_upload/uploads/a": `{"slots":0,"files":1,"bytes":1}`,
		"DELETE /xmpp_upload/uploads/x": `404 {"error":"no such upload"}`,
		"DELETE /xmpp_upload/uploads/b": `{"slots":1,"files":0,"bytes":0}`,
	})
	a.expect(t, result{"Removed: 1 file, 1 B; 1 unused slot.\n", "x: no such upload\n", 1}, "delete", "a", "x", "b")
	a.expect(t, result{
		`{"slots":0,"files":1,"bytes":1}` + "\n" + `{"slots":1,"files":0,"bytes":0}` + "\n", "x: no such upload\n", 1,
	}, "delete", "--json", "a", "x", "b")
}

func TestListFollowsCursors(t *testing.T) {
	const (
		first  = `{"uploads":[{"id":"b"}],"next":"b"}`
		second = `{"uploads":[{"id":"a"}]}`
	)
	a := serve(t, map[string]string{
		"GET /xmpp_upload/uploads?limit=1":            first,
		"GET /xmpp_upload/uploads?limit=1000":         first,
		"GET /xmpp_upload/uploads?after=b&limit=1000": second,
	})
	a.expect(t, result{first + "\n" + second + "\n", "", 0}, "list", "--all", "--json")
	a.expect(t, result{first + "\n", "", 0}, "list", "--limit", "1", "--json")

	got := run(nil, nil, nil, "list", "--limit", "1", "--address", a.address())
	if want := "There are more; add --after b\n"; got.stderr != want {
		t.Errorf("stderr is %q, want %q", got.stderr, want)
	}
	got = run(nil, nil, nil, "list", "--all", "--address", a.address())
	if strings.Count(got.stdout, "\n") != 3 || got.stderr != "" {
		t.Errorf("list --all printed %q and %q, want a title and two rows", got.stdout, got.stderr)
	}
}

func TestTimesOfList(t *testing.T) {
	tests := []struct{ flag, want string }{
		{"2026-01-31", "2026-01-31T00:00:00Z"},
		{"2026-01-31T18:00:00+02:00", "2026-01-31T16:00:00Z"},
		{"2026-01-31T18:00:00.5Z", "2026-01-31T18:00:00.5Z"},
	}
	for _, tt := range tests {
		t.Run(tt.flag, func(t *testing.T) {
			a := serve(t, nil)
			run(nil, nil, nil, "list", "--from", tt.flag, "--to", tt.flag, "--address", a.address())
			want := strings.ReplaceAll("GET /xmpp_upload/uploads?from="+tt.want+"&to="+tt.want, ":", "%3A")
			if len(a.asked) != 1 || a.asked[0] != want {
				t.Errorf("asked %q, want %q", a.asked, want)
			}
		})
	}
	t.Run("an age", func(t *testing.T) {
		a := serve(t, nil)
		before := time.Now()
		run(nil, nil, nil, "list", "--from", "7d", "--address", a.address())
		after := time.Now()
		_, query, _ := strings.Cut(a.asked[0], "?")
		values, _ := url.ParseQuery(query)
		from, err := time.Parse(time.RFC3339, values.Get("from"))
		week := 7 * 24 * time.Hour
		if err != nil || from.Before(before.Add(-week)) || from.After(after.Add(-week)) {
			t.Errorf("asked %q, want from a week ago", a.asked)
		}
	})
}
