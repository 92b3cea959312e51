package rig_test

import (
	"errors"
	"io"
	"net"
	"net/http"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// respond is a site that answers with text.
func respond(c *rig.Caddy, text string) string {
	return "http://" + c.Addr + " {\n\tlog\n\trespond " + text + "\n}\n"
}

func get(t *testing.T, c *rig.Caddy) string {
	t.Helper()
	resp, err := rig.NewClient(t, "").Get(t.Context(), "http://"+c.Addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func expect(t *testing.T, c *rig.Caddy, want string) {
	t.Helper()
	if got := get(t, c); got != want {
		t.Fatalf("the site answers %q, want %q", got, want)
	}
}

func TestLifeOfACaddy(t *testing.T) {
	c := rig.New(t)
	c.Start(respond(c, "one"))
	expect(t, c, "one")

	first := c.PID()
	if err := c.Reload(respond(c, "two")); err != nil {
		t.Fatal(err)
	}
	expect(t, c, "two")
	if c.PID() != first {
		t.Error("a reload started another process")
	}

	err := c.Reload("http://" + c.Addr + " {\n\tno_such_directive\n}\n")
	if err == nil || !strings.Contains(err.Error(), "no_such_directive") {
		t.Errorf("reload of a wrong Caddyfile returned %v, want Caddy's words", err)
	}
	expect(t, c, "two")

	c.Restart()
	if c.PID() == first {
		t.Error("a restart kept the process")
	}
	expect(t, c, "two")

	c.Kill()
	if err := syscall.Kill(first, 0); err == nil {
		t.Error("the first process still exists")
	}
	c.Restart()
	expect(t, c, "two")
	c.Stop()
	if conn, err := net.Dial("tcp", c.Addr); err == nil {
		conn.Close()
		t.Error("something listens after Stop")
	}
}

func TestCaddyThatCannotStartTellsWhy(t *testing.T) {
	c := rig.New(t)
	err := c.TryStart("http://" + c.Addr + " {\n\tno_such_directive\n}\n")
	if err == nil || !strings.Contains(err.Error(), "no_such_directive") {
		t.Fatalf("start returned %v, want Caddy's words", err)
	}
	c.Start(respond(c, "one"))
	expect(t, c, "one")
}

func TestLogsTellOfRequests(t *testing.T) {
	c := rig.New(t)
	c.Start(respond(c, "one"))
	expect(t, c, "one")
	rig.Await(t, "the access log", func() bool {
		for _, e := range c.Logs() {
			if e.Status == http.StatusOK && e.Request.URI == "/" && e.Request.RemotePort != "" {
				return true
			}
		}
		return false
	})
}

func TestCommandRunsCaddy(t *testing.T) {
	out, err := rig.New(t).Command("list-modules").Output()
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(out), "http.handlers.xmpp_upload") {
		t.Error("this Caddy lacks the module under test")
	}
}

func TestContentDependsOnItsSeedOnly(t *testing.T) {
	a, b := rig.ContentSHA256(1, 1<<20), rig.ContentSHA256(1, 1<<20)
	if a != b {
		t.Error("the same seed gave two contents")
	}
	if a == rig.ContentSHA256(2, 1<<20) {
		t.Error("two seeds gave the same content")
	}
}

func TestSeedIsServed(t *testing.T) {
	c := rig.New(t)
	now := time.Now()
	slots := rig.Seed(t, c.Dir,
		rig.Stored{JID: "a@example.com", Name: "a b.txt", Type: "text/plain", Size: 100_000, At: now.Add(-time.Hour)},
		rig.Stored{JID: "a@example.com", Name: "unused", Size: 1, At: now, Unused: true},
	)
	c.Start("http://" + c.Addr + ` {
	xmpp_upload {
		slots badger ` + c.Dir + `/slots
		files disk ` + c.Dir + `/files
	}
}`)
	defer c.Stop()
	client := rig.NewClient(t, "")
	file, err := client.Download(t.Context(), "http://"+c.Addr+"/"+slots[0].ID+"/a_b.txt")
	if err != nil || file.Size != 100_000 {
		t.Errorf("%d bytes, %v", file.Size, err)
	}
	var status *rig.StatusError
	if _, err := client.Download(t.Context(), "http://"+c.Addr+"/"+slots[1].ID+"/unused"); !errors.As(err, &status) || status.Code != http.StatusNotFound {
		t.Errorf("a slot without a file: %v", err)
	}
}

// Who connects right after a reload is served.
func TestReloadLeavesNoSocketBehind(t *testing.T) {
	c := rig.New(t)
	c.Start(respond(c, "0"))
	for i := range 50 {
		text := strconv.Itoa(i)
		if err := c.Reload(respond(c, text)); err != nil {
			t.Fatal(err)
		}
		expect(t, c, text)
	}
}
