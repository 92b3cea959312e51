package metrics_test

import (
	"bufio"
	"fmt"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// mounts has all that refuses, over one pair of stores.
const mounts = `http://ADDR {
	handle_path /full/* {
		xmpp_upload {
			min_free_space 1000TB
			allow example.com
			STORES
		}
	}
	handle_path /late/* {
		xmpp_upload {
			put_timeout 1ns
			allow example.com
			STORES
		}
	}
	handle_path /elsewhere/* {
		xmpp_upload {
			download_url https://cdn.example.com
			allow example.com
			STORES
		}
	}
	handle {
		xmpp_upload {
			allow once@example.com {
				uploads 1 per 1h
			}
			allow small@example.com {
				max_file_size 10
				max_total_size 10
			}
			allow example.com
			STORES
		}
	}
}`

// counting is a Caddy with mounts.
type counting struct {
	*testing.T
	*rig.Caddy
	base string
}

func newCounting(t *testing.T, sites string) *counting {
	t.Helper()
	c := rig.New(t)
	c.Global = "servers {\n timeouts {\n read_body_idle 1s\n }\n}"
	c.Start(fill(c, sites))
	return &counting{t, c, "http://" + c.Addr}
}

// step is a request and what it must count.
type step struct {
	what string
	do   func(c *counting)
	want samples
}

func (c *counting) run(steps []step) {
	c.Helper()
	for _, s := range steps {
		ok := c.Run(s.what, func(t *testing.T) {
			sub := &counting{t, c.Caddy, c.base}
			before := scrape(t, c.Caddy)
			s.do(sub)
			expectCounted(t, c.Caddy, before, s.want)
		})
		if !ok {
			return // what comes late would be counted for the next
		}
	}
}

// ask asks for a slot, with pairs of header fields.
func ask(method, path, query string, status int, header ...string) func(*counting) {
	return func(c *counting) {
		c.Helper()
		if a := send(c.T, method, c.base+path+"?"+query, "", header...); a.status != status {
			c.Errorf("answered %d %q, want %d", a.status, a.body, status)
		}
	}
}

func query(jid, name string, size int) string {
	return url.Values{"jid": {jid}, "name": {name}, "size": {fmt.Sprint(size)}}.Encode()
}

func TestEverySlotRequestIsCounted(t *testing.T) {
	t.Parallel()
	newCounting(t, mounts).run(slotSteps())
}

func TestWhatErrorRoutesAnswerIsCounted(t *testing.T) {
	t.Parallel()
	c := newCounting(t, strings.Replace(mounts, "{", "{\n handle_errors {\n respond \"sorry\"\n }\n", 1))
	c.run(slotSteps())
	c.run(uploadSteps())
}

func slotSteps() []step {
	refused := func(what, code string, do func(*counting)) step {
		return step{what, do, samples{`slots_total{result="` + code + `"}`: 1, "slot_duration_seconds_count": 1}}
	}
	me := query("me@example.com", "a.txt", 10)
	return []step{
		refused("granted", "granted", ask("GET", "/slot/", me, 200)),
		refused("granted in JSON", "granted", ask("GET", "/slot", me+"&output=application/json", 200)),
		refused("no size", "bad_request", ask("GET", "/slot/", "jid=me@example.com&name=a", 400)),
		refused("POST", "method_not_allowed", ask("POST", "/slot/", me, 405)),
		refused("HEAD", "method_not_allowed", ask("HEAD", "/slot/", me, 405)),
		refused("through a proxy", "slot_forbidden", ask("GET", "/slot/", me, 403, "Via", "1.1 proxy")),
		refused("a stranger", "not_allowed", ask("GET", "/slot/", query("me@example.net", "a", 1), 403)),
		refused("too large", "file_too_large", ask("GET", "/slot/", query("small@example.com", "a", 11), 413)),
		refused("long name", "name_too_long", ask("GET", "/slot/", query("me@example.com", strings.Repeat("a", 256), 1), 413)),
		refused("all that is allowed", "granted", ask("GET", "/slot/", query("small@example.com", "a", 10), 200)),
		refused("no more", "total_quota", ask("GET", "/slot/", query("small@example.com", "a", 1), 402)),
		refused("the first", "granted", ask("GET", "/slot/", query("once@example.com", "a", 1), 200)),
		refused("the second", "rate_quota", ask("GET", "/slot/", query("once@example.com", "a", 1), 402)),
		refused("full disk", "storage_full", ask("GET", "/full/slot/", me, 507)),
		{"max_size", ask("GET", "/max_size/", "jid=me@example.com", 200), nil},
		{"max_size refused", ask("GET", "/max_size/", "jid=me@example.net", 403), nil},
		{"another path", ask("GET", "/other", me, 200), nil},
	}
}

// put uploads a body to the target that a function finds.
func put(target func(c *counting) string, body string, status int, header ...string) func(*counting) {
	return func(c *counting) {
		c.Helper()
		if a := send(c.T, http.MethodPut, target(c), body, header...); a.status != status {
			c.Errorf("answered %d %q, want %d", a.status, a.body, status)
		}
	}
}

func TestEveryUploadIsCounted(t *testing.T) {
	t.Parallel()
	newCounting(t, mounts).run(uploadSteps())
}

func uploadSteps() []step {
	fresh := func(mount string) func(*counting) string {
		return func(c *counting) string { return slot(c.T, c.base+mount, "me@example.com", "a.txt", 5) }
	}
	// A slot is taken in each step but where it is used again.
	with := func(counts samples) samples {
		all := samples{`slots_total{result="granted"}`: 1, "slot_duration_seconds_count": 1}
		maps.Copy(all, counts)
		return all
	}
	refused := func(what, code string, do func(*counting)) step {
		return step{what, do, with(samples{`uploads_total{result="` + code + `"}`: 1})}
	}
	var used string
	return []step{
		{"stored", func(c *counting) {
			used = fresh("")(c)
			put(func(*counting) string { return used }, "hello", 201)(c)
		}, with(samples{`uploads_total{result="stored"}`: 1, "upload_bytes_total": 5})},
		{"used", put(func(*counting) string { return used }, "hello", 409), samples{`uploads_total{result="slot_used"}`: 1}},
		{"unknown", put(func(c *counting) string { return c.base + "/" + strings.Repeat("0", 35) + "/a.txt" }, "hello", 403), samples{`uploads_total{result="unknown_slot"}`: 1}},
		refused("other name", "unknown_slot", put(func(c *counting) string { return fresh("")(c) + "x" }, "hello", 403)),
		refused("too late", "slot_expired", put(fresh("/late"), "hello", 403)),
		refused("other size", "size_mismatch", put(fresh(""), "hello!", 400)),
		refused("other type", "type_mismatch", put(fresh(""), "hello", 400, "Content-Type", "image/png")),
		refused("full disk", "storage_full", put(func(c *counting) string {
			return strings.Replace(fresh("")(c), c.Addr, c.Addr+"/full", 1)
		}, "hello", 507)),
		refused("client gone", "client_gone", func(c *counting) { half(c.T, c.Caddy, fresh("")(c)).Close() }),
		refused("stalled", "stalled", func(c *counting) {
			conn := half(c.T, c.Caddy, fresh("")(c))
			defer conn.Close()
			if resp, err := http.ReadResponse(bufio.NewReader(conn), nil); err != nil || resp.StatusCode != http.StatusRequestTimeout {
				c.Errorf("answered %v, %v", resp, err)
			}
		}),
		{"POST", func(c *counting) { send(c.T, http.MethodPost, used, "hello") }, nil},
		{"OPTIONS", func(c *counting) { send(c.T, http.MethodOptions, used, "") }, nil},
		{"PATCH", func(c *counting) { send(c.T, http.MethodPatch, used, "hello") }, nil},
	}
}

// half begins an upload of 5 bytes, sends two, and waits until it is in flight.
func half(t *testing.T, c *rig.Caddy, target string) net.Conn {
	t.Helper()
	conn, err := net.Dial("tcp", c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	path := strings.TrimPrefix(target, "http://"+c.Addr)
	if _, err := fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: 5\r\n\r\nhe", path, c.Addr); err != nil {
		t.Fatal(err)
	}
	rig.Await(t, "an upload to be in flight", func() bool { return scrape(t, c)["uploads_in_flight"] == 1 })
	return conn
}

func TestUploadsInFlightEnd(t *testing.T) {
	t.Parallel()
	c := serve(t, plain)
	conn := half(t, c, slot(t, "http://"+c.Addr, "me@example.com", "a.txt", 5))
	reload(t, c, strings.Replace(plain, "STORES", "STORES\n keep 1h", 1))
	if n := scrape(t, c)["uploads_in_flight"]; n != 1 {
		t.Errorf("%v uploads are in flight after a reload, want 1", n)
	}
	conn.Close()
	rig.Await(t, "the upload to end", func() bool { return scrape(t, c)["uploads_in_flight"] == 0 })
}

func TestEveryDownloadIsCounted(t *testing.T) {
	t.Parallel()
	c := newCounting(t, mounts)
	const size = 20 << 20 // more than what buffers take
	small, large := upload(t, c.base, "me@example.com", "a.txt", 10), upload(t, c.base, "me@example.com", "b.txt", size)
	get := func(method, target string, status int, header ...string) func(*counting) {
		return func(c *counting) {
			c.Helper()
			if a := send(c.T, method, target, "", header...); a.status != status {
				c.Errorf("answered %d %.100q, want %d", a.status, a.body, status)
			}
		}
	}
	result := func(code string, bytes float64) samples {
		s := samples{`downloads_total{result="` + code + `"}`: 1}
		if bytes > 0 {
			s["download_bytes_total"] = bytes
		}
		return s
	}
	_, path, _ := strings.Cut(small, c.Addr)
	c.run([]step{
		{"whole", get("GET", small, 200), result("sent", 10)},
		{"large", get("GET", large, 200), result("sent", size)},
		{"a range", get("GET", large, 206, "Range", "bytes=5-1004"), result("sent", 1000)},
		{"not modified", get("GET", small, 304, "If-None-Match", "*"), result("not_modified", 0)},
		{"other version", get("GET", small, 412, "If-Match", `"other"`), result("precondition_failed", 0)},
		{"beyond its end", get("GET", small, 416, "Range", "bytes=100-"), result("range_not_satisfiable", 0)},
		{"not there", get("GET", small+"x", 404), result("not_found", 0)},
		{"elsewhere", get("GET", c.base+"/elsewhere"+path, 403), result("downloaded_elsewhere", 0)},
		{"HEAD", get("HEAD", small, 200), nil},
		{"HEAD not there", get("HEAD", small+"x", 404), nil},
	})
	before := scrape(t, c.Caddy)
	breakOff(t, large)
	rig.Await(t, "the broken download", func() bool {
		grown := scrape(t, c.Caddy).counted(before)
		bytes := grown["download_bytes_total"]
		return len(grown) == 2 && grown[`downloads_total{result="broken_off"}`] == 1 && bytes > 0 && bytes < size
	})
}

// breakOff reads the beginning of a download.
func breakOff(t *testing.T, target string) {
	t.Helper()
	resp, err := http.Get(target)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.CopyN(io.Discard, resp.Body, 1000); err != nil {
		t.Fatal(err)
	}
	resp.Body.Close() // with most of it unread, this closes the connection
}
