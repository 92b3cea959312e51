//go:build linux

package hostile

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// exchange sends a request, be it one or not, and returns the status of the
// answer, 0 if there is none.
func (s *service) exchange(request string) int {
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		return 0
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(rig.Patience))
	go func() { _, _ = io.WriteString(conn, request) }() // Caddy may answer before its end
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

// What is too long or no HTTP is refused, by Caddy or by the handler.
func TestRequestsThatAreNone(t *testing.T) {
	s := start(t)
	slot := s.store(1000)
	unused := s.ask(1, 1000)[0]
	get := func(target, header string) string {
		return fmt.Sprintf("GET %s HTTP/1.1\r\nHost: %s\r\n%s\r\n", target, s.Addr, header)
	}
	long := func(n int) string { return strings.Repeat("a", n) }
	const query = "/slot/?jid=" + attacker + "&name=a.bin&size=10"
	tests := map[string]struct {
		request string
		want    []int // 0 is no answer
	}{
		"header of 1 MiB":            {get(s.path(slot), "X-Long: "+long(mib)+"\r\n"), []int{431, 0}},
		"100,000 headers":            {get(s.path(slot), strings.Repeat("A: b\r\n", 100_000)), []int{431, 0}},
		"path of 64 KiB":             {get("/"+long(64*kib), ""), []int{431, 0}},
		"query of 1 MiB":             {get(query+"&x="+long(mib), ""), []int{431, 0}},
		"name of 15 KiB":             {get("/slot/?jid="+attacker+"&size=10&name="+long(15*kib), ""), []int{413}},
		"JID of 15 KiB":              {get("/slot/?name=a&size=10&jid="+long(15*kib), ""), []int{400}},
		"7,000 parameters":           {get("/slot/?"+strings.Repeat("a&", 7000), ""), []int{400}},
		"invalid UTF-8 in a JID":     {get("/slot/?jid=%ff%fe@example.com&name=a&size=10", ""), []int{400}},
		"invalid UTF-8 in a path":    {get(s.path(slot)+"%ff%fe", ""), []int{404}},
		"raw bytes in a path":        {get(s.path(slot)+"\xff\xfe", ""), []int{400, 404}},
		"NUL in a path":              {get(s.path(slot)+"%00", ""), []int{404}},
		"NUL, raw":                   {get(s.path(slot)+"\x00", ""), []int{400}},
		"bad escape":                 {get("/%zz", ""), []int{400}},
		"path out of the root":       {get("/../../../../etc/passwd", ""), []int{200, 400, 404}}, // not ours: Caddy's empty answer
		"no host":                    {"GET / HTTP/1.1\r\n\r\n", []int{400}},
		"two hosts":                  {get("/", "Host: other\r\n"), []int{400}},
		"another protocol":           {"HELO mail.example.com\r\n\r\n", []int{400}},
		"HTTP/9.9":                   {"GET / HTTP/9.9\r\nHost: x\r\n\r\n", []int{505}},
		"negative length":            {s.put(unused, "Content-Length: -1"), []int{400}},
		"length beyond 64 bits":      {s.put(unused, "Content-Length: 99999999999999999999"), []int{400}},
		"lengths that differ":        {s.put(unused, "Content-Length: 1000\r\nContent-Length: 1001"), []int{400}},
		"length beyond the slot":     {s.put(unused, "Content-Length: 9223372036854775807"), []int{400}},
		"chunk beyond 64 bits":       {s.put(unused, "Transfer-Encoding: chunked") + "fffffffffffffffff\r\n", []int{400}},
		"chunk extensions of 1 MiB":  {s.put(unused, "Transfer-Encoding: chunked") + "1;" + long(mib) + "\r\na\r\n", []int{400, 0}},
		"unknown transfer encoding":  {s.put(unused, "Transfer-Encoding: gzip"), []int{501}},
		"unknown expectation":        {s.put(unused, "Content-Length: 1000\r\nExpect: money"), []int{417}},
		"ranges that are none":       {get(s.path(slot), "Range: bytes=x-y\r\n"), []int{416}},
		"range beyond 64 bits":       {get(s.path(slot), "Range: bytes=99999999999999999999-\r\n"), []int{416}},
		"conditions of 15 KiB":       {get(s.path(slot), "If-None-Match: "+strings.Repeat(`"a",`, 3700)+"\r\n"), []int{200}},
		"content type of 15 KiB":     {s.put(unused, "Content-Length: 1001\r\nContent-Type: a/"+long(15*kib)), []int{400}},
		"method of 15 KiB":           {long(15*kib) + " / HTTP/1.1\r\nHost: x\r\n\r\n", []int{200, 400, 405, 501}},
		"upgrade that nobody offers": {get(s.path(slot), "Connection: Upgrade\r\nUpgrade: websocket\r\n"), []int{200}},
	}
	times := many(20, 200)
	s.withstands(250*mib, func(*others) use {
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				if err := each(times, func(int) error {
					got := s.exchange(tt.request)
					if slices.Contains(tt.want, got) {
						return nil
					}
					return fmt.Errorf("answered %d, want one of %v", got, tt.want)
				}); err != nil {
					t.Error(err)
				}
			})
		}
		return use{Files: 1, Bytes: 1000, Waiting: 1, WaitingBytes: 1000}
	})
}

