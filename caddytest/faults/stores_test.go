//go:build linux

package faults

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
)

// ways is how a store's call fails.
var ways = []failure{
	{}, {NoSpace: true}, {After: true}, {Kill: true}, {Kill: true, After: true},
}

// Each call of a store that an operation makes fails once, or its answer gets
// lost, or the process dies before or after it: whatever is behind the stores'
// interfaces, the promises hold.
func TestEachCallOfAStoreFailsOnce(t *testing.T) {
	more := []operation{
		{"a download", func(*service) {}, func(s *service) { _ = s.served(s.stored[0]) }},
		{"a look", func(*service) {}, func(s *service) {
			for _, path := range []string{"uploads", "users", "users/" + user, "stats", "check?jid=" + user + "&size=10"} {
				var v map[string]any
				_ = s.API(http.MethodGet, path, &v)
			}
		}},
		{"an upload that is broken off", func(s *service) { s.mustAsk(10 * kib) }, (*service).breakOff},
	}
	for _, op := range append(more, operations...) {
		t.Run(op.name, func(t *testing.T) { sweepStores(t, op) })
	}
}

func sweepStores(t *testing.T, op operation) {
	s := newService(t, "")
	s.wrapped = true
	s.start()
	s.mustSend(s.mustAskFor(bystander, kib))
	s.check()

	op.setUp(s)
	s.plan(failure{Nth: -1})
	op.do(s)
	calls := s.calls()
	s.check()
	if len(calls) == 0 {
		t.Fatal("no store was called")
	}
	for nth, name := range calls {
		if nth > 0 && nth < len(calls)-1 && calls[nth-1] == name && calls[nth+1] == name {
			continue // like its neighbours
		}
		for _, way := range ways {
			op.setUp(s)
			way.Nth = nth
			s.plan(way)
			op.do(s)
			if way.Kill {
				s.Kill()
				s.start()
			} else {
				s.plan(failure{Nth: -1}) // a body may come in fewer pieces
			}
			if s.check(); t.Failed() {
				t.Fatalf("%s %s, call %d of %q", way, name, nth, calls)
			}
		}
	}
	t.Logf("%d calls: %q", len(calls), calls)
	s.checkAll()
}

// breakOff sends the half of an upload, and waits for what is said to that.
func (s *service) breakOff() {
	u := s.waiting[0]
	conn, err := net.Dial("tcp", s.Addr)
	if err != nil {
		s.t.Fatal(err)
	}
	defer conn.Close()
	path := u.Slot.Put[strings.Index(u.Slot.Put, s.Addr)+len(s.Addr):]
	fmt.Fprintf(conn, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Length: %d\r\n\r\n%s", path, s.Addr, u.size, make([]byte, u.size/2))
	_ = conn.(*net.TCPConn).CloseWrite()
	if said, _ := io.ReadAll(conn); bytes.Contains(said, []byte(" 201 ")) {
		s.t.Errorf("half of an upload was taken: %s", said)
	}
}

// plan has a call fail.
func (s *service) plan(f failure) {
	s.t.Helper()
	body, err := json.Marshal(f)
	if err != nil {
		s.t.Fatal(err)
	}
	resp, err := http.Post("http://"+s.Admin+"/failures", "application/json", bytes.NewReader(body))
	if err != nil {
		s.t.Fatal(err)
	}
	if resp.Body.Close(); resp.StatusCode != http.StatusOK {
		s.t.Fatal(resp.Status)
	}
}

// calls returns the calls since the plan was made.
func (s *service) calls() (calls []string) {
	s.t.Helper()
	resp, err := http.Get("http://" + s.Admin + "/failures")
	if err == nil {
		defer resp.Body.Close()
		err = json.NewDecoder(resp.Body).Decode(&calls)
	}
	if err != nil {
		s.t.Fatal(err)
	}
	return calls
}
