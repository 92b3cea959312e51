package metrics_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func init() { caddy.RegisterModule(recorder{}) }

// recorder is a subscriber that writes events to a file, one a line.
type recorder struct {
	File string `json:"file"`
	// Mode is what goes wrong: "panic", "fail", or "block" until the file of
	// this name is there.
	Mode string `json:"mode"`
}

func (recorder) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "events.handlers.recorder", New: func() caddy.Module { return new(recorder) }}
}

// UnmarshalCaddyfile takes the file and the mode.
func (r *recorder) UnmarshalCaddyfile(d *caddyfile.Dispenser) error {
	d.Next()
	d.Args(&r.File, &r.Mode)
	return nil
}

// recorded is a line.
type recorded struct {
	Type   string
	Source string
	Data   map[string]any
}

func (r *recorder) Handle(ctx context.Context, e caddy.Event) error {
	ce := e.CloudEvent()
	line, err := json.Marshal(map[string]any{"type": ce.Type, "source": ce.Source, "data": ce.Data})
	if err != nil {
		return err
	}
	f, err := os.OpenFile(r.File, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(f, "%s\n", line)
	err = errors.Join(err, f.Close())
	switch mode, arg, _ := strings.Cut(r.Mode, ":"); mode {
	case "panic":
		panic("a subscriber's mistake")
	case "fail":
		return errors.Join(err, errors.New("a subscriber's failure"))
	case "block":
		for ctx.Err() == nil {
			if _, statErr := os.Stat(arg); statErr == nil {
				break
			}
			time.Sleep(time.Millisecond)
		}
	}
	return err
}

var _ caddyevents.Handler = (*recorder)(nil)

// subscribed starts a Caddy with a recorder of both events.
func subscribed(t *testing.T, mode, sites string) *rig.Caddy {
	t.Helper()
	c := rig.New(t)
	c.Global = subscription(c, mode)
	c.Start(fill(c, sites))
	return c
}

func subscription(c *rig.Caddy, mode string) string {
	return fill(c, "events {\n on xmpp_upload.stored recorder DIR/events "+mode+"\n on xmpp_upload.removed recorder DIR/events "+mode+"\n}")
}

// events returns what was recorded as soon as it is so much.
func events(t *testing.T, c *rig.Caddy, count int) []recorded {
	t.Helper()
	var all []recorded
	rig.Await(t, fmt.Sprintf("%d events", count), func() bool {
		all = nil
		b, _ := os.ReadFile(filepath.Join(c.Dir, "events")) // none is written yet
		for line := range bytes.Lines(b) {
			var e recorded
			if err := json.Unmarshal(line, &e); err != nil {
				return false // in the making
			}
			all = append(all, e)
		}
		return len(all) >= count
	})
	if len(all) != count {
		t.Errorf("%d events, want %d: %v", len(all), count, all)
	}
	return all
}

// expectEvent expects the data that all events have, and that keys are there.
func expectEvent(t *testing.T, e recorded, name, target, file string, size float64, reason any) {
	t.Helper()
	id := strings.Split(target, "/")[3]
	d := e.Data
	if e.Type != name || e.Source != "http.handlers.xmpp_upload" {
		t.Errorf("%s of %s, want %s", e.Type, e.Source, name)
	}
	if d["id"] != id || d["jid"] != "me@example.com" || d["name"] != file || d["size"] != size || d["content_type"] != "text/plain" || d["reason"] != reason {
		t.Errorf("%s tells of %v, want %s %q of %v bytes, reason %v", name, d, id, file, size, reason)
	}
}

func TestEventsTellOfTheLifeOfAnUpload(t *testing.T) {
	t.Parallel()
	c := subscribed(t, "", strings.Replace(plain, "STORES", "STORES\n keep 1h", 1))
	base := "http://" + c.Addr
	before := time.Now()
	first, second, third := upload(t, base, "me@example.com", "häppy file.txt", 5), upload(t, base, "me@example.com", "2", 6), upload(t, base, "me@example.com", "3", 7)
	unused := slot(t, base, "me@example.com", "unused", 5)
	send(t, http.MethodPut, unused, "too long")

	stored := events(t, c, 3)
	expectEvent(t, stored[0], "xmpp_upload.stored", first, "häppy file.txt", 5, nil)
	expectEvent(t, stored[1], "xmpp_upload.stored", second, "2", 6, nil)
	expectEvent(t, stored[2], "xmpp_upload.stored", third, "3", 7, nil)
	at, err := time.Parse(time.RFC3339, fmt.Sprint(stored[0].Data["expires_at"]))
	if err != nil || at.Before(before.Add(time.Hour)) || at.After(time.Now().Add(time.Hour)) {
		t.Errorf("expires at %v, %v", stored[0].Data["expires_at"], err)
	}

	admin := "http://" + c.Admin + "/xmpp_upload/"
	for _, target := range []string{"uploads/" + strings.Split(first, "/")[3], "uploads/" + strings.Split(unused, "/")[3], "users/me@example.com"} {
		if a := send(t, http.MethodDelete, admin+target, ""); a.status != http.StatusOK {
			t.Fatalf("DELETE %s: %d %q", target, a.status, a.body)
		}
	}
	removed := events(t, c, 6)[3:]
	expectEvent(t, removed[0], "xmpp_upload.removed", first, "häppy file.txt", 5, "deleted")
	if removed[1].Data["name"] == "2" {
		removed[1], removed[2] = removed[2], removed[1] // in whatever order
	}
	expectEvent(t, removed[1], "xmpp_upload.removed", third, "3", 7, "deleted")
	expectEvent(t, removed[2], "xmpp_upload.removed", second, "2", 6, "deleted")
}

func TestEventsTellOfExpiry(t *testing.T) {
	t.Parallel()
	c := subscribed(t, "", strings.Replace(plain, "STORES", "STORES\n keep 1s\n put_timeout 1s\n cleanup_interval 200ms", 1))
	slot(t, "http://"+c.Addr, "me@example.com", "unused", 5)
	target := upload(t, "http://"+c.Addr, "me@example.com", "a.txt", 5)
	all := events(t, c, 2)
	expectEvent(t, all[0], "xmpp_upload.stored", target, "a.txt", 5, nil)
	expectEvent(t, all[1], "xmpp_upload.removed", target, "a.txt", 5, "expired")
}

// Whatever a subscriber does, uploads are stored and answered, and clean-up goes
// on.
func TestSubscribersHarmNoUpload(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"panic", "fail", "block:DIR/go"} {
		t.Run(mode, func(t *testing.T) {
			t.Parallel()
			c := subscribed(t, mode, plain)
			base := "http://" + c.Addr
			var targets []string
			for range 20 {
				targets = append(targets, upload(t, base, "me@example.com", "a.txt", 5))
			}
			if a := send(t, http.MethodGet, targets[19], ""); a.status != http.StatusOK || a.body != "xxxxx" {
				t.Errorf("answered %d %q", a.status, a.body)
			}
			if a := send(t, http.MethodDelete, "http://"+c.Admin+"/xmpp_upload/users/me@example.com", ""); a.status != http.StatusOK {
				t.Errorf("purge: %d %q", a.status, a.body)
			}
			if err := os.WriteFile(filepath.Join(c.Dir, "go"), nil, 0o600); err != nil {
				t.Fatal(err)
			}
			for i, e := range events(t, c, 40) {
				if want := map[bool]string{true: "xmpp_upload.stored", false: "xmpp_upload.removed"}[i < 20]; e.Type != want {
					t.Errorf("event %d is %s, want %s", i, e.Type, want)
				}
			}
		})
	}
}

// An upload may outlive the configuration that it began under: the subscribers
// of the running one are told.
func TestEventsGoToTheRunningConfiguration(t *testing.T) {
	t.Parallel()
	c := rig.New(t)
	c.Start(fill(c, plain))
	target := slot(t, "http://"+c.Addr, "me@example.com", "a.txt", 5)
	conn := half(t, c, target)
	defer conn.Close()
	c.Global = subscription(c, "")
	reload(t, c, plain)
	if err := c.Reload("nonsense {"); err == nil {
		t.Error("nonsense was loaded")
	}
	if _, err := conn.Write([]byte("llo")); err != nil {
		t.Fatal(err)
	}
	expectEvent(t, events(t, c, 1)[0], "xmpp_upload.stored", target, "a.txt", 5, nil)

	c.Global = ""
	reload(t, c, plain)
	upload(t, "http://"+c.Addr, "me@example.com", "b.txt", 5)
	c.Global = subscription(c, "")
	reload(t, c, plain)
	last := upload(t, "http://"+c.Addr, "me@example.com", "c.txt", 5)
	expectEvent(t, events(t, c, 2)[1], "xmpp_upload.stored", last, "c.txt", 5, nil)
}
