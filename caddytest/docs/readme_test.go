// Package docs holds README.md and Caddyfile.example against the real thing:
// what they show is run here.
package docs

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/pem"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"

	xmppupload "github.com/caddy-xmpp/xmpp-upload"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// Every configuration that README shows is formatted and provisions.
func TestREADMEConfigurationsAreValid(t *testing.T) {
	adapters := map[string]string{"caddyfile": "caddyfile", "json": ""}
	for _, b := range readme(t) {
		adapter, ok := adapters[b.lang]
		if !ok {
			continue
		}
		t.Run(b.name(), func(t *testing.T) {
			if adapter == "caddyfile" && string(caddyfile.Format([]byte(b.text))) != b.text {
				t.Errorf("README.md:%d: the Caddyfile is not formatted", b.line)
			}
			validate(t, adapter, b.text)
		})
	}
}

func TestExampleIsValid(t *testing.T) {
	example := read(t, "Caddyfile.example")
	if string(caddyfile.Format([]byte(example))) != example {
		t.Error("Caddyfile.example is not formatted")
	}
	validate(t, "caddyfile", example)
}

// validate runs "caddy validate", which opens the stores too.
func validate(t *testing.T, adapter, config string) {
	t.Helper()
	c := rig.New(t)
	file := filepath.Join(c.Dir, "config")
	writeFile(t, filepath.Join(c.Dir, "operators.pem"), authority(t))
	config = replace(config, "/var/lib/caddy", c.Dir, "/etc/caddy", c.Dir)
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := c.Command("validate", "--config", file, "--adapter", adapter).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "Valid configuration") {
		t.Errorf("caddy validate: %v\n%s", err, out)
	}
}

// authority returns the certificate of an authority of its own.
func authority(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), NotAfter: time.Now().Add(time.Hour), IsCA: true}
	cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert}))
}

// Each JSON key of the handler is in README's JSON, or a word of its reference.
func TestREADMENamesEveryOption(t *testing.T) {
	text := read(t, "README.md")
	for field := range reflect.TypeFor[xmppupload.Handler]().Fields() {
		key, _, _ := strings.Cut(field.Tag.Get("json"), ",")
		if key != "" && !strings.Contains(text, `"`+key+`":`) && !strings.Contains(text, "| `"+key) {
			t.Errorf("README does not have %q", key)
		}
	}
}

// What README tells to type while the example runs gives back the file.
func TestREADMETryIt(t *testing.T) {
	rig.Program(t, "curl", "curl")
	c := rig.New(t)
	c.Start(replace(read(t, "Caddyfile.example"), "127.0.0.1:8080", c.Addr))

	script := first(t, "Try it", "sh")
	sh := exec.CommandContext(t.Context(), "sh", "-ec", replace(script, "127.0.0.1:8080", c.Addr))
	sh.Dir = c.Dir
	var stderr strings.Builder
	sh.Stderr = &stderr
	out, err := sh.Output()
	if err != nil || string(out) != "hello\n" {
		t.Errorf("got %q, %v, want %q\n%s", out, err, "hello\n", stderr.String())
	}
	if _, err := os.Stat(filepath.Join(c.Dir, "upload-data", "files")); err != nil {
		t.Errorf("the files are not below upload-data: %v", err)
	}
}
