package caddytest

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"text/template"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// password is that of every user.
const password = "correct horse"

// ejabberd is a private instance of Debian's ejabberd. It takes no part in
// Erlang's distribution, so it needs no node name, no cookie and no epmd.
type ejabberd struct {
	// Cert, C2S, API, Slots and Guarded fill testdata/ejabberd.yml.
	Cert           string
	C2S, API       int
	Slots, Guarded string

	t   *testing.T
	dir string
}

// startEjabberd starts an ejabberd that asks the slot API at slots, and for
// users of guarded.localhost the one at guarded. It ends with the test.
func startEjabberd(t *testing.T, slots, guarded string) *ejabberd {
	t.Helper()
	dir := t.TempDir()
	e := &ejabberd{
		Cert: filepath.Join(dir, "cert.pem"),
		C2S:  rig.FreePort(t), API: rig.FreePort(t),
		Slots: slots, Guarded: guarded,
		t: t, dir: dir,
	}
	e.writeCertificate()
	e.writeConfig()
	e.run()
	rig.Await(t, "ejabberd to start", func() bool { return e.call("status", nil) == nil })
	return e
}

func (e *ejabberd) writeConfig() {
	e.t.Helper()
	config, err := template.ParseFiles("testdata/ejabberd.yml")
	if err != nil {
		e.t.Fatal(err)
	}
	var b bytes.Buffer
	if err := config.Execute(&b, e); err != nil {
		e.t.Fatal(err)
	}
	e.write("ejabberd.yml", b.Bytes())
	e.write("inetrc", nil)
}

// writeCertificate makes a certificate, since go-sendxmpp insists on TLS.
func (e *ejabberd) writeCertificate() {
	e.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		e.t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1),
		DNSNames:     []string{"localhost", "*.localhost"},
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     time.Now().Add(24 * time.Hour),
	}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		e.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		e.t.Fatal(err)
	}
	e.write("cert.pem", append(
		pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}),
		pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert})...))
}

func (e *ejabberd) write(name string, content []byte) {
	e.t.Helper()
	if err := os.WriteFile(filepath.Join(e.dir, name), content, 0o600); err != nil {
		e.t.Fatal(err)
	}
}

// run starts the Erlang machine as ejabberdctl does, but as the user who runs
// the tests. It halts when its standard input ends: with the tests, whatever
// becomes of them.
func (e *ejabberd) run() {
	e.t.Helper()
	cmd := exec.Command("erl", "+K", "true", "-noshell",
		"-mnesia", "dir", `"spool"`,
		"-eval", `spawn(fun() -> io:get_line(""), halt(0) end)`,
		"-s", "ejabberd")
	cmd.Dir = e.dir
	cmd.Env = append(os.Environ(),
		"HOME="+e.dir,
		"ERL_LIBS="+ejabberdLibraries(),
		"ERL_INETRC="+filepath.Join(e.dir, "inetrc"),
		"ERL_CRASH_DUMP_BYTES=0",
		"EJABBERD_CONFIG_PATH="+filepath.Join(e.dir, "ejabberd.yml"),
		"EJABBERD_LOG_PATH="+e.logFile(),
	)
	lifeline, err := cmd.StdinPipe()
	if err != nil {
		e.t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		e.t.Fatal(err)
	}
	e.t.Cleanup(func() {
		lifeline.Close()
		timer := time.AfterFunc(rig.Patience, func() { _ = cmd.Process.Kill() })
		defer timer.Stop()
		if err := cmd.Wait(); err != nil {
			e.t.Errorf("ejabberd did not end well: %v", err)
		}
		e.showLog()
	})
}

func (e *ejabberd) logFile() string { return filepath.Join(e.dir, "ejabberd.log") }

func (e *ejabberd) showLog() {
	if !e.t.Failed() {
		return
	}
	log, _ := os.ReadFile(e.logFile())
	lines := strings.SplitAfter(string(log), "\n")
	e.t.Logf("end of ejabberd's log:\n%s", strings.Join(lines[max(0, len(lines)-60):], ""))
}

// register makes users, given as bare JIDs.
func (e *ejabberd) register(jids ...string) {
	e.t.Helper()
	for _, jid := range jids {
		user, host, _ := strings.Cut(jid, "@")
		err := e.call("register", map[string]string{"user": user, "host": host, "password": password})
		if err != nil {
			e.t.Fatal(err)
		}
	}
}

// call calls a command of ejabberd's HTTP API.
func (e *ejabberd) call(command string, arguments map[string]string) error {
	body, err := json.Marshal(arguments)
	if err != nil {
		return err
	}
	if arguments == nil {
		body = []byte("{}")
	}
	resp, err := http.Post(fmt.Sprintf("http://127.0.0.1:%d/api/%s", e.API, command),
		"application/json", bytes.NewReader(body))
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("ejabberd's %s: %s: %s", command, resp.Status, answer)
	}
	return nil
}
