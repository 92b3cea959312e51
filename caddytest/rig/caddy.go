package rig

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// Patience is how long the rig waits for what should take a moment. It is
// generous, since only a failing test waits for its end.
const Patience = time.Minute

// Caddy is one Caddy process after another, with the same directory and
// addresses. Its methods belong to the test's goroutine.
type Caddy struct {
	// Dir is a temporary directory of its own: Caddy's home, its logs, and
	// the place for the stores of a test.
	Dir string
	// Addr is a free address for the sites, such as 127.0.0.1:23456.
	Addr string
	// Admin is the address of the admin endpoint.
	Admin string
	// Global is added to the global options of the next Start or Reload.
	Global string
	// LogLevel is what it logs from the next Start or Reload on: all, unless a
	// test says otherwise.
	LogLevel string

	t     testing.TB
	sites string
	proc  *process
	admin http.Client
}

// process is one run of Caddy.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
	err  error         // how it ended
}

// New returns a Caddy that is not started yet. At the end of the test it is
// killed if it still runs, and its logs are shown if the test failed.
func New(t testing.TB) *Caddy {
	t.Helper()
	c := &Caddy{
		Dir:      t.TempDir(),
		Addr:     Loopback(FreePort(t)),
		Admin:    Loopback(FreePort(t)),
		LogLevel: "DEBUG",
		t:        t,
		admin: http.Client{
			Timeout:   Patience,
			Transport: &http.Transport{DisableKeepAlives: true},
		},
	}
	t.Cleanup(c.cleanup)
	return c
}

// Start starts Caddy with the sites of a Caddyfile and returns when they are
// served. The rig adds the global options: addresses on loopback only, nothing
// stored outside of Dir, all logs as JSON in a file.
func (c *Caddy) Start(sites string) {
	c.t.Helper()
	if err := c.TryStart(sites); err != nil {
		c.t.Fatal(err)
	}
}

// TryStart is Start, but returns what Caddy said if it does not start.
func (c *Caddy) TryStart(sites string) error {
	c.t.Helper()
	if c.proc != nil {
		c.t.Fatal("caddy is running already")
	}
	c.sites = sites
	file := filepath.Join(c.Dir, "Caddyfile")
	if err := os.WriteFile(file, []byte(c.Caddyfile(sites)), 0o600); err != nil {
		return err
	}
	p, err := c.launch("run", "--config", file, "--adapter", "caddyfile")
	if err != nil {
		return err
	}
	c.proc = p
	return c.awaitReady()
}

// Caddyfile returns the whole Caddyfile that Start would use for sites.
func (c *Caddy) Caddyfile(sites string) string {
	return fmt.Sprintf(`{
	admin %s
	persist_config off
	default_bind 127.0.0.1
	auto_https disable_redirects
	skip_install_trust
	log default {
		output file %s
		format json
		level %s
	}
	%s
}

%s
`, c.Admin, c.logFile(), c.LogLevel, c.Global, sites)
}

// Command returns the command "caddy args…" in the environment of this Caddy,
// not yet started. It is killed at the end of the test if it still runs.
func (c *Caddy) Command(args ...string) *exec.Cmd {
	c.t.Helper()
	self, err := os.Executable()
	if err != nil {
		c.t.Fatal(err)
	}
	cmd := exec.CommandContext(c.t.Context(), self, args...)
	cmd.Dir = c.Dir
	cmd.Env = append(os.Environ(),
		envCaddy+"=1",
		"GORACE=atexit_sleep_ms=0 "+os.Getenv("GORACE"), // or else each one sleeps a second at its end
		"HOME="+c.Dir,
		"XDG_CONFIG_HOME="+filepath.Join(c.Dir, "config"),
		"XDG_DATA_HOME="+filepath.Join(c.Dir, "data"),
	)
	return cmd
}

