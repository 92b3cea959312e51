package main

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that runs in a directory of its own.
type process struct {
	cmd *exec.Cmd
	dir string
}

// build builds the Caddy of this checkout, unless a binary was named.
func (b *bench) build() (err error) {
	if b.dir, err = filepath.Abs(b.dir); err != nil {
		return err
	}
	if b.caddy != "" {
		b.caddy, err = filepath.Abs(b.caddy)
		return err
	}
	b.caddy = filepath.Join(b.dir, "caddy")
	cmd := exec.Command("go", "build", "-o", b.caddy, "github.com/caddy-xmpp/xmpp-upload/cmd/caddy")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building caddy: %w\n%s", err, out)
	}
	return nil
}

// startCaddy starts Caddy with sites. %DIR% in them is the process's directory.
func (b *bench) startCaddy(sites string, addrs ...string) (*process, error) {
	return b.startCaddyWithAdmin("off", sites, addrs...)
}

// startCaddyWithAdmin is startCaddy with an admin endpoint.
func (b *bench) startCaddyWithAdmin(admin, sites string, addrs ...string) (*process, error) {
	global := fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tskip_install_trust\n\tauto_https disable_redirects\n\tdefault_bind 127.0.0.1\n}\n", admin)
	return b.start(addrs, global+sites, b.caddy, "run", "--config", "config", "--adapter", "caddyfile")
}

// startNginx starts nginx with a web root.
func (b *bench) startNginx(path, root, addr string) (*process, error) {
	conf := fmt.Sprintf(`daemon off; worker_processes auto; pid pid; error_log error.log;
events { worker_connections 4096; }
http {
	access_log off; sendfile on; keepalive_requests 1000000;
	client_body_temp_path a; proxy_temp_path b; fastcgi_temp_path c; uwsgi_temp_path d; scgi_temp_path e;
	server { listen %s; root %s; }
}
`, addr, root)
	return b.start([]string{addr}, conf, path, "-p", "%DIR%", "-c", "%DIR%/config", "-e", "error.log")
}

// startStandin starts this program as the stand-in of standin.go.
func (b *bench) startStandin(addr string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return b.start([]string{addr}, "", self, "standin", addr, "%DIR%")
}

// start starts a server in a fresh directory, %DIR%, that holds its config, and
// returns when it accepts connections.
func (b *bench) start(addrs []string, config, command string, args ...string) (*process, error) {
	dir, err := os.MkdirTemp(b.dir, "")
	if err != nil {
		return nil, err
	}
	config = strings.ReplaceAll(config, "%DIR%", dir)
	if err := os.WriteFile(filepath.Join(dir, "config"), []byte(config), 0o600); err != nil {
		return nil, err
	}
	output, err := os.Create(filepath.Join(dir, "output"))
	if err != nil {
		return nil, err
	}
	defer output.Close()
	for i := range args {
		args[i] = strings.ReplaceAll(args[i], "%DIR%", dir)
	}
	cmd := exec.Command(command, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, output, output
	cmd.Env = append(os.Environ(), "HOME="+dir, "XDG_CONFIG_HOME="+dir, "XDG_DATA_HOME="+dir)
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	p := &process{cmd, dir}
	b.procs = append(b.procs, p)
	for _, addr := range addrs {
		if err := await(addr); err != nil {
			text, _ := os.ReadFile(output.Name())
			return nil, fmt.Errorf("%s: %w\n%s", command, err, text)
		}
	}
	return p, nil
}

func await(addr string) error {
	for deadline := time.Now().Add(20 * time.Second); ; time.Sleep(10 * time.Millisecond) {
		c, err := net.Dial("tcp", addr)
		if err == nil {
			return c.Close()
		}
		if time.Now().After(deadline) {
			return err
		}
	}
}

// stop ends the servers of a row.
func (b *bench) stop() {
	for _, p := range b.procs {
		p.stop()
	}
	b.procs = nil
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait() // a second call only returns an error
}

// resident is the memory that the process holds, in MiB.
func (p *process) resident() (float64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(string(b), "VmRSS:")
	number, _, _ := strings.Cut(strings.TrimSpace(rest), " ")
	kib, err := strconv.ParseFloat(number, 64)
	return kib / 1024, err
}

// freeAddr returns an address at loopback that nobody listens on. If there is
// none, whoever listens there will say so.
func freeAddr() string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "localhost:0"
	}
	defer l.Close()
	return fmt.Sprintf("localhost:%d", l.Addr().(*net.TCPAddr).Port)
}
