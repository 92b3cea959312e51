package http_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// fileSite mounts handlers over the same stores that differ by one thing each.
const fileSite = `
http://ADDR {
	handle_path /late/* {
		xmpp_upload {
			put_timeout 1ns
			allow *
			STORES
		}
	}
	handle_path /brief/* {
		xmpp_upload {
			keep 1ns
			allow *
			STORES
		}
	}
	handle_path /long/* {
		xmpp_upload {
			keep 10d
			allow forever@example.com {
				keep forever
			}
			allow *
			STORES
		}
	}
	handle_path /full/* {
		xmpp_upload {
			min_free_space 1000TB
			allow *
			STORES
		}
	}
	handle {
		xmpp_upload {
			allow *
			STORES
		}
		respond "next handler" 418
	}
}
`

func TestPut(t *testing.T) {
	c := serve(t, fileSite)
	base := "http://" + c.Addr
	t.Run("stores a file", func(t *testing.T) { testPutStores(t, base) })
	t.Run("refuses", func(t *testing.T) { testPutRefuses(t, c, base) })
	t.Run("sizes", func(t *testing.T) { testPutSizes(t, c, base) })
	t.Run("full disk", func(t *testing.T) { testPutFull(t, c, base) })
	t.Run("types", func(t *testing.T) { testPutTypes(t, base) })
	t.Run("100-continue", func(t *testing.T) { testExpect(t, c, base) })
	t.Run("connection that closes", func(t *testing.T) { testClosing(t, c, base) })
	t.Run("methods", func(t *testing.T) { testFileMethods(t, base) })
}

func testPutStores(t *testing.T, base string) {
	target := slot(t, base, "a.txt", 5)
	expectStatus(t, send(t, "GET", target, ""), 404)
	a := send(t, "PUT", target, "hello", "Content-Type", "text/plain")
	expectStatus(t, a, 201)
	expectHeader(t, a, "Content-Type", "")
	expectCORS(t, a)
	if a.body != "" || a.length != 0 {
		t.Errorf("201 with body %q, Content-Length %d", a.body, a.length)
	}
	if got := send(t, "GET", target, ""); got.body != "hello" {
		t.Errorf("served as %q", got.body)
	}
}

func testPutRefuses(t *testing.T, c *rig.Caddy, base string) {
	used := uploaded(t, base, "a.txt", "text/plain", "hello")
	waiting := slot(t, base, "a.txt", 5)
	late := slot(t, base+"/late", "a.txt", 5)
	unknown := base + "/" + strings.Repeat("0", 35) + "/a.txt"
	for i, tc := range []struct {
		what, target string
		status       int
		code         string
	}{
		{"unknown slot", unknown, 403, "unknown_slot"},
		{"other name", strings.TrimSuffix(waiting, "a.txt") + "b.txt", 403, "unknown_slot"},
		{"other name of a used slot", strings.TrimSuffix(used, "a.txt") + "b.txt", 403, "unknown_slot"},
		{"other case of the name", strings.TrimSuffix(waiting, "a.txt") + "A.TXT", 403, "unknown_slot"},
		{"expired slot", late, 403, "slot_expired"},
		{"used slot", used, 409, "slot_used"},
		{"used slot, other size", used, 409, "slot_used"},
	} {
		t.Run(tc.what, func(t *testing.T) {
			body := "other"
			if i == 6 {
				body = "another size"
			}
			before := countLogged(c, tc.code)
			a := send(t, "PUT", tc.target, body, "Content-Type", "text/plain")
			expectRefusal(t, a, tc.status)
			expectCORS(t, a)
			expectLogged(t, c, tc.code, before+1)
		})
	}
	if got := send(t, "GET", used, ""); got.body != "hello" {
		t.Errorf("a refused PUT changed the file to %q", got.body)
	}
	expectStatus(t, send(t, "PUT", waiting, "hello"), 201)
}

// chunked hides how long a body is.
type chunked struct{ io.Reader }