func (c *Caddy) launch(args ...string) (*process, error) {
	output, err := os.OpenFile(c.outputFile(), os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return nil, err
	}
	defer output.Close()

	cmd := c.Command(args...)
	cmd.Env = append(cmd.Env, envLifeline+"=1")
	cmd.Stdout, cmd.Stderr = output, output
	if _, err := cmd.StdinPipe(); err != nil { // held open until the process ends
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("starting caddy: %w", err)
	}
	p := &process{cmd: cmd, done: make(chan struct{})}
	go func() {
		p.err = cmd.Wait()
		close(p.done)
	}()
	return p, nil
}

// awaitReady returns when the admin endpoint shows a config: it holds requests
// back while one is being loaded.
func (c *Caddy) awaitReady() error {
	deadline := time.Now().Add(Patience)
	for time.Now().Before(deadline) {
		select {
		case <-c.proc.done:
			err := c.proc.err
			c.proc = nil
			return fmt.Errorf("caddy did not start: %w\n%s", err, c.Output())
		case <-time.After(10 * time.Millisecond):
		}
		if config, err := c.AdminGet("/config/"); err == nil && strings.HasPrefix(config, "{") {
			return nil
		}
	}
	return fmt.Errorf("caddy was not ready within %s", Patience)
}

// Reload loads other sites through the admin endpoint. An error is Caddy's own
// and says why it goes on with what it had.
func (c *Caddy) Reload(sites string) error {
	c.t.Helper()
	resp, err := c.admin.Post("http://"+c.Admin+"/load", "text/caddyfile", strings.NewReader(c.Caddyfile(sites)))
	if err != nil {
		return fmt.Errorf("reloading: %w", err)
	}
	defer c.settle()
	if _, err := readAnswer(resp); err != nil {
		return fmt.Errorf("reloading: %w", err)
	}
	c.sites = sites
	return nil
}

func readAnswer(resp *http.Response) (string, error) {
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return "", err
	}
	if resp.StatusCode != http.StatusOK {
		return "", fmt.Errorf("%s: %s", resp.Status, body)
	}
	return string(body), nil
}

// Stop asks Caddy to end (SIGTERM), and waits for it. It must end well.
func (c *Caddy) Stop() {
	c.t.Helper()
	if err := c.end(syscall.SIGTERM); err != nil {
		c.t.Fatalf("caddy did not stop well: %v", err)
	}
}

// Kill ends Caddy at once (SIGKILL).
func (c *Caddy) Kill() {
	c.t.Helper()
	var killed *exec.ExitError
	if err := c.end(syscall.SIGKILL); !errors.As(err, &killed) {
		c.t.Fatalf("caddy was not killed: %v", err)
	}
}

// Restart starts Caddy anew with the sites it had, after stopping it if it
// still runs.
func (c *Caddy) Restart() {
	c.t.Helper()
	if c.proc != nil {
		c.Stop()
	}
	c.Start(c.sites)
}

// PID is the process ID of the running Caddy.
func (c *Caddy) PID() int {
	c.t.Helper()
	if c.proc == nil {
		c.t.Fatal("caddy is not running")
	}
	return c.proc.cmd.Process.Pid
}

// end signals the process and returns how it ended.
func (c *Caddy) end(signal os.Signal) error {
	c.t.Helper()
	p := c.proc
	if p == nil {
		c.t.Fatal("caddy is not running")
	}
	c.proc = nil
	if err := p.cmd.Process.Signal(signal); err != nil && !errors.Is(err, os.ErrProcessDone) {
		return err
	}
	select {
	case <-p.done:
		return p.err
	case <-time.After(Patience):
		_ = p.cmd.Process.Kill()
		<-p.done
		return fmt.Errorf("still running %s after the signal", Patience)
	}
}

func (c *Caddy) cleanup() {
	if c.proc != nil {
		_ = c.proc.cmd.Process.Kill()
		<-c.proc.done
	}
	c.checkOutput()
	if c.t.Failed() {
		c.t.Logf("end of caddy's output:\n%s", tail(c.Output()))
		c.t.Logf("end of caddy's log:\n%s", tail(c.log()))
	}
}
