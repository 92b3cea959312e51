// Package adapt_test holds what Caddyfiles with xmpp_upload become: each
// *.caddyfiletest is a Caddyfile, a line of ten hyphens, and the JSON or the
// error that adapting it must give.
package adapt_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2/caddyconfig"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-xmpp/xmpp-upload"
)

func TestCaddyfilesAdapt(t *testing.T) {
	files, err := filepath.Glob("*.caddyfiletest")
	if err != nil || len(files) == 0 {
		t.Fatalf("no golden files: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(file, ".caddyfiletest"), func(t *testing.T) {
			golden, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			input, want, found := strings.Cut(string(golden), "----------\n")
			if !found {
				t.Fatal("there is no line of ten hyphens")
			}
			if got := adapt(t, input); got != want {
				t.Errorf("got:\n%s\nwant:\n%s", got, want)
			}
		})
	}
}

// adapt returns the JSON of a Caddyfile, or the error, and a final newline.
func adapt(t *testing.T, input string) string {
	t.Helper()
	result, warnings, err := caddyconfig.GetAdapter("caddyfile").Adapt([]byte(input), nil)
	for _, w := range warnings {
		t.Errorf("warning in line %d: %s", w.Line, w.Message)
	}
	if err != nil {
		return err.Error() + "\n"
	}
	var indented bytes.Buffer
	if err := json.Indent(&indented, result, "", "\t"); err != nil {
		t.Fatal(err)
	}
	return indented.String() + "\n"
}