func testPutSizes(t *testing.T, c *rig.Caddy, base string) {
	large := strings.Repeat("0123456789abcdef", 40_000) // more than any buffer
	for _, tc := range []struct {
		what    string
		size    int
		body    string
		chunked bool
		status  int
	}{
		{"shorter", 5, "hell", false, 400},
		{"longer", 5, "hello!", false, 400},
		{"nothing", 5, "", false, 400},
		{"chunked, shorter", 5, "hell", true, 400},
		{"chunked, longer", 5, "hello!", true, 400},
		{"chunked, nothing", 5, "", true, 400},
		{"chunked, much shorter", len(large), large[:500_000], true, 400},
		{"chunked, much longer", 500_000, large, true, 400},
		{"chunked, right", len(large), large, true, 201},
		{"right", len(large), large, false, 201},
		{"one byte", 1, "x", false, 201},
	} {
		t.Run(tc.what, func(t *testing.T) {
			target := slot(t, base, "a.bin", tc.size)
			before := countLogged(c, "size_mismatch")
			var body io.Reader = strings.NewReader(tc.body)
			if tc.chunked {
				body = chunked{body}
			}
			a := sendBy(t, plain, "PUT", target, body)
			if tc.status == 201 {
				expectStatus(t, a, 201)
				if got := send(t, "GET", target, ""); got.body != tc.body {
					t.Errorf("%d bytes are served, not the %d that were sent", len(got.body), len(tc.body))
				}
				return
			}
			expectRefusal(t, a, tc.status)
			expectCORS(t, a)
			expectLogged(t, c, "size_mismatch", before+1)
			expectStatus(t, send(t, "GET", target, ""), 404)
			right := strings.Repeat("x", tc.size) // the slot is still good for what it was meant
			expectStatus(t, send(t, "PUT", target, right), 201)
		})
	}
}

func testPutFull(t *testing.T, c *rig.Caddy, base string) {
	target := slot(t, base, "a.txt", 5)
	full := strings.Replace(target, base, base+"/full", 1)
	before := countLogged(c, "storage_full")
	a := send(t, "PUT", full, "hello")
	expectRefusal(t, a, 507)
	expectLogged(t, c, "storage_full", before+1)
	expectStatus(t, send(t, "PUT", target, "hello"), 201)
}

func testPutTypes(t *testing.T, base string) {
	const octets = "application/octet-stream"
	for _, tc := range []struct{ announced, sent, served string }{
		{"", "", octets},
		{"", "image/png", "image/png"},
		{"image/png", "", "image/png"},
		{"image/png", "image/png", "image/png"},
		{"image/png", "IMAGE/PNG", "image/png"},
		{"Image/PNG", "image/png", "Image/PNG"},
		{"image/png", octets, "image/png"},
		{octets, "image/png", "image/png"},
		{octets, "", octets},
		{octets, octets, octets},
		{octets + "; x=y", "image/png", "image/png"},
		{"text/plain; charset=utf-8", "text/plain", "text/plain; charset=utf-8"},
		{"text/plain", "text/plain;charset=latin1", "text/plain"},
		{`image/svg+xml; charset="utf-8"`, "image/svg+xml", `image/svg+xml; charset="utf-8"`},
		{"nonsense", "image/png", "image/png"},
		{"text/pl\x01ain", "image/png", "image/png"},
		{"image/png\r\nX-Evil: yes", "image/jpeg", "image/jpeg"},
		{"text/ümläut", "image/png", "image/png"},
		{"image/png", "nonsense", "image/png"},
		{"text/" + strings.Repeat("x", 300), "text/" + strings.Repeat("x", 300), octets},
		{"image/png", "text/html", ""},
		{"text/html", "text/plain", ""},
		{"text/plain; charset=utf-8", "text/html; charset=utf-8", ""},
		{"image/png", "image/jpeg", ""},
	} {
		target := slot(t, base, "a.txt", 5, "content_type", tc.announced)
		a := send(t, "PUT", target, "hello", "Content-Type", tc.sent)
		if tc.served == "" {
			expectRefusal(t, a, 400)
			expectStatus(t, send(t, "GET", target, ""), 404)
			continue
		}
		if got := send(t, "GET", target, "").header; a.status != 201 || got.Get("Content-Type") != tc.served || got.Get("X-Evil") != "" {
			t.Errorf("announced %q, sent %q: %d %q, then served as %q, want %q", tc.announced, tc.sent, a.status, a.body, got.Get("Content-Type"), tc.served)
		}
	}
	t.Run("alias", func(t *testing.T) {
		expectStatus(t, send(t, "PUT", slot(t, base, "a", 1, "type", "image/png"), "x", "Content-Type", "text/html"), 400)
		expectStatus(t, send(t, "PUT", slot(t, base, "a", 1, "type", "image/png", "content_type", "text/html"), "x", "Content-Type", "text/html"), 201)
		expectStatus(t, send(t, "PUT", slot(t, base, "a", 1, "content_type", "", "type", "image/png"), "x", "Content-Type", "text/html"), 400)
	})
}

