package docs

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const adminAPI = "docs/admin-api.md"

// The IDs of the uploads in the document.
const (
	documentedUpload = "6fuh52cd1f8tl9fmk6o7ol37gi1k828ul0i"
	documentedSlot   = "johfk9qsprdhp6p1722vgd61mu1k828ul1b"
)

// Each curl line of the document is run, and its answer has the fields and, but
// for times and free space, the values that the document shows.
func TestAdminAPIAnswersAsDocumented(t *testing.T) {
	rig.Program(t, "curl", "curl")
	c := rig.New(t)
	dir := filepath.Join(c.Dir, "xmpp-upload")
	seeded := rig.Seed(t, dir,
		rig.Stored{JID: "you@example.com", Name: "cat.jpg", Type: "image/jpeg", Size: 48210, At: time.Now()},
		rig.Stored{JID: "me@example.com", Name: "holiday.jpg", Type: "image/jpeg", Size: 2811904, At: time.Now()},
	)
	c.Start("http://" + c.Addr + ` {
	xmpp_upload {
		deny blocked@example.com
		allow example.com {
			max_file_size 100MiB
			max_total_size 2GiB
			bytes 500MiB per 1h
			uploads 100 per 1h
		}
		slots badger ` + dir + `/slots
		files disk ` + dir + `/files
	}
}`)
	slot, err := rig.NewClient(t, "http://"+c.Addr).Slot(t.Context(), rig.Ask{JID: "me@example.com", Name: "video.mp4", Size: 31457280})
	if err != nil {
		t.Fatal(err)
	}
	here := func(s string) string {
		return replace(s, "localhost:2019", c.Admin, documentedUpload, seeded[1].ID, "/var/lib/caddy", c.Dir,
			documentedSlot, filepath.Base(filepath.Dir(slot.Put)))
	}
	list := blocks(t, adminAPI)
	for _, removing := range []bool{false, true} { // all that is shown is there until then
		for i, b := range list {
			if b.lang != "sh" || strings.Contains(b.text, "--unix-socket") || strings.Contains(b.text, "DELETE") != removing {
				continue
			}
			sh := exec.CommandContext(t.Context(), "sh", "-ec", strings.Replace(here(b.text), "curl", "curl -sS", 1))
			sh.Dir = c.Dir
			out, err := sh.CombinedOutput()
			if err != nil {
				t.Fatalf("%s:%d: %v\n%s", adminAPI, b.line, err, out)
			}
			if i+1 < len(list) && list[i+1].lang == "json" {
				expectDocumented(t, list[i+1], here(list[i+1].text), string(out))
			}
		}
	}
	if info, err := os.Stat(filepath.Join(c.Dir, "slots.backup")); err != nil || info.Size() == 0 {
		t.Errorf("there is no backup: %v", err)
	}
}

// expectDocumented compares the last values of what is documented and of what
// was answered: those before are progress.
func expectDocumented(t *testing.T, b block, documented, answered string) {
	t.Helper()
	want, got := last(t, b, documented), last(t, b, answered)
	if err := differ("", want, got); err != nil {
		t.Errorf("%s:%d: %v in\n%s", adminAPI, b.line, err, answered)
	}
}

func last(t *testing.T, b block, text string) (v any) {
	t.Helper()
	for d := json.NewDecoder(strings.NewReader(text)); ; {
		var next any
		switch err := d.Decode(&next); {
		case err == io.EOF:
			return v
		case err != nil:
			t.Fatalf("%s:%d: %v in\n%s", adminAPI, b.line, err, text)
		}
		v = next
	}
}

// differ returns how an answer is not as documented.
func differ(key string, want, got any) error {
	if reflect.TypeOf(want) != reflect.TypeOf(got) {
		return fmt.Errorf("%s is %v, not %v", key, got, want)
	}
	switch want := want.(type) {
	case map[string]any:
		got := got.(map[string]any)
		if w, g := slices.Sorted(maps.Keys(want)), slices.Sorted(maps.Keys(got)); !slices.Equal(w, g) {
			return fmt.Errorf("%s has the fields %q, not %q", key, g, w)
		}
		if key == "free_bytes" {
			return nil
		}
		for k := range want {
			if err := differ(k, want[k], got[k]); err != nil {
				return err
			}
		}
	case []any:
		got := got.([]any)
		switch {
		case key == "days":
			return differ("the last day", want[len(want)-1], got[len(got)-1])
		case len(want) != len(got):
			return fmt.Errorf("%s has %d values, not %d", key, len(got), len(want))
		}
		for i := range want {
			if err := differ(key, want[i], got[i]); err != nil {
				return err
			}
		}
	default:
		if !slices.Contains([]string{"reserved_at", "uploaded_at", "expires_at", "day", "next"}, key) && want != got {
			return fmt.Errorf("%s is %v, not %v", key, got, want)
		}
	}
	return nil
}

// The admin endpoint may be a Unix socket.
func TestAdminAPIOnAUnixSocket(t *testing.T) {
	rig.Program(t, "curl", "curl")
	c := rig.New(t)
	socket := filepath.Join(c.Dir, "admin.sock")
	config := strings.Replace(c.Caddyfile("http://"+c.Addr+" {\n\txmpp_upload\n}\n"), "admin "+c.Admin, "admin unix/"+socket, 1)
	writeFile(t, filepath.Join(c.Dir, "Caddyfile"), config)
	server := c.Command("run", "--config", "Caddyfile")
	if err := server.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = server.Process.Kill()
		_ = server.Wait()
	}()
	var script string
	for _, b := range blocks(t, adminAPI) {
		if strings.Contains(b.text, "--unix-socket") {
			script = replace(b.text, "/run/caddy/admin.sock", socket, "curl", "curl -sS")
		}
	}
	var stats map[string]any
	rig.Await(t, "the answer of "+script, func() bool {
		out, err := exec.CommandContext(t.Context(), "sh", "-ec", script).Output()
		return err == nil && json.Unmarshal(out, &stats) == nil && stats["days"] != nil
	})
}
