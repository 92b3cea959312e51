package http_test

import (
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// A mount path is that of base_url, or what handle_path has stripped, or none.
// All that a slot needs works below it, and nothing beside it.
func TestMounts(t *testing.T) {
	for _, tc := range []struct {
		name, site  string
		asked, base string // where slots are asked for, and what their URLs begin with
		beside      []string
	}{
		{
			"root", `xmpp_upload {
				BLOCK
			}`,
			"http://ADDR", "http://ADDR",
			[]string{"http://ADDR/share"},
		},
		{
			"base_url with a path", `xmpp_upload {
				base_url http://ADDR/share/
				BLOCK
			}`,
			"http://ADDR/share", "http://ADDR/share",
			[]string{"http://ADDR", "http://ADDR/share/share", "http://ADDR/Share"},
		},
		{
			"base_url with a deep path", `xmpp_upload {
				base_url http://ADDR/a/b.c/d_e-f
				BLOCK
			}`,
			"http://ADDR/a/b.c/d_e-f", "http://ADDR/a/b.c/d_e-f",
			[]string{"http://ADDR", "http://ADDR/a", "http://ADDR/a/b"},
		},
		{
			"handle_path", `handle_path /share/* {
				xmpp_upload {
					BLOCK
				}
			}`,
			"http://ADDR/share", "http://ADDR/share",
			[]string{"http://ADDR", "http://ADDR/share/share"},
		},
		{
			"handle_path of two segments", `handle_path /a/b/* {
				xmpp_upload {
					BLOCK
				}
			}`,
			"http://ADDR/a/b", "http://ADDR/a/b",
			[]string{"http://ADDR", "http://ADDR/a"},
		},
		{
			"handle_path and base_url", `handle_path /share/* {
				xmpp_upload {
					base_url http://ADDR/share
					BLOCK
				}
			}`,
			"http://ADDR/share", "http://ADDR/share",
			[]string{"http://ADDR", "http://ADDR/share/share"},
		},
		{
			"handle and base_url", `handle /share/* {
				xmpp_upload {
					base_url http://ADDR/share
					BLOCK
				}
			}`,
			"http://ADDR/share", "http://ADDR/share",
			[]string{"http://ADDR"},
		},
		{
			"a matcher", `xmpp_upload /share/* {
				base_url http://ADDR/share
				BLOCK
			}`,
			"http://ADDR/share", "http://ADDR/share",
			[]string{"http://ADDR"},
		},
		{
			"after a rewrite", `route {
				rewrite * /rewritten
				xmpp_upload {
					base_url http://ADDR/share
					BLOCK
				}
			}`,
			"http://ADDR/share", "http://ADDR/share",
			[]string{"http://ADDR"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := rig.New(t)
			site := strings.ReplaceAll(tc.site, "BLOCK", "allow *\nSTORES")
			c.Start(fill(c, "http://ADDR {\n"+site+"\nrespond \"next handler\" 418\n}\n"))
			asked, base := fill(c, tc.asked), fill(c, tc.base)
			target := slot(t, asked, "a.txt", 5)
			if !strings.HasPrefix(target, base+"/") || strings.Count(target, "/") != strings.Count(base, "/")+2 {
				t.Fatalf("URL %s, want it right below %s", target, base)
			}
			expectStatus(t, send(t, "PUT", target, "hello"), 201)
			if a := send(t, "GET", target, ""); a.body != "hello" {
				t.Errorf("GET: %d %q", a.status, a.body)
			}
			expectStatus(t, send(t, "GET", asked+"/max_size/?jid=a@b", ""), 200)
			for _, beside := range tc.beside {
				for _, path := range []string{"/slot/?jid=a@b&name=a&size=1", "/max_size/?jid=a@b", strings.TrimPrefix(target, base)} {
					if a := send(t, "GET", fill(c, beside)+path, ""); a.status != 418 {
						t.Errorf("%s%s: %d %q, want the next handler", beside, path, a.status, a.body)
					}
				}
			}
		})
	}
}

// Slots come from a site that only the XMPP server asks; clients meet the
// public one, which gives none.
func TestPublicSiteAndSiteOfTheXMPPServer(t *testing.T) {
	c := rig.New(t)
	public := "http://" + rig.Loopback(rig.FreePort(t))
	c.Start(fill(c, `
(uploads) {
	xmpp_upload {
		base_url `+public+`/share
		allow *
		STORES
	}
}
`+public+` {
	@outside header X-Outside *
	import uploads
}
http://ADDR {
	import uploads
}`))
	target := slot(t, "http://"+c.Addr+"/share", "a.txt", 5)
	if !strings.HasPrefix(target, public+"/share/") {
		t.Errorf("URL %s", target)
	}
	expectStatus(t, send(t, "PUT", target, "hello"), 201)
	if a := send(t, "GET", target, ""); a.body != "hello" {
		t.Errorf("GET: %d %q", a.status, a.body)
	}
}

// The host of the request becomes part of URLs that others pass on.
func TestURLsFollowTheRequestOnlyWhereTheyStaySafe(t *testing.T) {
	c := serve(t, `
http://:PORT {
	handle_path /a~b/* {
		xmpp_upload {
			allow *
			STORES
		}
	}
	handle {
		xmpp_upload {
			allow *
			STORES
		}
	}
}`)
	base := "http://" + c.Addr
	for host, want := range map[string]string{
		"upload.example.com":      "http://upload.example.com/",
		"upload.example.com:8080": "http://upload.example.com:8080/",
		"[::1]:8080":              "http://[::1]:8080/",
		"evil!.example":           "",
		"a@b.example":             "",
		"upload.example.com:0":    "",
		"upload.example.com:x":    "",
	} {
		a, err := trySend(t, plain, "GET", base+"/slot/?jid=a@b&name=a&size=1", nil, "Host", host)
		switch {
		case err != nil:
			t.Error(err)
		case want == "" && a.status != 400, want != "" && (a.status != 200 || !strings.HasPrefix(a.body, want)):
			t.Errorf("Host %q: %d %q, want %q", host, a.status, a.body, want)
		}
	}
	expectRefusal(t, send(t, "GET", base+"/a~b/slot/?jid=a@b&name=a&size=1", ""), 400)
}

// X-Forwarded-Proto is believed from trusted proxies only.
func TestSchemeBehindProxies(t *testing.T) {
	for trusted, want := range map[string]string{
		"":                                      "http",
		"trusted_proxies static 127.0.0.0/8":    "https",
		"trusted_proxies static 192.0.2.0/24":   "http",
		"trusted_proxies static private_ranges": "https",
	} {
		t.Run(trusted, func(t *testing.T) {
			c := rig.New(t)
			c.Global = "servers {\n" + trusted + "\n}\n"
			proxy := "http://" + rig.Loopback(rig.FreePort(t))
			c.Start(fill(c, `
http://:PORT {
	@near remote_ip 127.0.0.1
	xmpp_upload {
		slot @near
		allow *
		STORES
	}
}
`+proxy+` {
	reverse_proxy ADDR {
		header_up Host upload.example.com
		header_up X-Forwarded-Proto https
	}
}`))
			target := slot(t, proxy, "a.txt", 5)
			if !strings.HasPrefix(target, want+"://upload.example.com/") {
				t.Errorf("URL %s, want %s", target, want)
			}
			a := send(t, "GET", "http://"+c.Addr+"/slot/?jid=a@b&name=a&size=1", "", "X-Forwarded-Proto", "javascript")
			if !strings.HasPrefix(a.body, "http://") {
				t.Errorf("an unknown scheme is believed: %q", a.body)
			}
		})
	}
}

// Behind another Caddy all works that works without, but for slots.
func TestBehindAnotherCaddy(t *testing.T) {
	c := rig.New(t)
	proxy := "http://" + rig.Loopback(rig.FreePort(t))
	c.Start(fill(c, `
http://ADDR {
	xmpp_upload {
		base_url `+proxy+`/share
		allow *
		STORES
	}
}
`+proxy+` {
	reverse_proxy ADDR {
		header_up Host ADDR
	}
}`))
	testBehind(t, "http://"+c.Addr, proxy)
}

// testBehind uploads and downloads through a proxy, and asks it for slots in
// vain.
func testBehind(t *testing.T, direct, proxy string) {
	body := strings.Repeat("0123456789abcdef", 200_000)
	target := slot(t, direct+"/share", "ü b.txt", len(body), "content_type", "text/plain")
	if !strings.HasPrefix(target, proxy+"/share/") {
		t.Fatalf("URL %s", target)
	}
	expectStatus(t, send(t, "PUT", target, body, "Content-Type", "text/plain"), 201)
	a := send(t, "GET", target, "")
	if a.status != 200 || a.body != body || a.length != int64(len(body)) {
		t.Errorf("GET: %d, %d bytes, Content-Length %d", a.status, len(a.body), a.length)
	}
	expectHeader(t, a, "Content-Disposition", `inline; filename="_b.txt"; filename*=UTF-8''%C3%BC%20b.txt`)
	expectCORS(t, a)
	a = send(t, "GET", target, "", "Range", "bytes=-16")
	if a.status != 206 || a.body != "0123456789abcdef" {
		t.Errorf("range: %d %q", a.status, a.body)
	}
	expectRefusal(t, send(t, "PUT", target, body[:100<<10]), 409)
	expectStatus(t, send(t, "OPTIONS", target, ""), 204)
	expectRefusal(t, send(t, "GET", proxy+"/share/slot/?jid=a@b&name=a&size=1", ""), 403)
	expectRefusal(t, send(t, "GET", proxy+"/share/max_size/?jid=a@b", ""), 403)
}
