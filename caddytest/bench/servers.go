package main

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server that runs in a directory of its own.
type process struct {
	cmd *exec.Cmd
	dir string
	// addr is its first address.
	addr string
	// admin is the address of Caddy's admin endpoint.
	admin string
}

// build builds the Caddy of this checkout, unless a binary was named.
func (b *bench) build(binary string) (err error) {
	if binary != "" {
		binary, err = filepath.Abs(binary)
		b.caddy = []string{binary}
		return err
	}
	binary = filepath.Join(b.dir, "caddy")
	b.caddy = []string{binary}
	cmd := exec.Command("go", "build", "-o", binary, "github.com/caddy-xmpp/xmpp-upload/cmd/caddy")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building caddy: %w\n%s", err, out)
	}
	return nil
}

// startCaddy starts Caddy with sites. %DIR% in them is the process's directory.
func (b *bench) startCaddy(sites string, addrs ...string) (*process, error) {
	return b.startCaddyIn(nil, sites, addrs...)
}

// startCaddyIn is startCaddy with a command that runs the command behind it.
func (b *bench) startCaddyIn(wrapper []string, sites string, addrs ...string) (*process, error) {
	admin := freeAddr()
	global := fmt.Sprintf("{\n\tadmin %s\n\tpersist_config off\n\tskip_install_trust\n\tauto_https disable_redirects\n\tdefault_bind 127.0.0.1\n}\n", admin)
	args := slices.Concat(wrapper, b.caddy, []string{"run", "--config", "config", "--adapter", "caddyfile"})
	p, err := b.start(addrs, global+sites, args[0], args[1:]...)
	if err != nil {
		return nil, err
	}
	p.admin = admin
	return p, await(admin)
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

// startStandin starts this program as a stand-in of standin.go.
func (b *bench) startStandin(kind, addr string) (*process, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	return b.start([]string{addr}, "", self, kind, addr, "%DIR%")
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
	p := &process{cmd: cmd, dir: dir, addr: addrs[0]}
	if err := b.launch(p); err != nil {
		return nil, err
	}
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

// lastWords returns the beginning of what a process has printed that died, and
// the end of what another has.
func (p *process) lastWords() string {
	const some = 1000
	text, _ := os.ReadFile(filepath.Join(p.dir, "output"))
	for _, word := range []string{"runtime: ", "fatal error", "panic: "} {
		if i := bytes.Index(text, []byte(word)); i >= 0 {
			return string(text[i:min(i+some, len(text))])
		}
	}
	return string(text[max(len(text)-some, 0):])
}

// launch starts a server, and notes that it must be ended.
func (b *bench) launch(p *process) error {
	b.mu.Lock()
	defer b.mu.Unlock()
	err := p.cmd.Start()
	if err == nil {
		b.procs = append(b.procs, p)
	}
	return err
}

// stop ends the servers of a row.
func (b *bench) stop() {
	for _, p := range b.procs {
		p.stop()
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.procs = nil
}

// kill ends the servers of a row at once, and keeps others from being started.
func (b *bench) kill() {
	b.mu.Lock()
	for _, p := range b.procs {
		_ = p.cmd.Process.Kill()
		_ = p.cmd.Wait()
	}
}

func (p *process) stop() {
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	_ = p.cmd.Wait() // a second call only returns an error
}

// resident is the memory that the process holds, in MiB.
func (p *process) resident() (float64, error) { return p.memory("VmRSS") }

// residents returns what is resident, and how much of it is not of files: that
// of files goes when others need the memory.
func (p *process) residents() (all, private float64, err error) {
	all, allErr := p.resident()
	private, err = p.memory("RssAnon")
	return all, private, errors.Join(allErr, err)
}

// memory is a line of the kernel's status of the process, in MiB.
func (p *process) memory(line string) (float64, error) {
	value := after(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid), line)
	kib, err := strconv.ParseFloat(strings.TrimSuffix(value, " kB"), 64)
	return kib / 1024, err
}

// flushDisk has all written that waits for it: what the last measurement left
// would slow this one.
func flushDisk() error { return exec.Command("sync").Run() }

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
