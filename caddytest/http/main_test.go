// Package http_test drives a whole Caddy by HTTP, as XMPP servers, clients and
// browsers do, and as those do who mean no good. What needs nginx skips without
// it, unless XMPP_UPLOAD_E2E=required is set: then it fails.
package http_test

import (
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// fill replaces what a Caddyfile of these tests can't know: ADDR, PORT, DIR, and
// STORES, which are one pair for all handlers that name them.
func fill(c *rig.Caddy, config string) string {
	_, port, _ := strings.Cut(c.Addr, ":")
	config = strings.ReplaceAll(config, "STORES", "slots badger DIR/slots\n files disk DIR/files")
	return strings.NewReplacer("ADDR", c.Addr, "PORT", port, "DIR", c.Dir).Replace(config)
}

// serve starts a Caddy with the sites.
func serve(t *testing.T, sites string) *rig.Caddy {
	t.Helper()
	c := rig.New(t)
	c.Start(fill(c, sites))
	return c
}

// answer is a whole answer.
type answer struct {
	status int
	header http.Header
	body   string
	proto  string
	length int64 // Content-Length, -1 without one
}

// plain speaks HTTP/1.1 and takes answers as they are.
var plain = &http.Client{
	Transport:     &http.Transport{DisableCompression: true},
	CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
}

// send sends a request with a body and pairs of header fields.
func send(t *testing.T, method, target, body string, header ...string) answer {
	t.Helper()
	return sendBy(t, plain, method, target, strings.NewReader(body), header...)
}

func sendBy(t *testing.T, client *http.Client, method, target string, body io.Reader, header ...string) answer {
	t.Helper()
	a, err := trySend(t, client, method, target, body, header...)
	if err != nil {
		t.Fatalf("%s %s: %v", method, target, err)
	}
	return a
}

func trySend(t *testing.T, client *http.Client, method, target string, body io.Reader, header ...string) (answer, error) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, body)
	if err != nil {
		return answer{}, err
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Add(header[i], header[i+1])
	}
	if host := req.Header.Get("Host"); host != "" {
		req.Host = host
	}
	resp, err := client.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	return answer{resp.StatusCode, resp.Header, string(b), resp.Proto, resp.ContentLength}, err
}

// query returns the query of pairs, in their order.
func query(pairs ...string) string {
	var b strings.Builder
	for i := 0; i < len(pairs); i += 2 {
		b.WriteString("&" + url.QueryEscape(pairs[i]) + "=" + url.QueryEscape(pairs[i+1]))
	}
	return strings.Replace(b.String(), "&", "?", 1)
}

// slot takes a slot of me@example.com at base and returns its URL. Pairs are
// more parameters.
func slot(t *testing.T, base, name string, size int, pairs ...string) string {
	t.Helper()
	pairs = append([]string{"jid", "me@example.com", "name", name, "size", strconv.Itoa(size)}, pairs...)
	a := send(t, http.MethodGet, base+"/slot/"+query(pairs...), "")
	put, _, two := strings.Cut(a.body, "\n")
	if a.status != http.StatusOK || !two {
		t.Fatalf("slot for %q: %d %q", name, a.status, a.body)
	}
	return put
}

// uploaded uploads a file and returns its URL.
func uploaded(t *testing.T, base, name, contentType, body string) string {
	t.Helper()
	target := slot(t, base, name, len(body), "content_type", contentType)
	expectStatus(t, send(t, http.MethodPut, target, body, "Content-Type", contentType), http.StatusCreated)
	return target
}

func expectStatus(t *testing.T, a answer, want int) {
	t.Helper()
	if a.status != want {
		t.Errorf("answered %d %q, want %d", a.status, a.body, want)
	}
}

func expectHeader(t *testing.T, a answer, key, want string) {
	t.Helper()
	if got := strings.Join(a.header.Values(key), "; and "); got != want {
		t.Errorf("%s: %q, want %q", key, got, want)
	}
}

// expectRefusal expects the reason as text: the user of a client may read it.
func expectRefusal(t *testing.T, a answer, status int) {
	t.Helper()
	expectStatus(t, a, status)
	expectHeader(t, a, "Content-Type", "text/plain; charset=utf-8")
	if len(a.body) < 10 || a.length != int64(len(a.body)) || strings.HasSuffix(a.body, "\n") {
		t.Errorf("the reason is %q, of Content-Length %d", a.body, a.length)
	}
}

// countLogged counts the lines about refusals with this code.
func countLogged(c *rig.Caddy, code string) (n int) {
	for _, e := range c.Logs() {
		if e.Message == "refused" && strings.Contains(e.Raw, `"code":"`+code+`"`) {
			n++
		}
	}
	return n
}

// expectLogged expects so many lines about refusals with this code.
func expectLogged(t *testing.T, c *rig.Caddy, code string, count int) {
	t.Helper()
	rig.Await(t, "the log to tell of "+code, func() bool { return countLogged(c, code) >= count })
	if n := countLogged(c, code); n != count {
		t.Errorf("%d lines tell of %s, want %d", n, code, count)
	}
}
