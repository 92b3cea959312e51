package http_test

import (
	"strings"
	"testing"
)

// Where the site has error routes they answer, with our status and headers; a
// client that wants JSON gets it all the same.
func TestErrorRoutes(t *testing.T) {
	c := serve(t, `
http://ADDR {
	handle_path /full/* {
		xmpp_upload {
			min_free_space 1000TB
			allow example.com
			STORES
		}
	}
	handle {
		xmpp_upload {
			allow once@example.com {
				uploads 1 per 1h
			}
			allow example.com
			STORES
		}
	}
	handle_errors {
		respond "route: {err.status_code} {err.message}"
	}
}`)
	base := "http://" + c.Addr
	used := uploaded(t, base, "a.txt", "text/plain", "hello")
	unknown := base + "/" + strings.Repeat("0", 35) + "/a.txt"
	const once = "/slot/?jid=once@example.com&name=a&size=1"
	expectStatus(t, send(t, "GET", base+once, ""), 200)
	for _, tc := range []struct{ method, target, want string }{
		{"GET", base + "/slot/", `route: 400 "jid" is a required GET parameter.`},
		{"GET", base + "/slot/?jid=me@other.example&name=a&size=1", "route: 403 this user may not upload"},
		{"POST", base + "/slot/", "route: 405 slots are asked for with GET"},
		{"GET", base + once, "route: 402 rate quota is used up: 1 of 1 uploads in 1h0m0s are taken"},
		{"GET", base + "/full/slot/?jid=me@example.com&name=a&size=1", "route: 507 no storage space is left"},
		{"GET", unknown, "route: 404 there is no such file, or it has expired"},
		{"PUT", unknown, "route: 403 there is no such slot; ask for a new one"},
		{"PUT", used, "route: 409 a file was uploaded to this slot already"},
		{"PATCH", used, "route: 405 files are uploaded with PUT and fetched with GET"},
		{"PUT", slot(t, base, "a", 1), "route: 400 the slot is for 1 bytes, not for 5"},
	} {
		a := send(t, tc.method, tc.target, "hello")
		if a.body != tc.want {
			t.Errorf("%s %s: %d %q, want %q", tc.method, tc.target, a.status, a.body, tc.want)
		}
		if !strings.Contains(tc.target, "slot/") {
			expectCORS(t, a)
		}
		if (a.status == 402) != (a.header.Get("Retry-After") != "") || (a.status == 405) != (a.header.Get("Allow") != "") {
			t.Errorf("%d with Retry-After %q, Allow %q", a.status, a.header.Get("Retry-After"), a.header.Get("Allow"))
		}
	}
	a := send(t, "GET", base+once+"&output=application/json", "")
	expectStatus(t, a, 402)
	if r := readRefusal(t, a); r.Error != "rate_quota" {
		t.Errorf("JSON %s", a.body)
	}
	if status, body := expecting(t, c, "PUT", unknown, 5); status != 403 || !strings.HasPrefix(body, "route: 403") {
		t.Errorf("asked to continue: %d %q", status, body)
	}
}

// An answer repeats nothing of the request: it may land in a page.
func TestRefusalsRepeatNothing(t *testing.T) {
	c := serve(t, "http://:PORT {\n xmpp_upload {\n allow *\n STORES\n }\n}\n")
	base := "http://" + c.Addr
	const evil = "evil%22%3E%3Cscript%3E{{now}}"
	target := slot(t, base, "a", 1, "content_type", `text/plain; a="evil announced"`)
	for what, a := range map[string]answer{
		"JID":        send(t, "GET", base+"/slot/?jid="+evil+"@&name=a&size=1", ""),
		"size":       send(t, "GET", base+"/slot/?jid=a@b&name=a&size="+evil, ""),
		"output":     send(t, "GET", base+"/slot/?output="+evil, ""),
		"query":      send(t, "GET", base+"/slot/?"+evil+"%zz", ""),
		"host":       send(t, "GET", base+"/slot/?jid=a@b&name=a&size=1", "", "Host", "evil!"),
		"denied":     send(t, "GET", base+"/slot/?jid="+evil+"&name=a&size=1", ""),
		"types":      send(t, "PUT", target, "x", "Content-Type", `text/html; a="evil {{now}}"`),
		"method":     send(t, "EVIL", target, ""),
		"other name": send(t, "PUT", target+evil, "x"),
		"not there":  send(t, "GET", target+evil, ""),
	} {
		if a.status < 400 || a.body == "" || strings.Contains(strings.ToLower(a.body), "evil") {
			t.Errorf("%s: %d %q", what, a.status, a.body)
		}
	}
}
