package http_test

import (
	"bufio"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// sting shows by what it turns into that a server has executed it.
const sting = "<html>{{ `exe` }}{{ `cuted` }} {{env `HOME`}}</html>\n"

// stings are files that a server could execute or compress.
var stings = []struct{ name, contentType, body string }{
	{"a.html", "text/html", strings.Repeat(sting, 100)},
	{"a.html", "text/html; charset=utf-8", strings.Repeat(sting, 100)},
	{"a.txt", "text/plain", strings.Repeat(sting, 100)},
	{"a.md", "text/markdown", strings.Repeat(sting, 100)},
	{"a.svg", "image/svg+xml", strings.Repeat(sting, 100)},
}

// In the order that directives have, an upload is served as it is.
func TestUploadsAreInert(t *testing.T) {
	c := serve(t, `
http://ADDR {
	encode {
		gzip
		minimum_length 1
	}
	templates
	xmpp_upload {
		allow *
		STORES
	}
	header Content-Type text/html
	respond "{{ `+"`exe` }}{{ `cuted`"+` }}"
}`)
	base := "http://" + c.Addr
	for _, s := range stings {
		target := uploaded(t, base, s.name, s.contentType, s.body)
		expectInert(t, target, s.body)
		a := send(t, "GET", target, "", "Range", "bytes=6-15")
		if a.status != 206 || a.body != s.body[6:16] {
			t.Errorf("%s: range %d %q", s.contentType, a.status, a.body)
		}
	}
	if a := send(t, "GET", base+"/", "", "Accept-Encoding", "gzip"); a.header.Get("Content-Encoding") != "gzip" {
		t.Error("this site does not compress at all")
	}
	if a := send(t, "GET", base+"/", ""); a.body != "executed" {
		t.Errorf("this site has no templates: %q", a.body)
	}
}

func expectInert(t *testing.T, target, body string) {
	t.Helper()
	a := send(t, "GET", target, "", "Accept-Encoding", "gzip, zstd, br")
	if a.status != 200 || a.body != body || a.length != int64(len(body)) {
		t.Errorf("%d, %d bytes, Content-Length %d, want %d as they were uploaded", a.status, len(a.body), a.length, len(body))
	}
	for _, key := range []string{"Content-Encoding", "Vary"} {
		expectHeader(t, a, key, "")
	}
	if a.header.Get("ETag") == "" || a.header.Get("Accept-Ranges") != "bytes" {
		t.Errorf("ETag %q, Accept-Ranges %q", a.header.Get("ETag"), a.header.Get("Accept-Ranges"))
	}
}

// An operator may put encode around the handler. It is kept off.
func TestUploadsAreNotCompressedInsideEncode(t *testing.T) {
	for name, site := range map[string]string{
		"handle_path": "encode gzip\nhandle_path /share/* {\nxmpp_upload {\nallow *\nSTORES\n}\n}",
		"route":       "route /share/* {\nencode gzip\nxmpp_upload {\nbase_url http://ADDR/share\nallow *\nSTORES\n}\n}",
		"both":        "encode zstd\nroute /share/* {\nencode gzip\nxmpp_upload {\nbase_url http://ADDR/share\nallow *\nSTORES\n}\n}",
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, "http://ADDR {\n"+site+"\n}\n")
			for _, s := range stings {
				expectInert(t, uploaded(t, "http://"+c.Addr+"/share", s.name, s.contentType, s.body), s.body)
			}
		})
	}
}

// An operator may put templates around the handler. No upload gets through
// them, and no word of a stranger.
func TestUploadsAreNeverTemplates(t *testing.T) {
	for name, site := range map[string]string{
		"handle_path": "templates\nhandle_path /share/* {\nxmpp_upload {\nallow *\nSTORES\n}\n}",
		"route":       "route {\ntemplates\nxmpp_upload {\nbase_url http://ADDR/share\nallow *\nSTORES\n}\n}",
		"encode too":  "route {\nencode gzip\ntemplates\nxmpp_upload {\nbase_url http://ADDR/share\nallow *\nSTORES\n}\n}",
		"error route": "templates\nhandle_path /share/* {\nxmpp_upload {\nallow *\nSTORES\n}\n}\nhandle_errors {\ntemplates\nrespond \"{err.message}\"\n}",
	} {
		t.Run(name, func(t *testing.T) {
			c := serve(t, "http://ADDR {\n"+site+"\n}\n")
			base := "http://" + c.Addr + "/share"
			for _, s := range stings {
				target := uploaded(t, base, s.name, s.contentType, s.body)
				for _, header := range [][]string{nil, {"Range", "bytes=6-15"}, {"Range", "bytes=0-1,6-15"}, {"Accept-Encoding", "gzip"}} {
					expectNotExecuted(t, target, s.body, header)
				}
			}
			expectNoWordExecuted(t, base)
		})
	}
}

