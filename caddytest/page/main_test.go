// Package page_test drives the operator's page in Debian's chromium, served by
// a real Caddy. Without chromium its tests skip, unless XMPP_UPLOAD_E2E=required
// is set: then they fail.
package page_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
	_ "github.com/caddy-xmpp/xmpp-upload/page"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

func TestMain(m *testing.M) { rig.Main(m) }

// chromium returns the path of the browser, or skips the test.
func chromium(t *testing.T) string {
	t.Helper()
	return rig.Program(t, "chromium", "chromium")
}

// server is a Caddy with uploads, and the page below /operator/.
type server struct {
	*rig.Caddy
	// URL of the page.
	URL string
	// slots in the order of the uploads that were asked for.
	slots []store.Slot
	t     *testing.T
}

const (
	// uploadBlock is an upload handler over the stores of the test.
	uploadBlock = `xmpp_upload {
		allow alice@example.com bob@example.com {
			max_file_size 1MiB
			max_total_size 100KiB
			bytes 200KiB per 1h
			uploads 3 per 30d
		}
		deny mallory@example.com
		allow *.example.net
		slots badger %[2]s/slots
		files disk %[2]s/files
	}
	`
	// mounted is the page where nothing else disturbs it.
	mounted = `handle_path /operator* {
		xmpp_upload_admin
	}
	`
)

// serve starts a Caddy that has these uploads. Its site answers whatever name
// it is asked by; extra is a part of it, or mounted if it is empty.
func serve(t *testing.T, extra string, uploads ...rig.Stored) *server {
	t.Helper()
	c := rig.New(t)
	s := &server{Caddy: c, URL: "http://" + c.Addr + "/operator/", t: t}
	s.slots = rig.Seed(t, c.Dir, uploads...)
	if extra == "" {
		extra = mounted
	}
	c.Start(fmt.Sprintf("http://:%s {\n"+uploadBlock, port(c.Addr), c.Dir) + extra + "\n}")
	return s
}

func port(addr string) string { return addr[strings.LastIndexByte(addr, ':')+1:] }

// fileURL is where a file is downloaded.
func (s *server) fileURL(slot store.Slot) string {
	return "http://" + s.Addr + "/" + slot.ID + "/" + slot.URLName
}

// removeFile removes a file behind Caddy's back.
func (s *server) removeFile(slot store.Slot) {
	s.t.Helper()
	found, err := filepath.Glob(filepath.Join(s.Dir, "files", "*", slot.ID+"-*"))
	if err != nil || len(found) != 1 {
		s.t.Fatalf("the file of %s is at %q, %v", slot.ID, found, err)
	}
	if err := os.Remove(found[0]); err != nil {
		s.t.Fatal(err)
	}
}

// many returns n uploads of the JID, the newest last, a second between them.
func many(jid string, n int) []rig.Stored {
	uploads := make([]rig.Stored, n)
	now := time.Now()
	for i := range uploads {
		uploads[i] = rig.Stored{
			JID: jid, Name: fmt.Sprintf("photo-%03d.jpg", i), Type: "image/jpeg", Size: 100 + i,
			At: now.Add(time.Duration(i-n) * time.Second),
		}
	}
	return uploads
}