// Many requests for many ranges cost what they are answered with: never more
// than the file and the heads of its parts.
func TestRangesByTheThousand(t *testing.T) {
	s := start(t)
	const size = mib
	small, large := s.store(5000), s.store(size)
	ranges := func(n int, text func(i int) string) http.Header {
		var all []string
		for i := range n {
			all = append(all, text(i))
		}
		return http.Header{"Range": {"bytes=" + strings.Join(all, ",")}}
	}
	const partHead = 200 // of a multipart answer
	tests := map[string]struct {
		slot   rig.Slot
		header http.Header
		most   int64
	}{
		"one byte each":         {small, ranges(1000, func(i int) string { return fmt.Sprintf("%d-%[1]d", 2*i) }), 1000 * (1 + partHead)},
		"the whole file, often": {large, ranges(4000, func(int) string { return "0-" }), size},
		"overlapping":           {large, ranges(1300, func(i int) string { return fmt.Sprintf("%d-", i) }), size},
		"backwards":             {large, ranges(1300, func(i int) string { return fmt.Sprintf("-%d", size-i) }), size},
	}
	s.withstands(200*mib, func(o *others) use {
		for name, tt := range tests {
			t.Run(name, func(t *testing.T) {
				if err := each(many(200, 5000), func(int) error {
					resp, err := s.Get(t.Context(), tt.slot.Get, tt.header)
					if err != nil {
						return err
					}
					defer resp.Body.Close()
					n, err := io.Copy(io.Discard, resp.Body)
					if n > tt.most {
						err = fmt.Errorf("%d bytes were sent, want %d at most", n, tt.most)
					}
					return err
				}); err != nil {
					t.Error(err)
				}
			})
		}
		o.areServed()
		return use{Files: 2, Bytes: 5000 + size}
	})
}

// Requests that do not wait for answers.
func TestPipelining(t *testing.T) {
	s := startPatient(t, rig.Patience)
	const atOnce = 1000
	clients := many(10, 100)
	s.withstands(200*mib, func(*others) use {
		file := s.store(1000)
		request := s.get(file) + fmt.Sprintf("GET /slot/?jid=%s&name=a.bin&size=10 HTTP/1.1\r\nHost: %s\r\n\r\n", attacker, s.Addr)
		c := s.connect(clients, func(int) string { return "" })
		s.must(each(clients, func(i int) error {
			go func() { _, _ = io.WriteString(c.conns[i], strings.Repeat(request, atOnce/2)) }()
			answers := bufio.NewReader(c.conns[i])
			for range atOnce {
				resp, err := http.ReadResponse(answers, nil)
				if err != nil {
					return err
				}
				if _, err := io.Copy(io.Discard, resp.Body); err != nil || resp.StatusCode != http.StatusOK {
					return fmt.Errorf("%s, %w", resp.Status, err)
				}
			}
			return nil
		}))
		c.close()
		slots := int64(clients) * atOnce / 2
		return use{Files: 1, Bytes: 1000, Waiting: slots, WaitingBytes: 10 * slots}
	})
}
