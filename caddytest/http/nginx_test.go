package http_test

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestBehindNginx(t *testing.T) {
	c := rig.New(t)
	dir := openDir(t)
	proxy := startNginx(t, dir, `
		location / {
			client_max_body_size 0;
			proxy_request_buffering off;
			proxy_http_version 1.1;
			proxy_set_header Host $http_host;
			proxy_set_header X-Forwarded-For $remote_addr;
			proxy_set_header X-Forwarded-Proto https;
			proxy_pass http://`+c.Addr+`;
		}`)
	c.Global = "servers {\n trusted_proxies static 127.0.0.0/8\n }\n"
	c.Start(fill(c, `
http://:PORT {
	handle /share/* {
		xmpp_upload {
			base_url `+proxy+`/share
			allow *
			STORES
		}
	}
	handle_path /open/* {
		@near remote_ip 127.0.0.1
		xmpp_upload {
			slot @near
			allow *
			STORES
		}
	}
}`))
	testBehind(t, "http://"+c.Addr, proxy)

	target := slot(t, proxy+"/open", "a.txt", 1)
	if want := strings.Replace(proxy, "http:", "https:", 1) + "/open/"; !strings.HasPrefix(target, want) {
		t.Errorf("URL %s, want %s", target, want)
	}
}

// Others serve the files: a Caddy, and an nginx that runs as another user of
// the machine.
func TestDownloadURL(t *testing.T) {
	caddySite := "http://" + rig.Loopback(rig.FreePort(t))
	for _, tc := range []struct {
		name, urlPath string
		server        func(dir string) (url string)
	}{
		{"Caddy", "", func(string) string { return caddySite }},
		{"nginx", "", func(dir string) string {
			return startNginx(t, dir, "root "+filepath.Join(dir, "files")+";")
		}},
		{"nginx, below a path", "/up/load", func(dir string) string {
			return startNginx(t, dir, "location /up/load/ {\n alias "+filepath.Join(dir, "files")+"/;\n}") + "/up/load"
		}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			c := rig.New(t)
			dir := openDir(t)
			files := tc.server(dir)
			c.Start(strings.ReplaceAll(fill(c, `
http://ADDR {
	xmpp_upload {
		download_url `+files+`/
		allow *
		slots badger DIR/slots
		files disk FILES
	}
}
`+caddySite+` {
	root FILES
	file_server
}`), "FILES", filepath.Join(dir, "files")))
			testDownloadURL(t, "http://"+c.Addr, files)
		})
	}
}

func testDownloadURL(t *testing.T, base, files string) {
	body := strings.Repeat("0123456789abcdef", 50_000)
	for _, name := range []string{"a.txt", "ü b?.png", "..", "no extension"} {
		q := query("jid", "me@example.com", "name", name, "size", fmt.Sprint(len(body)))
		put, get, _ := strings.Cut(send(t, "GET", base+"/slot/"+q, "").body, "\n")
		if !strings.HasPrefix(put, base+"/") || !slotURL.MatchString(put) {
			t.Fatalf("PUT URL %s", put)
		}
		if !strings.HasPrefix(get, files+"/") || strings.ContainsAny(strings.TrimPrefix(get, "http://"), "?#%~!") {
			t.Fatalf("GET URL %s", get)
		}
		expectStatus(t, send(t, "GET", get, ""), 404)
		expectStatus(t, send(t, "PUT", put, body), 201)
		if whole := send(t, "GET", get, ""); whole.status != 200 || whole.body != body {
			t.Errorf("%q: %d, %d bytes are served, want %d", name, whole.status, len(whole.body), len(body))
		}
		for _, method := range []string{"GET", "HEAD"} {
			a := send(t, method, put, "")
			expectStatus(t, a, 403)
			expectCORS(t, a)
		}
		expectStatus(t, send(t, "GET", base+"/"+strings.Repeat("0", 35)+"/a", ""), 403) // used or not is not told
		expectStatus(t, send(t, "OPTIONS", put, ""), 204)
		expectRefusal(t, send(t, "PUT", put, body[:100<<10]), 409)
	}
}

// openDir returns a temporary directory that all users of the machine can enter.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "xmpp-upload-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// startNginx runs nginx with what a server block holds, and returns its URL. As
// root it runs its workers as another user. It ends with the test.
func startNginx(t *testing.T, dir, server string) (url string) {
	t.Helper()
	path := rig.Program(t, "nginx", "nginx")
	addr := rig.Loopback(rig.FreePort(t))
	file := filepath.Join(dir, "nginx.conf")
	config := fmt.Sprintf("%sdaemon off;\nworker_processes 1;\npid %s/pid;\nevents {}\nhttp {\naccess_log off;\n%sserver {\nlisten %s;\n%s\n}\n}\n",
		otherUser(t), dir, nginxTemp(t, dir), addr, server)
	if err := os.WriteFile(file, []byte(config), 0o644); err != nil {
		t.Fatal(err)
	}
	log := filepath.Join(dir, "error.log")
	cmd := exec.Command(path, "-p", dir, "-c", file, "-e", log, "-g", "error_log "+log+";")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if b, _ := os.ReadFile(log); t.Failed() {
			t.Logf("nginx's errors:\n%s", b)
		}
	})
	rig.Await(t, "nginx", func() bool {
		conn, err := net.Dial("tcp", addr)
		return err == nil && conn.Close() == nil
	})
	return "http://" + addr
}

// otherUser lets nginx's workers run as the user that web servers run as.
func otherUser(t *testing.T) string {
	t.Helper()
	if os.Geteuid() != 0 {
		return ""
	}
	if _, err := user.Lookup("www-data"); err != nil {
		rig.Skip(t, "there is no user www-data for nginx")
	}
	return "user www-data;\n"
}

// nginxTemp keeps nginx's temporary files in dir.
func nginxTemp(t *testing.T, dir string) string {
	t.Helper()
	temp := filepath.Join(dir, "temp")
	if err := os.Mkdir(temp, 0o755); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for _, name := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "%s_temp_path %s/%s;\n", name, temp, name)
	}
	return b.String()
}
