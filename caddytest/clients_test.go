package caddytest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"testing"
)

// job is one upload of testdata/upload.py.
type job struct {
	Name string `json:"name"`
	Size int64  `json:"size"`
	Seed int    `json:"seed"`
	// Announce and Type are the content types of the request and of the PUT;
	// nil sends none.
	Announce *string `json:"announce"`
	Type     *string `json:"type"`
	// Expect sends "Expect: 100-continue".
	Expect bool `json:"expect"`
}

// user does jobs one after another.
type user struct {
	JID      string `json:"jid"`
	Password string `json:"password"`
	Jobs     []job  `json:"jobs"`
}

// result is what became of a job.
type result struct {
	// Condition is the XMPP server's refusal, such as "cancel not-allowed".
	// The other fields, but Seconds, are then empty.
	Condition string `json:"condition"`
	Put       string `json:"put"`
	Get       string `json:"get"`
	Status    int    `json:"status"`
	Body      string `json:"body"`
	SHA256    string `json:"sha256"`
	// Failure tells why the PUT had no answer.
	Failure string `json:"failure"`
	// Seconds is the time that the XMPP server took to answer.
	Seconds float64 `json:"seconds"`
}

// slixmpp lets users upload, all at the same time, and returns the results of
// each.
func (s *stack) slixmpp(t *testing.T, users ...user) [][]result {
	t.Helper()
	for i := range users {
		users[i].Password = password
	}
	task, err := json.Marshal(map[string]any{"server": []any{"127.0.0.1", s.ejabberd.C2S}, "users": users})
	if err != nil {
		t.Fatal(err)
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), python, "testdata/upload.py")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(task), &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("upload.py: %v\n%s", err, stderr.String())
	}
	var results [][]result
	if err := json.Unmarshal(stdout.Bytes(), &results); err != nil {
		t.Fatalf("upload.py: %v\n%s", err, stderr.String())
	}
	return results
}

// upload lets one user do jobs and returns their results.
func (s *stack) upload(t *testing.T, jid string, jobs ...job) []result {
	t.Helper()
	return s.slixmpp(t, user{JID: jid, Jobs: jobs})[0]
}

var slotInDebugOutput = regexp.MustCompile(`<get url=['"]([^'"]+)['"]`)

// sendxmpp lets one user upload a file with go-sendxmpp, and send its URL to
// another one. It returns that URL.
func (s *stack) sendxmpp(t *testing.T, from, to, name string, content []byte) string {
	t.Helper()
	dir := t.TempDir()
	file := filepath.Join(dir, name)
	if err := os.WriteFile(file, content, 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "go-sendxmpp", "--debug", "--no-tls-verify",
		"--username", from, "--password", password,
		"--jserver", fmt.Sprintf("127.0.0.1:%d", s.ejabberd.C2S),
		"--http-upload", file, to)
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	output, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("go-sendxmpp: %v\n%s", err, output)
	}
	url := slotInDebugOutput.FindSubmatch(output)
	if url == nil {
		t.Fatalf("go-sendxmpp tells of no slot:\n%s", output)
	}
	return string(url[1])
}