// testExpect sends no body until it is asked to. A refusal must not wait for
// one.
func testExpect(t *testing.T, c *rig.Caddy, base string) {
	used := uploaded(t, base, "a.txt", "", "hello")
	for _, tc := range []struct {
		method, target string
		length         int
		status         int
	}{
		{"PUT", base + "/" + strings.Repeat("0", 35) + "/a.txt", 5, 403},
		{"PUT", used, 5, 409},
		{"PUT", slot(t, base, "a", 5), 500 << 20, 400},
		{"PUT", strings.Replace(slot(t, base, "a", 5), base, base+"/full", 1), 5, 507},
		{"POST", used, 5, 405},
		{"POST", base + "/slot/", 5, 405},
		{"PUT", slot(t, base, "a", 5), 5, 201},
	} {
		t.Run(fmt.Sprint(tc.status), func(t *testing.T) {
			status, body := expecting(t, c, tc.method, tc.target, tc.length)
			if status != tc.status || (status == 201) != (body == "") {
				t.Errorf("%s %s: %d %q, want %d", tc.method, tc.target, status, body, tc.status)
			}
		})
	}
}

// expecting sends the head of a request, and the body if it is told to continue.
func expecting(t *testing.T, c *rig.Caddy, method, target string, length int) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	const promptly = 2 * time.Second
	if err := conn.SetDeadline(time.Now().Add(promptly)); err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(target, "http://"+c.Addr)
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n", method, path, c.Addr, length)
	for reader := bufio.NewReader(conn); ; {
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatalf("no answer within %s: %v", promptly, err)
		}
		if resp.StatusCode == http.StatusContinue {
			fmt.Fprint(conn, strings.Repeat("x", length))
			continue
		}
		b, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatalf("the answer has no end within %s: %v", promptly, err)
		}
		return resp.StatusCode, string(b)
	}
}

// nginx closes each connection to its servers; a reset one is a bad gateway.
func testClosing(t *testing.T, c *rig.Caddy, base string) {
	used := uploaded(t, base, "a.txt", "", "hello")
	conn, err := net.Dial("tcp", c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(rig.Patience)); err != nil {
		t.Fatal(err)
	}
	const half = 50 << 10
	before := countLogged(c, "slot_used")
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\nConnection: close\r\n\r\n", strings.TrimPrefix(used, base), c.Addr, 2*half)
	fmt.Fprint(conn, strings.Repeat("x", half))
	expectLogged(t, c, "slot_used", before+1) // it has been decided before the body is at its end
	if _, err := fmt.Fprint(conn, strings.Repeat("x", half)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	if body, err := io.ReadAll(resp.Body); resp.StatusCode != 409 || err != nil {
		t.Errorf("answered %s %q, %v", resp.Status, body, err)
	}
}

func testFileMethods(t *testing.T, base string) {
	used := uploaded(t, base, "a.txt", "", "hello")
	unknown := base + "/" + strings.Repeat("0", 35) + "/a.txt"
	for _, target := range []string{used, unknown} {
		for _, method := range []string{"POST", "DELETE", "PATCH", "PROPFIND"} {
			a := send(t, method, target, "hello")
			expectRefusal(t, a, 405)
			expectHeader(t, a, "Allow", "GET, HEAD, PUT, OPTIONS")
			expectCORS(t, a)
		}
		for _, path := range []string{"", "/late", "/full"} {
			a := send(t, "OPTIONS", strings.Replace(target, base, base+path, 1), "",
				"Origin", "https://chat.example", "Access-Control-Request-Method", "PUT", "Access-Control-Request-Headers", "content-type")
			expectStatus(t, a, 204)
			expectCORS(t, a)
			if a.body != "" {
				t.Errorf("OPTIONS has the body %q", a.body)
			}
		}
	}
	if got := send(t, "GET", used, ""); got.body != "hello" {
		t.Errorf("other methods changed the file to %q", got.body)
	}
}

// expectCORS expects that a web client of any origin may see the answer.
func expectCORS(t *testing.T, a answer) {
	t.Helper()
	expectHeader(t, a, "Access-Control-Allow-Origin", "*")
	for key, words := range map[string]string{
		"Access-Control-Allow-Methods":  "GET HEAD PUT OPTIONS",
		"Access-Control-Allow-Headers":  "Authorization Content-Type",
		"Access-Control-Expose-Headers": "Range Content-Range Content-Length",
	} {
		for word := range strings.FieldsSeq(words) {
			if !strings.Contains(a.header.Get(key), word) {
				t.Errorf("%s lacks %s: %q", key, word, a.header.Get(key))
			}
		}
	}
	if a.header.Get("Access-Control-Allow-Credentials") != "" {
		t.Error("credentials of other origins are allowed")
	}
}
