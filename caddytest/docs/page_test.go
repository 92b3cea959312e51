package docs

import (
	"fmt"
	"net/http"
	"regexp"
	"testing"

	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const (
	uploads  = "http://%s {\n\txmpp_upload {\n\t\tslots badger %[2]s/slots\n\t\tfiles disk %[2]s/files\n\t}\n}\n"
	password = "correct horse"
)

// pageBlock returns the nth Caddyfile of README's section about the page.
func pageBlock(t *testing.T, n int) string {
	t.Helper()
	for _, b := range readme(t) {
		if b.heading == "The page" && b.lang == "caddyfile" {
			if n == 0 {
				return b.text
			}
			n--
		}
	}
	t.Fatal("README shows less of the page")
	return ""
}

// visit asks for the page, with a password if it is not empty.
func visit(t *testing.T, url, password string) int {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	if password != "" {
		req.SetBasicAuth("admin", password)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

func TestREADMEPageOnThisMachine(t *testing.T) {
	c := rig.New(t)
	address := rig.Loopback(rig.FreePort(t))
	c.Start(replace(pageBlock(t, 0), ":8081", address) + fmt.Sprintf(uploads, c.Addr, c.Dir))
	defer c.Stop()
	if got := visit(t, "http://"+address+"/", ""); got != http.StatusOK {
		t.Errorf("from this machine: %d", got)
	}
}

// The login of the guarded page works, and without the login the page is
// closed.
func TestREADMEPageBehindALogin(t *testing.T) {
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	c := rig.New(t)
	address := rig.Loopback(rig.FreePort(t))
	site := replace(pageBlock(t, 1), "operator.example.com", "http://"+address)
	site = regexp.MustCompile(`\$2a\$\S+`).ReplaceAllLiteralString(site, string(hash))
	c.Start(site + fmt.Sprintf(uploads, c.Addr, c.Dir))
	defer c.Stop()
	for password, want := range map[string]int{"": http.StatusUnauthorized, "wrong": http.StatusUnauthorized, password: http.StatusOK} {
		if got := visit(t, "http://"+address+"/", password); got != want {
			t.Errorf("with the password %q: %d, want %d", password, got, want)
		}
	}

	open := regexp.MustCompile(`(?s)\tbasic_auth \{.*?\n\t\}\n`).ReplaceAllString(site, "")
	if open == site {
		t.Fatal("no basic_auth in README's block")
	}
	if err := c.Reload(open + fmt.Sprintf(uploads, c.Addr, c.Dir)); err != nil {
		t.Fatal(err)
	}
	if got := visit(t, "http://"+address+"/", password); got != http.StatusForbidden {
		t.Errorf("without basic_auth on the site: %d, want %d", got, http.StatusForbidden)
	}
}
