package metrics_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// need skips the test if a command of Debian's package prometheus is missing.
func need(t *testing.T, command string) {
	t.Helper()
	rig.Program(t, command, "prometheus")
}

func TestAlertsFireWhenTheyShould(t *testing.T) {
	t.Parallel()
	need(t, "promtool")
	for _, args := range [][]string{{"check", "rules", "../../docs/alerts.yml"}, {"test", "rules", "testdata/alerts_test.yml"}} {
		out, err := exec.CommandContext(t.Context(), "promtool", args...).CombinedOutput()
		if err != nil {
			t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
		}
	}
}

// prometheus is a server that scrapes a Caddy and evaluates our alerts.
type prometheus struct {
	t    *testing.T
	addr string
}

func startPrometheus(t *testing.T, c *rig.Caddy) *prometheus {
	t.Helper()
	need(t, "prometheus")
	dir := t.TempDir()
	alerts, err := filepath.Abs("../../docs/alerts.yml")
	if err != nil {
		t.Fatal(err)
	}
	config := fmt.Sprintf(`
global:
  scrape_interval: 200ms
  scrape_timeout: 200ms
  evaluation_interval: 200ms
rule_files: [%q]
scrape_configs:
  - job_name: caddy
    static_configs: [{targets: [%q]}]
`, alerts, c.Admin)
	file := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	p := &prometheus{t, rig.Loopback(rig.FreePort(t))}
	cmd := exec.CommandContext(t.Context(), "prometheus", "--config.file="+file, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+p.addr)
	var log strings.Builder
	cmd.Stderr = &log
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("prometheus: %s", log.String())
		}
	})
	return p
}

// get reads the data of an answer of its HTTP API.
func (p *prometheus) get(path string, data any) error {
	resp, err := http.Get("http://" + p.addr + "/api/v1/" + path)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	a := struct {
		Status, Error string
		Data          any
	}{Data: data}
	if err := json.NewDecoder(resp.Body).Decode(&a); err != nil {
		return fmt.Errorf("%s: %w", resp.Status, err)
	}
	if a.Status != "success" {
		return errors.New(a.Error)
	}
	return nil
}

// series returns how many series the expression has now.
func (p *prometheus) series(expr string) (int, error) {
	var data struct{ Result []any }
	err := p.get("query?query="+url.QueryEscape(expr), &data)
	return len(data.Result), err
}

// metric finds the metrics in an expression.
var metric = regexp.MustCompile(`caddy_xmpp_upload_\w+`)

// A real Prometheus scrapes a running server, and finds all that the dashboard
// and the alerts ask for.
func TestPrometheusFindsWhatDashboardAndAlertsUse(t *testing.T) {
	t.Parallel()
	c := serve(t, plain)
	p := startPrometheus(t, c)
	base := "http://" + c.Addr
	for scrapes := range 3 { // a rate needs two different values
		send(t, http.MethodGet, base+"/slot/", "")
		send(t, http.MethodGet, upload(t, base, "me@example.com", "a.txt", 100), "")
		rig.Await(t, "a scrape", func() bool {
			n, err := p.series(`count_over_time(up{job="caddy"}[1h]) > ` + fmt.Sprint(2*scrapes))
			return err == nil && n == 1
		})
	}

	exprs := dashboardExprs(t)
	for _, r := range p.awaitRules() {
		if r.Health != "ok" || r.LastError != "" {
			t.Errorf("alert %s is %s: %s", r.Name, r.Health, r.LastError)
		}
		if r.State == "firing" {
			t.Errorf("alert %s fires, and all is well", r.Name)
		}
		exprs = append(exprs, r.Query)
	}
	used := make(map[string]bool)
	for _, expr := range exprs {
		if _, err := p.series(expr); err != nil {
			t.Errorf("%s: %v", expr, err)
		}
		for _, name := range metric.FindAllString(expr, -1) {
			used[name] = true
		}
	}
	for name := range used {
		if n, err := p.series(name); err != nil || n == 0 {
			t.Errorf("%s is used, and there are %d series of it, %v", name, n, err)
		}
	}
	if len(used) < len(names) {
		t.Errorf("only %d metrics are used, of %d", len(used), len(names))
	}
	for _, expr := range dashboardExprs(t) {
		if n, err := p.series(expr); n == 0 {
			t.Errorf("nothing is shown for %s, %v", expr, err)
		}
	}
}

// rule is an alert as Prometheus sees it.
type rule struct {
	Name, Query, Health, State, LastError string
}

// awaitRules returns the alerts once all have been evaluated.
func (p *prometheus) awaitRules() (rules []rule) {
	p.t.Helper()
	rig.Await(p.t, "the alerts to be evaluated", func() bool {
		var data struct{ Groups []struct{ Rules []rule } }
		if err := p.get("rules", &data); err != nil || len(data.Groups) == 0 {
			return false
		}
		rules = data.Groups[0].Rules
		for _, r := range rules {
			if r.Health == "unknown" {
				return false
			}
		}
		return len(rules) > 0
	})
	return rules
}
