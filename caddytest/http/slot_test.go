package http_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"regexp"
	"strings"
	"testing"
)

// apiSite mounts handlers over the same stores that differ by one thing each.
const apiSite = `
(rules) {
	STORES
	deny blocked@example.com
	allow small@example.com {
		max_file_size 1000
	}
	allow total@example.com {
		max_total_size 1000
	}
	allow bytes@example.com {
		bytes 1000 per 1h
	}
	allow uploads@example.com {
		uploads 2 per 1h
	}
	allow once@example.com {
		uploads 1 per 1h
	}
	allow all@example.com {
		max_file_size 900
		max_total_size 1000
		uploads 1 per 1h
	}
	allow example.com "~^guest[0-9]+@"
}
http://ADDR {
	@key header X-Key open
	@far remote_ip 192.0.2.0/24
	@near remote_ip 127.0.0.1
	handle_path /guarded/* {
		xmpp_upload {
			slot @key @far
			import rules
		}
	}
	handle_path /either/* {
		xmpp_upload {
			slot @far @near
			import rules
		}
	}
	handle_path /capped/* {
		xmpp_upload {
			max_storage 1
			import rules
		}
	}
	handle_path /full/* {
		xmpp_upload {
			min_free_space 1000TB
			import rules
		}
	}
	handle {
		xmpp_upload {
			import rules
		}
		respond "next handler" 418
	}
}
`

// slotURL is what survives ejabberd, which escapes what it is given again.
var slotURL = regexp.MustCompile(`^https?://[A-Za-z0-9.:-]+(/[A-Za-z0-9._:-]+)*/[0-9a-z]{35}/[A-Za-z0-9_-][A-Za-z0-9._-]*$`)

func TestSlotAPI(t *testing.T) {
	c := serve(t, apiSite)
	base := "http://" + c.Addr
	t.Run("slot", func(t *testing.T) { testSlotAnswer(t, base) })
	t.Run("refusals", func(t *testing.T) { testSlotRefusals(t, base) })
	t.Run("bad requests", func(t *testing.T) { testBadRequests(t, base) })
	t.Run("retry after", func(t *testing.T) { testRetryAfter(t, base) })
	t.Run("methods", func(t *testing.T) { testSlotMethods(t, base) })
	t.Run("guard", func(t *testing.T) { testGuards(t, base) })
	t.Run("JIDs", func(t *testing.T) { testJIDs(t, base) })
	t.Run("max size", func(t *testing.T) { testMaxSize(t, base) })
	t.Run("paths", func(t *testing.T) { testPaths(t, base) })
}

func testSlotAnswer(t *testing.T, base string) {
	const want = `^(http://127\.0\.0\.1:\d+/[0-9a-z]{35}/a\.txt)`
	for _, path := range []string{"/slot/", "/slot"} {
		for _, output := range []string{"", "&output=text/plain", "&output="} {
			a := send(t, "GET", base+path+"?jid=me@example.com&name=a.txt&size=1"+output, "")
			expectStatus(t, a, 200)
			expectHeader(t, a, "Content-Type", "text/plain; charset=utf-8")
			expectHeader(t, a, "Cache-Control", "no-store")
			put, get, _ := strings.Cut(a.body, "\n")
			if !regexp.MustCompile(want+"$").MatchString(put) || get != put || a.length != int64(len(a.body)) {
				t.Errorf("%s%s: %q of Content-Length %d", path, output, a.body, a.length)
			}
		}
	}
	a := send(t, "GET", base+"/slot/?jid=me@example.com&name=a.txt&size=1&output=application/json", "")
	var slot map[string]string
	if err := json.Unmarshal([]byte(a.body), &slot); err != nil || len(slot) != 2 ||
		!slotURL.MatchString(slot["put"]) || slot["get"] != slot["put"] || a.length != int64(len(a.body)) {
		t.Errorf("JSON %q, %v", a.body, err)
	}
	expectHeader(t, a, "Content-Type", "application/json")
}

// refused is what JSON tells of a refusal.
type refused struct {
	Error, Message string
	Limit, Used    *int64
	RetryAfter     *int64 `json:"retry_after"`
}

