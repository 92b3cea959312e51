package page_test

import (
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// Clean-up and verify answer when they are done, and nothing moves until then.
func TestLongWorkOutlivesIdleTimeouts(t *testing.T) {
	c := rig.New(t)
	uploads := make([]rig.Stored, 1500)
	for i := range uploads {
		uploads[i] = rig.Stored{JID: fmt.Sprintf("user%d@example.com", i), Name: "a", Size: 1, At: time.Now()}
	}
	rig.Seed(t, c.Dir, uploads...)
	c.Global = "servers {\ntimeouts {\nread_body_idle 50ms\nwrite_idle 50ms\n}\n}"
	c.Start(fmt.Sprintf("http://:%s {\n"+uploadBlock+mounted+"}", port(c.Addr), c.Dir))
	begun := time.Now()
	resp, err := http.Post("http://"+c.Addr+"/operator/verify", "application/x-www-form-urlencoded", strings.NewReader("store="))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), "1,500 files") {
		t.Errorf("answered %d, %v: %s", resp.StatusCode, err, body)
	}
	if took := time.Since(begun); took < 50*time.Millisecond {
		t.Errorf("it took only %s, which tells nothing", took)
	}
}
