package docs

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// Clients upload and download through nginx, but take no slots.
func TestREADMEBehindNginx(t *testing.T) {
	c := rig.New(t)
	server := first(t, "Behind another proxy", "nginx")
	nginx := startNginx(t, replace(server, "127.0.0.1:8080", c.Addr))
	global, sites := cutGlobal(t, first(t, "Behind another proxy", "caddyfile"))
	c.Global = global
	_, port, _ := net.SplitHostPort(c.Addr)
	c.Start(replace(sites, "https://upload.example.com", nginx, ":8080", ":"+port, "/var/lib/caddy", c.Dir))

	slot := roundTrip(t, "http://"+c.Addr, "video.mp4", 20<<20)
	wantPrefix(t, slot.Put, nginx+"/")
	const ask = "?jid=me@example.com&name=a.txt&size=1"
	for _, path := range []string{"/slot", "/slot/", "/max_size", "/max_size/"} {
		wantStatus(t, nginx+path+ask, 403)
	}

	t.Run("even if nginx passes the slot API on", func(t *testing.T) {
		location := regexp.MustCompile(`(?s)\tlocation ~ \^/\(slot.*?\n\t}\n`)
		if !location.MatchString(server) {
			t.Fatal("README's nginx does not keep the slot API to itself")
		}
		open := location.ReplaceAllString(server, "")
		wantStatus(t, startNginx(t, replace(open, "127.0.0.1:8080", c.Addr))+"/slot/"+ask, 403)
	})
}

// The files are fetched from another web server, which shows nothing else of
// their directory.
func TestREADMEDownloadsElsewhere(t *testing.T) {
	const heading = "Files from another web server"
	caddySite := "http://" + rig.Loopback(rig.FreePort(t))
	tests := map[string]func(t *testing.T, dir string) (url string){
		"Caddy": func(*testing.T, string) string { return caddySite },
		"nginx": func(t *testing.T, dir string) string {
			return startNginx(t, replace(first(t, heading, "nginx"), "/var/lib/caddy", dir))
		},
	}
	for name, server := range tests {
		t.Run(name, func(t *testing.T) {
			c := rig.New(t)
			public := "http://" + rig.Loopback(rig.FreePort(t))
			files := server(t, c.Dir)
			c.Start(replace(first(t, heading, "caddyfile"),
				"https://upload.example.com", public, "upload.example.com {", public+" {",
				"https://files.example.com", files, "files.example.com {", caddySite+" {",
				"127.0.0.1:8080", c.Addr, "/var/lib/caddy", c.Dir))

			slot := roundTrip(t, "http://"+c.Addr, "a b.txt", 1000)
			wantPrefix(t, slot.Get, files+"/")
			checkHeaders(t, slot.Get)
			wantStatus(t, slot.Put, 403)
			wantStatus(t, files+"/", 404)
		})
	}
}

func checkHeaders(t *testing.T, url string) {
	t.Helper()
	resp, err := rig.NewClient(t, url).Get(t.Context(), url, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	for key, want := range map[string]string{
		"X-Content-Type-Options":      "nosniff",
		"Access-Control-Allow-Origin": "*",
		"Content-Security-Policy":     "default-src 'none'; frame-ancestors 'none'; sandbox",
	} {
		if got := resp.Header.Get(key); got != want {
			t.Errorf("%s: %q, want %q", key, got, want)
		}
	}
}

// cutGlobal returns what is in the global options of a Caddyfile, and its
// sites. The rig has global options of its own.
func cutGlobal(t *testing.T, config string) (global, sites string) {
	t.Helper()
	global, sites, ok := strings.Cut(strings.TrimPrefix(config, "{\n"), "\n}\n")
	if !ok || !strings.HasPrefix(config, "{\n") {
		t.Fatal("the Caddyfile does not begin with global options")
	}
	return global, sites
}

// startNginx runs nginx with a server block of README, without TLS on a free
// port, and returns its URL. It ends with the test.
func startNginx(t *testing.T, server string) (url string) {
	t.Helper()
	path := rig.Program(t, "nginx", "nginx")
	addr := rig.Loopback(rig.FreePort(t))
	server = regexp.MustCompile(`\tssl_.*\n`).ReplaceAllString(server, "")
	server = replace(server, "listen 443 ssl;", "listen "+addr+";", "server_name", "# server_name")

	dir := t.TempDir()
	var temp strings.Builder
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&temp, "\t%s_temp_path %s;\n", name, filepath.Join(dir, name))
	}
	user := ""
	if os.Geteuid() == 0 {
		user = "user root;" // the temporary directories are root's alone
	}
	config := fmt.Sprintf("%s\ndaemon off;\npid %s/pid;\nerror_log %s/error.log;\nevents {}\nhttp {\n\taccess_log off;\n%s%s}\n",
		user, dir, dir, &temp, server)
	file := filepath.Join(dir, "nginx.conf")
	writeFile(t, file, config)

	cmd := exec.Command(path, "-p", dir, "-c", file, "-e", filepath.Join(dir, "error.log"))
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			log, _ := os.ReadFile(filepath.Join(dir, "error.log"))
			t.Logf("nginx's errors:\n%s", log)
		}
	})
	rig.Await(t, "nginx", func() bool {
		conn, err := net.Dial("tcp", addr)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return "http://" + addr
}