// testSlotRefusals asks in an order in which each request leaves to the next
// what it needs. Where several faults meet, the first of the order decides.
func testSlotRefusals(t *testing.T, base string) {
	long := strings.Repeat("ü", 128)
	for _, tc := range []struct {
		what        string
		path        string
		jid, name   string
		size        string
		status      int
		code        string
		limit, used int64 // -1: not there
	}{
		{"no JID comes before the guard", "/guarded/slot/", "", "a", "1", 400, "bad_request", -1, -1},
		{"wrong JID comes before the guard", "/guarded/slot/", "@", "a", "1", 400, "bad_request", -1, -1},
		{"wrong size comes before the guard", "/guarded/slot/", "me@example.com", "a", "0", 400, "bad_request", -1, -1},
		{"guard comes before rules", "/guarded/slot/", "blocked@example.com", "a", "1", 403, "slot_forbidden", -1, -1},
		{"denied", "/slot/", "blocked@example.com", long, "1", 403, "not_allowed", -1, -1},
		{"no rule", "/slot/", "me@elsewhere.example", "a", "1", 403, "not_allowed", -1, -1},
		{"file size before name", "/slot/", "small@example.com", long, "1001", 413, "file_too_large", 1000, -1},
		{"exactly the file size", "/slot/", "small@example.com", "a", "1000", 200, "", -1, -1},
		{"name before total", "/slot/", "total@example.com", long, "1001", 413, "name_too_long", -1, -1},
		{"over total at once", "/slot/", "total@example.com", "a", "1001", 402, "total_quota", 1000, 0},
		{"total fills up", "/slot/", "total@example.com", "a", "600", 200, "", -1, -1},
		{"over total", "/slot/", "total@example.com", "a", "401", 402, "total_quota", 1000, 600},
		{"exactly the total", "/slot/", "total@example.com", "a", "400", 200, "", -1, -1},
		{"first of all limits", "/slot/", "all@example.com", "a", "600", 200, "", -1, -1},
		{"total before rates", "/slot/", "all@example.com", "a", "600", 402, "total_quota", 1000, 600},
		{"rates", "/slot/", "all@example.com", "a", "100", 402, "rate_quota", 1, 1},
		{"rates before storage", "/capped/slot/", "all@example.com", "a", "100", 402, "rate_quota", 1, 1},
		{"rates before free space", "/full/slot/", "all@example.com", "a", "100", 402, "rate_quota", 1, 1},
		{"max_storage", "/capped/slot/", "me@example.com", "a", "1", 507, "storage_full", -1, -1},
		{"min_free_space", "/full/slot/", "me@example.com", "a", "1", 507, "storage_full", -1, -1},
		{"larger than any disk", "/slot/", "me@example.com", "a", "9223372036854775807", 507, "storage_full", -1, -1},
	} {
		t.Run(tc.what, func(t *testing.T) {
			target := base + tc.path + query("output", "application/json", "jid", tc.jid, "name", tc.name, "size", tc.size)
			a := send(t, "GET", target, "")
			expectStatus(t, a, tc.status)
			if tc.code == "" {
				return
			}
			got := readRefusal(t, a)
			if got.Error != tc.code || got.Message == "" || number(got.Limit) != tc.limit || number(got.Used) != tc.used {
				t.Errorf("%s", a.body)
			}
			if tc.code != "rate_quota" {
				expectHeader(t, a, "Retry-After", "")
			}
			text := send(t, "GET", strings.Replace(target, "output=", "x=", 1), "")
			expectRefusal(t, text, tc.status)
			if text.body != got.Message {
				t.Errorf("text %q, but the message in JSON is %q", text.body, got.Message)
			}
		})
	}
}

func readRefusal(t *testing.T, a answer) refused {
	t.Helper()
	expectHeader(t, a, "Content-Type", "application/json")
	var r refused
	if err := json.Unmarshal([]byte(a.body), &r); err != nil {
		t.Fatalf("%q: %v", a.body, err)
	}
	return r
}

func number(n *int64) int64 {
	if n == nil {
		return -1
	}
	return *n
}

func testBadRequests(t *testing.T, base string) {
	const ok = "jid=me@example.com&name=a&size=1"
	for _, q := range []string{
		"", "jid=me@example.com", "name=a&size=1", "jid=me@example.com&size=1", "jid=me@example.com&name=a",
		"jid=&name=a&size=1", "jid=me@example.com&name=&size=1", "jid=me@example.com&name=a&size=",
		"jid=me@example.com&name=%01%E2%80%AE&size=1",
		"jid=me@example.com&name=a&size=0", "jid=me@example.com&name=a&size=-1", "jid=me@example.com&name=a&size=%2B1",
		"jid=me@example.com&name=a&size=1.5", "jid=me@example.com&name=a&size=1e3", "jid=me@example.com&name=a&size=0x10",
		"jid=me@example.com&name=a&size=1_000", "jid=me@example.com&name=a&size=%201", "jid=me@example.com&name=a&size=x",
		"jid=me@example.com&name=a&size=9223372036854775808",
		"jid=@example.com&name=a&size=1", "jid=me@&name=a&size=1", "jid=m%20e@example.com&name=a&size=1", "jid=me@a..b&name=a&size=1", "jid=%FF@example.com&name=a&size=1",
		ok + "&output=text/html", ok + "&output=json", ok + "&output=application/json%3Bx",
		ok + "&jid=other@example.com", ok + "&size=2", ok + "&name=b",
		ok + "&x=%zz", ok + ";x",
	} {
		a := send(t, "GET", base+"/slot/?"+q, "")
		expectRefusal(t, a, 400)
		if t.Failed() {
			t.Fatalf("the query was %q", q)
		}
	}
	a := send(t, "GET", base+"/slot/?name=a&size=1", "")
	if a.body != "\"jid\" is a required GET parameter." {
		t.Errorf("without jid: %q", a.body)
	}
	for _, q := range []string{ok + "&size=2", "jid=%zz"} {
		a := send(t, "GET", base+"/slot/?output=application/json&"+q, "")
		expectStatus(t, a, 400)
		if got := readRefusal(t, a); got.Error != "bad_request" {
			t.Errorf("%s: %q", q, a.body)
		}
	}
}

