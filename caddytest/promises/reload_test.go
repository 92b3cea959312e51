package promises

import (
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// transfers are uploads and downloads that are under way while a test does
// something to Caddy.
type transfers struct {
	*service
	puts []*heldPut
	gets []*heldGet
}

const (
	heldUploads   = 8
	heldDownloads = 8
	uploadSize    = 2 * mib
	// downloadSize is more than what the kernel takes off Caddy's hands.
	downloadSize = 24 * mib
)

// hold begins some of each.
func (s *service) holdTransfers() *transfers {
	s.t.Helper()
	tr := &transfers{service: s}
	file := s.mustStore(downloadSize, 1000)
	for i := range uint64(heldUploads) {
		tr.puts = append(tr.puts, s.hold(s.mustAsk(uploadSize, i), 100*kib))
	}
	for range heldDownloads {
		tr.gets = append(tr.gets, s.holdGet(file))
	}
	return tr
}

// goOn moves all of them on by a part.
func (tr *transfers) goOn() {
	tr.t.Helper()
	for _, p := range tr.puts {
		p.feed(tr.t, 100*kib)
	}
	for _, g := range tr.gets {
		g.read(tr.t, 100*kib)
	}
}

// finish expects that all come to a good end.
func (tr *transfers) finish() (stored []upload) {
	tr.t.Helper()
	for _, p := range tr.puts {
		if err := p.finish(); err != nil {
			tr.t.Errorf("an upload in flight: %v", err)
		}
		stored = append(stored, p.upload)
	}
	for _, g := range tr.gets {
		if err := g.finish(); err != nil {
			tr.t.Errorf("a download in flight: %v", err)
		}
	}
	return stored
}

func TestReloadBreaksNothingInFlight(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.Start(s.site(limited))
	tr := s.holdTransfers()
	before := s.mustAsk(1000, 1)
	configs := [][]string{
		{limited, "keep 1h"},
		{"deny blocked@example.com", limited, "put_timeout 1m"},
		{limited, "put_timeout 1h", "cleanup_interval 1s", "min_free_space 2MiB"},
		{"allow example.com {\nmax_total_size 1TiB\nuploads 1000000 per 30d\nkeep forever\n}"},
	}
	for i, lines := range configs {
		if err := s.Reload(s.site(lines...)); err != nil {
			t.Fatal(err)
		}
		tr.goOn()
		s.expectServed(s.mustStore(1000, uint64(i)))
	}
	s.expectServed(tr.finish()...)
	if err := s.send(before); err != nil {
		t.Errorf("a slot of four configurations ago: %v", err)
	}

	// The last configuration is the one that rules.
	d, err := s.Download(t.Context(), before.Slot.Get)
	if err != nil {
		t.Fatal(err)
	}
	if got := d.Header.Get("Cache-Control"); got != "public, max-age=31536000, immutable" {
		t.Errorf("Cache-Control of a file that is kept forever: %q", got)
	}
}

// A configuration that Caddy refuses changes nothing, and closes nothing that
// the running one uses, whatever of it was provisioned before.
func TestFailingReloadBreaksNothing(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.Start(s.site(limited))
	tr := s.holdTransfers()
	second := rig.Loopback(rig.FreePort(t))
	taken, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	tests := map[string]struct{ sites, reason string }{
		"another site with unknown words": {
			s.site(limited) + s.siteAt(second, "alow example.com"), "alow",
		},
		"another site with a directory that can't be": {
			s.site(limited) + strings.ReplaceAll(s.siteAt(second, limited), s.Dir, "/dev/null"), "not a directory",
		},
		"another site of the same stores with a placeholder without a value": {
			s.site(limited) + s.siteAt(second, limited, "base_url {env.XMPP_UPLOAD_NO_SUCH}"), "XMPP_UPLOAD_NO_SUCH",
		},
		"another site that pairs the stores otherwise": {
			s.site(limited) + strings.ReplaceAll(s.siteAt(second, limited), s.files, s.files+"2"), "one slots store goes with one files store",
		},
		"an address that is taken": {
			s.site(limited) + s.siteAt(taken.Addr().String(), limited), "address already in use",
		},
	}
	for name, tt := range tests {
		if err := s.Reload(tt.sites); err == nil || !strings.Contains(err.Error(), tt.reason) {
			t.Errorf("%s: reload returned %v, want an error with %q", name, err, tt.reason)
		}
		tr.goOn()
		s.expectServed(s.mustStore(1000, 1))
	}
	s.expectServed(tr.finish()...)
}

// The upload outlives the handler that took it, and lets go of the stores at
// its end.
func TestReloadWithoutTheHandler(t *testing.T) {
	t.Parallel()
	s := newService(t)
	with, without := s.site(limited), "http://"+s.Addr+" {\nrespond gone 410\n}\n"
	s.Start(with)
	reload := func(sites string) {
		t.Helper()
		if err := s.Reload(sites); err != nil {
			t.Fatal(err)
		}
	}

	tr := s.holdTransfers()
	reload(without)
	tr.goOn()
	reload(with)
	tr.goOn()
	first := tr.puts[0]
	tr.puts = tr.puts[1:]
	if err := first.finish(); err != nil {
		t.Error(err)
	}
	s.expectServed(first.upload)
	reload(without)
	s.expectStartFails(s.other(), with, "in use by another process")
	stored := tr.finish()
	s.expectRefused(s.served(first.upload), http.StatusGone)

	// Now nobody has the stores open, neither here nor elsewhere.
	other := s.other()
	rig.Await(t, "the connections to end", func() bool {
		n, profile := s.Goroutines()
		return n > 0 && !strings.Contains(profile, "xmpp-upload.(*Handler)")
	})
	other.Start(other.site(limited))
	other.expectServedAt(stored...)
	other.Stop()
	reload(with)
	s.expectServed(stored...)
}

// other is a service of another process with the same directories.
func (s *service) other() *service {
	o := newService(s.t)
	o.slots, o.files = s.slots, s.files
	return o
}

// expectServedAt expects uploads to another service to be served by this one.
func (s *service) expectServedAt(uploads ...upload) {
	s.t.Helper()
	for _, u := range uploads {
		path := u.Slot.Get[strings.Index(u.Slot.Get, "/"+u.id()):]
		u.Slot.Get = "http://" + s.Addr + path
		s.expectServed(u)
	}
}

// As the README deploys it: the XMPP server asks at one address, clients come
// to another.
func TestTwoSitesShareTheStores(t *testing.T) {
	t.Parallel()
	s := newService(t)
	public := rig.Loopback(rig.FreePort(t))
	s.Start(fmt.Sprintf("(upload) {\n%s\n}\nhttp://%s {\nimport upload\n}\nhttp://%s {\nimport upload\n}\n",
		s.directive(limited, "base_url http://"+public), s.Addr, public))
	u := s.mustStore(1000, 1)
	if !strings.HasPrefix(u.Slot.Put, "http://"+public+"/") {
		t.Errorf("PUT URL %s, want it at %s", u.Slot.Put, public)
	}
	s.expectServed(u)
	s.expectServedAt(u)
	s.expectUsed(u.size)
	s.awaitTree(u)
}

func TestOneProcessPerDirectory(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.Start(s.site(limited))
	u := s.mustStore(1000, 1)
	s.expectStartFails(s.other(), s.site(limited), "in use by another process", s.slots)

	o := s.other()
	o.slots += "2"
	s.expectStartFails(o, o.site(limited), "another process uses it", s.files)

	out, err := s.validate()
	for _, want := range []string{"in use by another process", s.slots, "caddy reload"} {
		if err == nil || !strings.Contains(out, want) {
			t.Errorf("caddy validate: %v, want a failure with %q:\n%s", err, want, out)
		}
	}
	s.expectServed(u)
}

// Two files directories for one slots directory would each lose the files of
// the other to clean-up.
func TestStoresGoInPairs(t *testing.T) {
	t.Parallel()
	s := newService(t)
	second := s.siteAt(rig.Loopback(rig.FreePort(t)), limited)
	files2 := s.site(limited) + strings.ReplaceAll(second, s.files, s.files+"2")
	s.expectStartFails(s, files2, "one slots store goes with one files store", s.slots, s.files+"2")
	slots2 := s.site(limited) + strings.ReplaceAll(second, s.slots, s.slots+"2")
	s.expectStartFails(s, slots2, "one slots store goes with one files store", s.files, s.slots+"2")
	s.Start(s.site(limited) + second)
	s.expectServed(s.mustStore(1000, 1))
}

// expectStartFails expects Caddy to say all of these words and end.
func (s *service) expectStartFails(o *service, sites string, words ...string) {
	s.t.Helper()
	before := len(o.Logs())
	err := o.TryStart(sites)
	if err == nil {
		s.t.Errorf("Caddy started, want an error with %q", words)
		o.Stop()
		return
	}
	said := err.Error()
	for _, e := range o.Logs()[before:] {
		if e.Level == "error" {
			said += "\n" + e.Message
		}
	}
	for _, want := range words {
		if !strings.Contains(said, want) {
			s.t.Errorf("Caddy did not start and said, without %q: %s", want, said)
		}
	}
}

// validate runs caddy validate on the running configuration.
func (s *service) validate() (output string, err error) {
	s.t.Helper()
	file := filepath.Join(s.Dir, "validate.caddyfile")
	text := regexp.MustCompile(`output file .*`).ReplaceAllString(s.Caddyfile(s.site(limited)), "output stderr")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		s.t.Fatal(err)
	}
	out, err := s.Command("validate", "--config", file, "--adapter", "caddyfile").CombinedOutput()
	return string(out), err
}
