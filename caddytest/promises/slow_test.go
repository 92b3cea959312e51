//go:build linux

package promises

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const (
	// crowd is how many upload slowly, and as many download.
	crowd = 1000
	// What the slow ones send, and what they get: more than the kernel takes
	// off Caddy's hands for a client of the ordinary segment size.
	slowUpload   = 64 * kib
	slowDownload = mib
	// slowSteps is in how many parts.
	slowSteps = 8
	// promptly is how soon others are served meanwhile.
	promptly = 5 * time.Second
	// maxResident bounds Caddy's memory while all are under way.
	maxResident = 250 * mib
)

// A thousand slow uploads and a thousand slow downloads end well, keep nobody
// else waiting, and cost memory and goroutines only while they last.
func TestThousandsOfSlowClients(t *testing.T) {
	s := newService(t)
	s.Start(s.site(limited))
	file := s.mustStore(slowDownload, 1)
	base, _ := s.Goroutines()
	idle, _ := s.Memory()

	puts := make([]*slowClient, crowd)
	gets := make([]*slowClient, crowd)
	each(crowd, func(i int) error { // one seed: the content is made once
		u, err := s.ask(user, slowUpload, 2)
		puts[i] = &slowClient{upload: u}
		gets[i] = &slowClient{upload: file}
		return err
	}).expect(t)
	content, downloaded := contentOf(puts[0].upload), contentOf(file)
	each(crowd, func(i int) error { return puts[i].dial(s.Addr, http.MethodPut) }).expect(t)
	each(crowd, func(i int) error { return gets[i].dial(s.Addr, http.MethodGet) }).expect(t)

	for step := range slowSteps - 1 {
		each(crowd, func(i int) error { return puts[i].send(content, step) }).expect(t)
		each(crowd, func(i int) error { return gets[i].receive(downloaded, step) }).expect(t)
		if step == 0 {
			rig.Await(t, "all uploads to begin", func() bool { return len(s.tree()) == crowd+1 })
		}
		s.expectPromptly()
	}
	now, peak := s.Memory()
	busy, profile := s.Goroutines()
	t.Logf("%d uploads and %d downloads under way: %d MiB resident, at most %d, idle %d; %d goroutines, idle %d",
		crowd, crowd, now/mib, peak/mib, idle/mib, busy, base)
	if n := busyWith(profile, "servePut") + busyWith(profile, "serveGet"); n < 2*crowd {
		t.Errorf("%d requests are under way, want %d: this test shows nothing", n, 2*crowd)
	}
	if peak > maxResident && !raceDetector {
		t.Errorf("%d MiB are resident, want at most %d", peak/mib, maxResident/mib)
	}

	each(crowd, func(i int) error { return puts[i].send(content, slowSteps-1) }).expect(t)
	each(crowd, func(i int) error { return puts[i].end() }).expect(t)
	each(crowd, func(i int) error { return gets[i].receive(downloaded, slowSteps-1) }).expect(t)
	each(crowd, func(i int) error { return gets[i].Close() }).expect(t)
	for i := 0; i < crowd; i += crowd / 10 {
		s.expectServed(puts[i].upload)
	}
	s.CloseIdle()
	rig.Await(t, "the goroutines to end", func() bool {
		n, _ := s.Goroutines()
		return n <= base+10
	})
}

// expectPromptly expects others to be served meanwhile.
func (s *service) expectPromptly() {
	s.t.Helper()
	begun := time.Now()
	s.expectServed(s.mustStore(100*kib, 3))
	if took := time.Since(begun); took > promptly {
		s.t.Errorf("a slot, an upload and a download took %s, want %s at most", took, promptly)
	}
}

// busyWith counts the goroutines in a method of the handler.
func busyWith(profile, method string) (n int) {
	for stack := range strings.SplitSeq(profile, "\n\n") {
		if strings.Contains(stack, "xmpp-upload.(*Handler)."+method+"+") {
			var same int
			if _, err := fmt.Sscan(stack, &same); err == nil {
				n += same
			}
		}
	}
	return n
}

