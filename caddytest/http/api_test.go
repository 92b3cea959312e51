package http_test

import (
	"strings"
	"testing"
)

func testSlotMethods(t *testing.T, base string) {
	const q = "?jid=uploads@example.com&name=a&size=1"
	for _, path := range []string{"/slot/", "/slot", "/max_size/", "/max_size"} {
		for _, method := range []string{"HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"} {
			a := send(t, method, base+path+q, "")
			expectStatus(t, a, 405)
			expectHeader(t, a, "Allow", "GET")
			expectHeader(t, a, "Access-Control-Allow-Origin", "")
			if (method == "HEAD") != (a.body == "") {
				t.Errorf("%s %s: body %q", method, path, a.body)
			}
		}
	}
	// None of them took one of the two slots of this user.
	for _, want := range []int{200, 200, 402} {
		expectStatus(t, send(t, "GET", base+"/slot/"+q, ""), want)
	}
}

func testGuards(t *testing.T, base string) {
	const q = "?jid=me@example.com&name=a&size=1"
	for _, tc := range []struct {
		path   string
		header []string
		status int
	}{
		{"/", nil, 200},
		{"/", []string{"X-Forwarded-For", "127.0.0.1"}, 403},
		{"/", []string{"Forwarded", "for=127.0.0.1"}, 403},
		{"/", []string{"Via", "1.1 proxy"}, 403},
		{"/", []string{"Via", ""}, 403},
		{"/guarded/", nil, 403},
		{"/guarded/", []string{"X-Key", "wrong"}, 403},
		{"/guarded/", []string{"X-Key", "open"}, 200},
		{"/guarded/", []string{"X-Key", "open", "X-Forwarded-For", "192.0.2.1"}, 200},
		{"/guarded/", []string{"X-Forwarded-For", "192.0.2.1"}, 403},
		{"/guarded/", []string{"Client-IP", "192.0.2.1", "X-Real-IP", "192.0.2.1"}, 403},
		{"/either/", nil, 200},
	} {
		for _, api := range []string{"slot/", "slot", "max_size/", "max_size"} {
			a := send(t, "GET", base+tc.path+api+q, "", tc.header...)
			expectStatus(t, a, tc.status)
			if t.Failed() {
				t.Fatalf("%s%s with %v", tc.path, api, tc.header)
			}
		}
	}
}

func testJIDs(t *testing.T, base string) {
	for jid, want := range map[string]int{
		"Blocked@Example.com":                      403,
		"blocked@example.com/phone":                403,
		"BLOCKED@EXAMPLE.COM/p@h/one":              403,
		"me@example.com/phone":                     200,
		"Me@EXAMPLE.com":                           200,
		"jürgen@example.com":                       200,
		`d\27artagnan@example.com`:                 200,
		"example.com":                              200, // only a domain, an expression or * matches it
		"example.com/resource":                     200,
		"guest7@other.example":                     200,
		"guest@other.example":                      403,
		"other.example":                            403,
		"me@example.com.evil.example":              403,
		"me@sub.example.com":                       403,
		"Small@example.com/a file of 1001":         413,
		"ｓｍａｌｌ@example.com":                        413, // full width, prepared to the same
		"me@xn--exmple-cua.com":                    403,
		strings.Repeat("x", 1023) + "@example.com": 200,
		strings.Repeat("x", 1024) + "@example.com": 400,
	} {
		a := send(t, "GET", base+"/slot/"+query("jid", jid, "name", "a", "size", "1001"), "")
		if a.status != want {
			t.Errorf("%q: %d %q, want %d", jid, a.status, a.body, want)
		}
	}
	// All spellings share one account.
	for i, jid := range []string{"Once@example.com/a", "ONCE@example.com", "once@Example.COM"} {
		a := send(t, "GET", base+"/slot/"+query("jid", jid, "name", "a", "size", "1"), "")
		if a.status != 402 {
			t.Errorf("request %d of one user: %d", i, a.status)
		}
	}
}

func testMaxSize(t *testing.T, base string) {
	for _, tc := range []struct {
		path, q string
		status  int
		body    string
	}{
		{"/max_size/", "?jid=small@example.com", 200, "1000"},
		{"/max_size", "?jid=Small@Example.com/phone&output=text/plain", 200, "1000"},
		{"/max_size/", "?jid=me@example.com", 200, "0"},
		{"/max_size/", "?jid=small@example.com&output=application/json", 200, "{\"max_size\":1000}"},
		{"/max_size/", "?jid=me@example.com&output=application/json", 200, "{\"max_size\":0}"},
		{"/max_size/", "", 400, "\"jid\" is a required GET parameter."},
		{"/max_size/", "?jid=", 400, "\"jid\" is a required GET parameter."},
		{"/max_size/", "?jid=small@example.com&output=x", 400, ""},
		{"/max_size/", "?jid=blocked@example.com", 403, ""},
		{"/guarded/max_size/", "?jid=small@example.com", 403, ""},
		{"/guarded/max_size/", "", 400, ""},
	} {
		a := send(t, "GET", base+tc.path+tc.q, "")
		if a.status != tc.status || tc.body != "" && a.body != tc.body || a.length != int64(len(a.body)) {
			t.Errorf("%s%s: %d %q, want %d %q", tc.path, tc.q, a.status, a.body, tc.status, tc.body)
		}
	}
	for q, code := range map[string]string{"": "bad_request", "&jid=blocked@example.com": "not_allowed"} {
		if r := readRefusal(t, send(t, "GET", base+"/max_size/?output=application/json"+q, "")); r.Error != code {
			t.Errorf("%q: %+v, want %s", q, r, code)
		}
	}
}

func testPaths(t *testing.T, base string) {
	const q = "?jid=me@example.com&name=a&size=1"
	id := strings.Repeat("0", 35)
	for _, path := range []string{
		"/", "/slots/", "/Slot/", "/slot/x", "/slot//", "//slot/", "/max_size/x", "/max-size/", "/x/slot/",
		"/" + id, "/" + id + "/", "/" + id + "/a/b", "/" + id + "0/a", "/" + id[1:] + "/a", "/" + id[1:] + "w/a", "/" + id[1:] + "A/a", "/x/" + id + "/a",
	} {
		for _, method := range []string{"GET", "PUT", "OPTIONS"} {
			if a := send(t, method, base+path+q, ""); a.status != 418 || a.body != "next handler" {
				t.Errorf("%s %s: %d %q, want the next handler", method, path, a.status, a.body)
			}
		}
	}
}
