package main

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"time"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	_ "github.com/caddy-xmpp/xmpp-upload"
)

// profiler measures each row once more, to see where the time goes: with
// profiles of Caddy's admin endpoint, and then with strace, if there is one. A
// nil profiler does nothing.
type profiler struct {
	dir     string
	seconds int
	self    string // this program, which is Caddy too
	row     string // that is being profiled
	look    func(p *process, name string, f func() error) error
}

func newProfiler(dir string, d time.Duration) (*profiler, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return nil, err
	}
	return &profiler{dir: dir, seconds: max(int(d.Seconds()), 1), self: self}, os.MkdirAll(dir, 0o755)
}

// caddy is the command of a Caddy that notes who waits for what.
func (pr *profiler) caddy() []string { return []string{pr.self, "profiled"} }

func profiledCaddy() {
	runtime.SetBlockProfileRate(int(10 * time.Microsecond))
	os.Args = append(os.Args[:1], os.Args[2:]...)
	caddycmd.Main()
}

// profile measures the row of this name twice for its profiles.
func (pr *profiler) profile(row string, measure func() ([]float64, error)) error {
	if pr == nil {
		return nil
	}
	pr.row, pr.look = row, pr.sample
	_, err := measure()
	if _, missing := exec.LookPath("strace"); missing == nil && err == nil {
		pr.look = pr.trace
		_, err = measure()
	}
	pr.look = nil
	return err
}

// watch calls f, the part of a row's measurement that counts, in which p is at
// work; phase tells several parts of a row apart.
func (pr *profiler) watch(p *process, phase string, f func() error) error {
	if pr == nil || pr.look == nil || p == nil {
		return f()
	}
	name := pr.row
	if phase != "" {
		name += "-" + phase
	}
	return pr.look(p, filepath.Join(pr.dir, name), f)
}

// sample takes profiles of CPU, allocations and blocking.
func (pr *profiler) sample(p *process, name string, f func() error) error {
	cpu := make(chan error, 1)
	before := errors.Join(fetch(p, "allocs", name+".allocs.before"), fetch(p, "block", name+".block.before"))
	go func() { cpu <- fetch(p, fmt.Sprintf("profile?seconds=%d", pr.seconds), name+".cpu") }()
	err := f()
	after := errors.Join(fetch(p, "allocs", name+".allocs"), fetch(p, "block", name+".block"))
	return errors.Join(err, before, after, <-cpu,
		pr.top(name, "cpu"),
		pr.top(name, "allocs", "-sample_index=alloc_space", "-base", name+".allocs.before"),
		// Else goroutines that wait for work would hide the requests that wait.
		pr.top(name, "block", "-focus=ServeHTTP", "-base", name+".block.before"))
}

// fetch stores a profile that Caddy's admin endpoint offers.
func fetch(p *process, profile, file string) error {
	resp, err := http.Get("http://" + p.admin + "/debug/pprof/" + profile)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	return os.WriteFile(file, b, 0o644)
}

// top writes what takes most in a profile as text: by itself, and with what it
// calls.
func (pr *profiler) top(name, kind string, args ...string) error {
	var text []byte
	for _, order := range [][]string{{"-flat", "-nodecount=15"}, {"-cum", "-nodecount=40"}} {
		args := slices.Concat([]string{"tool", "pprof", "-top"}, order, args, []string{pr.self, name + "." + kind})
		cmd := exec.Command("go", args...)
		var stderr strings.Builder
		cmd.Stderr = &stderr
		out, err := cmd.Output()
		if err != nil {
			return fmt.Errorf("go tool pprof: %w\n%s", err, stderr.String())
		}
		text = append(text, out...)
	}
	return os.WriteFile(name+"."+kind+".txt", text, 0o644)
}

// trace counts system calls.
func (pr *profiler) trace(p *process, name string, f func() error) error {
	cmd := exec.Command("strace", "-c", "-f", "-o", name+".syscalls.txt", "-p", fmt.Sprint(p.cmd.Process.Pid))
	if err := cmd.Start(); err != nil {
		return err
	}
	attached := p.untilTraced()
	err := f()
	stop := cmd.Process.Signal(syscall.SIGINT)
	_ = cmd.Wait() // its status is that of the interrupt
	return errors.Join(attached, err, stop)
}

// untilTraced waits until strace has come.
func (p *process) untilTraced() error {
	status := fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid)
	for deadline := time.Now().Add(10 * time.Second); after(status, "TracerPid") == "0"; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			return errors.New("strace does not attach itself")
		}
	}
	return nil
}