// slowClient has a connection of its own.
type slowClient struct {
	upload
	net.Conn
	answer *bufio.Reader
	body   io.Reader // of the download
}

// dialer makes connections with the segments of an ordinary network: on
// loopback, the kernel would take megabytes before it makes Caddy wait.
var dialer = net.Dialer{Control: func(_, _ string, c syscall.RawConn) (err error) {
	const ethernet = 1448
	controlErr := c.Control(func(fd uintptr) {
		err = unix.SetsockoptInt(int(fd), unix.IPPROTO_TCP, unix.TCP_MAXSEG, ethernet)
	})
	if controlErr != nil {
		return controlErr
	}
	return err
}}

// dial connects and sends the head of the request; of a download it reads the
// head of the answer.
func (c *slowClient) dial(addr, method string) (err error) {
	if c.Conn, err = dialer.DialContext(context.Background(), "tcp", addr); err != nil {
		return err
	}
	if err := c.SetDeadline(time.Now().Add(3 * rig.Patience)); err != nil {
		return err
	}
	c.answer = bufio.NewReaderSize(c.Conn, 4*kib)
	path := strings.TrimPrefix(c.Slot.Put, "http://"+addr)
	if method == http.MethodPut {
		_, err = fmt.Fprintf(c, "PUT %s HTTP/1.1\r\nHost: %s\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n",
			path, addr, c.contentType, c.size)
		return err
	}
	if _, err := fmt.Fprintf(c, "GET %s HTTP/1.1\r\nHost: %s\r\n\r\n", path, addr); err != nil {
		return err
	}
	resp, err := http.ReadResponse(c.answer, nil)
	if err != nil {
		return err
	}
	if c.body = resp.Body; resp.StatusCode != http.StatusOK {
		return fmt.Errorf("download: %s", resp.Status)
	}
	return nil
}

// part is what belongs to a step.
func part(content []byte, step int) []byte {
	n := len(content) / slowSteps
	return content[step*n : (step+1)*n]
}

func (c *slowClient) send(content []byte, step int) error {
	_, err := c.Write(part(content, step))
	return err
}

// receive reads a part; of the first ones little, so that Caddy has to wait.
func (c *slowClient) receive(content []byte, step int) error {
	const little = kib
	want := content[step*little : (step+1)*little]
	if step == slowSteps-1 {
		want = content[step*little:]
	}
	got := make([]byte, len(want))
	if _, err := io.ReadFull(c.body, got); err != nil {
		return fmt.Errorf("download: %w", err)
	}
	if !bytes.Equal(got, want) {
		return fmt.Errorf("download: %w", errWrong)
	}
	return nil
}

// end reads the answer to an upload.
func (c *slowClient) end() error {
	resp, err := http.ReadResponse(c.answer, nil)
	if err != nil {
		return fmt.Errorf("upload: %w", err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusCreated {
		return fmt.Errorf("upload: %s", resp.Status)
	}
	return c.Close()
}

func contentOf(u upload) []byte {
	b, _ := io.ReadAll(rig.Content(u.seed, u.size)) // from memory
	return b
}

// failures are what went wrong of many.
type failures []error

// each calls do for many, some at a time.
func each(n int, do func(i int) error) (failed failures) {
	const atOnce = 64
	var mu sync.Mutex
	var all sync.WaitGroup
	for worker := range atOnce {
		all.Go(func() {
			for i := worker; i < n; i += atOnce {
				if err := do(i); err != nil {
					mu.Lock()
					failed = append(failed, err)
					mu.Unlock()
				}
			}
		})
	}
	all.Wait()
	return failed
}

// expect ends the test if anything went wrong.
func (f failures) expect(t *testing.T) {
	t.Helper()
	if len(f) > 0 {
		t.Fatalf("%d of %d failed, the first: %v", len(f), crowd, f[0])
	}
}
