package caddytest

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// stack is Caddy behind ejabberd, as in production but for TLS.
type stack struct {
	caddy    *rig.Caddy
	ejabberd *ejabberd
	client   *rig.Client // of the upload service, without XMPP
	base     string      // of the upload service
}

// config is the Caddyfile of a stack; %[1]s is the address, %[2]s the directory
// of the stores. The guarded mount shares the stores.
const config = `
http://%[1]s {
	log

	@guarded path /guarded/*
	@never header X-Never yes
	xmpp_upload @guarded {
		slot @never
		base_url http://%[1]s/guarded
		allow *
		slots badger %[2]s/slots
		files disk %[2]s/files
	}

	xmpp_upload {
		base_url http://%[1]s/share
		deny blocked@localhost
		allow small@localhost {
			max_file_size 512KiB
		}
		allow total@localhost {
			max_total_size 1MiB
		}
		allow hasty@localhost {
			uploads 2 per 1h
		}
		allow heavy@localhost {
			bytes 1MiB per 1h
		}
		allow alice@localhost jürgen@localhost d\27artagnan@localhost "~^user[0-9]+@localhost$"
		slots badger %[2]s/slots
		files disk %[2]s/files
	}
}
`

func newStack(t *testing.T) *stack {
	t.Helper()
	c := rig.New(t)
	c.Start(fmt.Sprintf(config, c.Addr, c.Dir))
	s := &stack{caddy: c, base: "http://" + c.Addr + "/share"}
	s.client = rig.NewClient(t, s.base)
	s.ejabberd = startEjabberd(t, s.base+"/slot/", "http://"+c.Addr+"/guarded/slot/")
	s.ejabberd.register("alice@localhost", `d\27artagnan@localhost`, "jürgen@localhost",
		"blocked@localhost", "stranger@localhost", "small@localhost", "total@localhost",
		"hasty@localhost", "heavy@localhost", "alice@guarded.localhost")
	for i := range crowd {
		s.ejabberd.register(member(i))
	}
	return s
}

func TestEjabberd(t *testing.T) {
	need(t, "ejabberd", "python3-slixmpp")
	s := newStack(t)
	t.Run("files of any name arrive under their true name", s.testNames)
	t.Run("content types are compared as clients need it", s.testTypes)
	t.Run("files of any size arrive whole", s.testSizes)
	t.Run("users of any name may upload", s.testUsers)
	t.Run("refusals reach the user as XMPP errors", s.testRefusals)
	t.Run("many users upload at once", s.testCrowd)
	t.Run("connections are used again", s.testKeepAlive)
	t.Run("go-sendxmpp sends files", s.testSendXMPP)
	t.Run("a file of 1 GiB leaves memory flat", s.testHugeFile)
	t.Run("a reload goes unnoticed", s.testReload)
	t.Run("a restart goes unnoticed", s.testRestart)
	t.Run("a kill goes unnoticed once Caddy is back", s.testKill)
	t.Run("uploads go with their account", s.testPurge)
}

func (s *stack) testKeepAlive(t *testing.T) {
	const uploads = 5
	var jobs []job
	for i := range uploads {
		jobs = append(jobs, job{Name: "again.txt", Size: 100, Seed: i})
	}
	s.expectStored(t, jobs, s.upload(t, "alice@localhost", jobs...))

	requests := func(match func(rig.Request) bool) (count int, connections map[string]bool) {
		connections = make(map[string]bool)
		for _, e := range s.caddy.Logs() {
			if e.Logger == "http.log.access" && strings.Contains(e.Request.URI, "again.txt") && match(e.Request) {
				count++
				connections[e.Request.RemotePort] = true
			}
		}
		return count, connections
	}
	for what, match := range map[string]func(rig.Request) bool{
		"slot requests of ejabberd": func(r rig.Request) bool { return strings.HasPrefix(r.URI, "/share/slot/") },
		"uploads of slixmpp":        func(r rig.Request) bool { return r.Method == http.MethodPut },
	} {
		rig.Await(t, "the access log of "+what, func() bool {
			count, _ := requests(match)
			return count == uploads
		})
		// The client may have to replace the connection that it begins with.
		if _, connections := requests(match); len(connections) > 2 {
			t.Errorf("%d %s took %d connections, want at most 2", uploads, what, len(connections))
		}
	}
}

func (s *stack) testReload(t *testing.T) {
	before := s.uploadOne(t)
	if err := s.caddy.Reload("# changed\n" + fmt.Sprintf(config, s.caddy.Addr, s.caddy.Dir)); err != nil {
		t.Fatal(err)
	}
	s.expectServed(t, before)
	s.expectServed(t, s.uploadOne(t))
}

func (s *stack) testRestart(t *testing.T) {
	before := s.uploadOne(t)
	s.caddy.Restart()
	s.expectServed(t, before)
	s.expectServed(t, s.uploadOne(t))
}

func (s *stack) testKill(t *testing.T) {
	before := s.uploadOne(t)
	s.caddy.Kill()
	refused := s.upload(t, "alice@localhost", job{Name: "while down.txt", Size: 10})[0]
	if !strings.HasSuffix(refused.Condition, "service-unavailable") {
		t.Errorf("without Caddy a slot request got %+v, want service-unavailable", refused)
	}
	s.caddy.Restart()
	s.expectServed(t, before)
	s.expectServed(t, s.uploadOne(t))
}

// uploadOne uploads a file and returns what became of it.
func (s *stack) uploadOne(t *testing.T) result {
	t.Helper()
	jobs := []job{{Name: "picture.jpg", Size: 100_000, Seed: 1}}
	results := s.upload(t, "alice@localhost", jobs...)
	s.expectStored(t, jobs, results)
	return results[0]
}

// expectStored checks that all jobs were uploaded and can be downloaded whole.
func (s *stack) expectStored(t *testing.T, jobs []job, results []result) {
	t.Helper()
	for i, r := range results {
		if r.Status != http.StatusCreated {
			t.Errorf("upload of %q: %+v, want 201", jobs[i].Name, r)
			continue
		}
		if d := s.expectServed(t, r); d.Size != jobs[i].Size {
			t.Errorf("download of %q has %d bytes, want %d", jobs[i].Name, d.Size, jobs[i].Size)
		}
	}
}

// expectServed checks that what was uploaded can be downloaded.
func (s *stack) expectServed(t *testing.T, r result) rig.Download {
	t.Helper()
	d, err := s.client.Download(t.Context(), r.Get)
	if err != nil {
		t.Errorf("download after the upload: %v", err)
	} else if d.SHA256 != r.SHA256 {
		t.Errorf("%s has other bytes than were uploaded", r.Get)
	}
	return d
}