func expectNotExecuted(t *testing.T, target, body string, header []string) {
	t.Helper()
	for _, method := range []string{"GET", "HEAD"} {
		a, err := trySend(t, plain, method, target, nil, header...)
		switch {
		case err != nil:
			t.Errorf("%s with %v: %v", method, header, err)
		case strings.Contains(a.body, "executed"):
			t.Fatalf("a file of a stranger was executed: %.100q", a.body)
		case a.status == 500 && !strings.Contains(a.body, "exe"):
			expectHeader(t, a, "Cache-Control", "")
		case a.status == 200 && (method == "HEAD" || a.body == body):
		case a.status == 206 && (method == "HEAD" || strings.Contains(a.body, "{{")):
		default:
			t.Errorf("%s with %v: %d %.100q", method, header, a.status, a.body)
		}
	}
}

// expectNoWordExecuted sends templates wherever a refusal could repeat them.
func expectNoWordExecuted(t *testing.T, base string) {
	t.Helper()
	const word = "%7B%7B%60exe%60%7D%7D%7B%7B%60cuted%60%7D%7D"
	typed := "text/plain; a=\"{{`exe`}}{{`cuted`}}\""
	target := slot(t, base, "a.png", 1, "content_type", `image/png; a="{{`+"`executed`"+`}}"`)
	for what, a := range map[string]answer{
		"JID":    send(t, "GET", base+"/slot/?name=a&size=1&jid=@"+word, ""),
		"size":   send(t, "GET", base+"/slot/?jid=a@b&name=a&size="+word, ""),
		"output": send(t, "GET", base+"/slot/?jid=a@b&output="+word, ""),
		"query":  send(t, "GET", base+"/slot/?jid=%zz"+word, ""),
		"type":   send(t, "PUT", target, "x", "Content-Type", typed),
		"name":   send(t, "GET", target+word, ""),
	} {
		if strings.Contains(a.body, "exe") || a.status < 400 || a.status >= 500 {
			t.Errorf("%s: %d %q", what, a.status, a.body)
		}
	}
	q := query("jid", "a@b", "name", "{{`exe`}}{{`cuted`}}.txt", "size", "1")
	if a := send(t, "GET", base+"/slot/"+q, ""); a.status != 200 || strings.Contains(a.body, "executed") {
		t.Errorf("slot: %d %q", a.status, a.body)
	}
}

// Whoever lacks one character of a URL has nothing.
func TestOnlyTheExactURLGetsAFile(t *testing.T) {
	c := serve(t, "http://ADDR {\n xmpp_upload {\n allow *\n STORES\n }\n respond next 418\n}\n")
	base := "http://" + c.Addr
	target := uploaded(t, base, "a.txt", "text/plain", "secret")
	id, _, _ := strings.Cut(strings.TrimPrefix(target, base+"/"), "/")
	swapped := "v" + id[1:]
	if id[0] == 'v' {
		swapped = "0" + id[1:]
	}
	paths := []string{
		"/" + swapped + "/a.txt", "/" + id[1:] + "/a.txt", "/" + id + "0/a.txt", "/" + id, "/" + id + "/", "/" + id + "/a", "/" + id + "/a.tx", "/" + id + "/a.txt/",
		"/" + strings.ToUpper(id) + "/a.txt", "/" + id + "-a.txt", "/" + id[:2] + "/" + id + "-a.txt", "/" + id + "/*", "/*/a.txt",
		"/" + id + "/..%2fa.txt", "/" + id + "/%2e%2e/a.txt", "/" + id + "/../../a.txt", "/" + id + "/a.txt%00", "/" + id + "/%00a.txt", "/" + id + "/a.txt%20",
		"/" + id + "/..%252fa.txt", "/" + id + "/%252e%252e%252fa.txt", "/" + id + "/a%2etxt%2f", "/" + id + "/a.txt;x", "/" + id + "/a.txt%3Fx", "/" + id + "/a.txt%23",
		"/../slots/LOCK", "/..%2fslots%2fLOCK", "/" + id + "/..%2f..%2f..%2f..%2fetc%2fpasswd", "/" + id + "/..%5c..%5cetc%5cpasswd", "/..%2f..%2fetc%2fpasswd",
		"/" + strings.Repeat("%2e", 35) + "/a.txt", "/" + strings.Repeat(".", 35) + "/passwd", "/" + strings.Repeat("%00", 35) + "/a.txt",
	}
	for _, path := range paths {
		for _, method := range []string{"GET", "HEAD", "PUT"} {
			status, body := raw(t, c.Addr, method, path)
			if status == 200 || status == 201 || status >= 500 || strings.Contains(body, "secret") || strings.Contains(body, "root:") {
				t.Errorf("%s %s: %d %q", method, path, status, body)
			}
		}
	}
	if a := send(t, "GET", target, ""); a.status != 200 || a.body != "secret" {
		t.Errorf("the exact URL: %d %q", a.status, a.body)
	}
}

// raw sends a path as it is, which a client would mend.
func raw(t *testing.T, addr, method, path string) (status int, body string) {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "%s %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 6\r\nConnection: close\r\n\r\nabcdef", method, path, addr)
	resp, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: method})
	if err != nil {
		t.Fatalf("%s %s: %v", method, path, err)
	}
	defer resp.Body.Close()
	b := make([]byte, 1000)
	n, _ := resp.Body.Read(b)
	return resp.StatusCode, string(b[:n])
}