func testRetryAfter(t *testing.T, base string) {
	ask := func(jid string, size string) answer {
		return send(t, "GET", base+"/slot/"+query("output", "application/json", "jid", jid, "name", "a", "size", size), "")
	}
	// A slot that waits gives its place back after the six minutes of put_timeout.
	const sixMinutes = 360
	expectStatus(t, ask("bytes@example.com", "700"), 200)
	a := ask("bytes@example.com", "301")
	expectStatus(t, a, 402)
	r := readRefusal(t, a)
	if after := number(r.RetryAfter); after <= sixMinutes-60 || after > sixMinutes || number(r.Limit) != 1000 || number(r.Used) != 700 {
		t.Errorf("%s", a.body)
	}
	expectHeader(t, a, "Retry-After", fmt.Sprint(number(r.RetryAfter)))
	text := send(t, "GET", base+"/slot/"+query("jid", "bytes@example.com", "name", "a", "size", "301"), "")
	if text.header.Get("Retry-After") == "" {
		t.Error("a refusal in text has no Retry-After")
	}
	never := ask("bytes@example.com", "1001")
	expectStatus(t, never, 402)
	expectHeader(t, never, "Retry-After", "")
	if r := readRefusal(t, never); r.RetryAfter != nil || r.Error != "rate_quota" {
		t.Errorf("what never fits: %s", never.body)
	}

	// Once uploaded, it stays in the window for an hour.
	put := send(t, "GET", base+"/slot/?jid=once@example.com&name=a&size=1", "")
	target, _, _ := strings.Cut(put.body, "\n")
	expectStatus(t, send(t, "PUT", target, "x"), 201)
	r = readRefusal(t, ask("once@example.com", "1"))
	if after := number(r.RetryAfter); after <= 3600-60 || after > 3600 || number(r.Limit) != 1 || number(r.Used) != 1 {
		t.Errorf("after an upload: %+v, retry after %d", r, after)
	}
}

// ejabberd writes its requests so, and keeps the connection for the next one.
func TestSlotRequestOfEjabberd(t *testing.T) {
	c := serve(t, `
http://:PORT {
	xmpp_upload {
		base_url http://ADDR/share
		allow localhost
		STORES
	}
}`)
	const name = `a%20file%20%C3%BC%20%E6%97%A5%E6%9C%AC%20%281%29%2B%26%3D%25~%27%21%2A%3B:%40%2C%24%23%3F%5B%5D%22%3C%3E%7C%5C%5E%60%7B%7D.pdf`
	const tail = `&size=10240&content_type=image/svg%2Bxml%3B%20charset%3D%22utf-8%22`
	conn, err := net.Dial("tcp", c.Addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	reader := bufio.NewReader(conn)
	for _, q := range []string{
		"?jid=alice%40localhost&name=" + name + tail,
		"?jid=j%C3%BCrgen%40localhost&name=" + name + tail,
		"?jid=d%5C27artagnan%40localhost&name=" + name + tail,
		"?key=abc?jid=alice%40localhost&name=" + name + tail, // its service_url had a query
		"?jid=bob%40elsewhere&name=" + name + tail,
		"?jid=alice%40localhost&name=" + name + tail,
	} {
		fmt.Fprintf(conn, "GET /share/slot/%s HTTP/1.1\r\ncontent-length: 0\r\nte: \r\nhost: 127.0.0.1:8099\r\nconnection: keep-alive\r\n\r\n", q)
		resp, err := http.ReadResponse(reader, nil)
		if err != nil {
			t.Fatalf("%s: %v", q, err)
		}
		body, err := io.ReadAll(resp.Body)
		if err != nil {
			t.Fatal(err)
		}
		if resp.Close {
			t.Errorf("%s: the connection is closed", q)
		}
		if strings.Contains(q, "elsewhere") {
			if resp.StatusCode != 403 {
				t.Errorf("%s: %s", q, resp.Status)
			}
			continue
		}
		put, get, _ := strings.Cut(string(body), "\n")
		if resp.StatusCode != 200 || !slotURL.MatchString(put) || get != put || resp.ContentLength != int64(len(body)) {
			t.Errorf("%s: %s %q", q, resp.Status, body)
		}
		if !strings.HasPrefix(put, "http://"+c.Addr+"/share/") || !strings.HasSuffix(put, ".pdf") {
			t.Errorf("URL %s", put)
		}
	}
}
