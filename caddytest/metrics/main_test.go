// Package metrics_test holds what a running Caddy tells of itself, metrics,
// events and log lines, against what was really done with it. What needs a
// Prometheus skips without one, unless XMPP_UPLOAD_E2E=required is set: then it
// fails.
package metrics_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestMain(m *testing.M) { rig.Main(m) }

// fill replaces what a Caddyfile of these tests can't know: ADDR, DIR, and
// STORES, which are one pair for all handlers that name them.
func fill(c *rig.Caddy, config string) string {
	config = strings.ReplaceAll(config, "STORES", "slots badger DIR/slots\n files disk DIR/files")
	return strings.NewReplacer("ADDR", c.Addr, "DIR", c.Dir).Replace(config)
}

// plain is a site with one handler, in which everybody may upload.
const plain = `http://ADDR {
	xmpp_upload {
		allow *
		STORES
	}
}`

// serve starts a Caddy with the sites.
func serve(t *testing.T, sites string) *rig.Caddy {
	t.Helper()
	c := rig.New(t)
	c.Start(fill(c, sites))
	return c
}

// reload loads other sites.
func reload(t *testing.T, c *rig.Caddy, sites string) {
	t.Helper()
	if err := c.Reload(fill(c, sites)); err != nil {
		t.Fatal(err)
	}
}

// answer is a whole answer.
type answer struct {
	status int
	body   string
}

// send sends a request with a body and pairs of header fields.
func send(t *testing.T, method, target, body string, header ...string) answer {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, target, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{resp.StatusCode, string(b)}
}

// slot takes a slot at base and returns its URL.
func slot(t *testing.T, base, jid, name string, size int) string {
	t.Helper()
	q := url.Values{"jid": {jid}, "name": {name}, "size": {fmt.Sprint(size)}, "content_type": {"text/plain"}}
	a := send(t, http.MethodGet, base+"/slot/?"+q.Encode(), "")
	put, _, ok := strings.Cut(a.body, "\n")
	if a.status != http.StatusOK || !ok {
		t.Fatalf("slot: %d %q", a.status, a.body)
	}
	return put
}

// upload uploads so many bytes and returns the URL.
func upload(t *testing.T, base, jid, name string, size int) string {
	t.Helper()
	target := slot(t, base, jid, name, size)
	if a := send(t, http.MethodPut, target, strings.Repeat("x", size)); a.status != http.StatusCreated {
		t.Fatalf("PUT: %d %q", a.status, a.body)
	}
	return target
}

// samples are our metrics by name and labels, such as
// slots_total{result="granted"}, without the prefix that they share.
type samples map[string]float64

const prefix = "caddy_xmpp_upload_"

// scrape reads what the admin endpoint exports.
func scrape(t *testing.T, c *rig.Caddy) samples {
	t.Helper()
	return parse(t, send(t, http.MethodGet, "http://"+c.Admin+"/metrics", ""))
}

// parse is strict: no line may be wrong, of whomever.
func parse(t *testing.T, a answer) samples {
	t.Helper()
	if a.status != http.StatusOK {
		t.Fatalf("metrics: %d %s", a.status, a.body)
	}
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(strings.NewReader(a.body))
	if err != nil {
		t.Fatalf("metrics: %v", err)
	}
	s := make(samples)
	for full, family := range families {
		name, ours := strings.CutPrefix(full, prefix)
		if !ours {
			continue
		}
		for _, m := range family.GetMetric() {
			s.add(t, name, family.GetType(), m)
		}
	}
	return s
}

func (s samples) add(t *testing.T, name string, kind dto.MetricType, m *dto.Metric) {
	t.Helper()
	var labels []string
	for _, l := range m.GetLabel() {
		labels = append(labels, fmt.Sprintf("%s=%q", l.GetName(), l.GetValue()))
	}
	key := name
	if labels != nil {
		key += "{" + strings.Join(labels, ",") + "}"
	}
	total := strings.HasSuffix(name, "_total")
	switch {
	case kind == dto.MetricType_COUNTER && total:
		s[key] = m.GetCounter().GetValue()
	case kind == dto.MetricType_GAUGE && !total:
		s[key] = m.GetGauge().GetValue()
	case kind == dto.MetricType_HISTOGRAM && !total:
		s[key+"_count"] = float64(m.GetHistogram().GetSampleCount())
		s[key+"_sum"] = m.GetHistogram().GetSampleSum()
	default:
		t.Errorf("%s is a %s", key, kind)
	}
}

// counted returns by how much counters of requests have grown since before.
func (s samples) counted(before samples) samples {
	grown := make(samples)
	for key, value := range s {
		if (strings.Contains(key, "_total") || strings.HasSuffix(key, "_count")) && !strings.HasPrefix(key, "cleanup_") {
			if d := value - before[key]; d != 0 {
				grown[key] = d
			}
		}
	}
	return grown
}

// keys returns the names with labels, in order.
func (s samples) keys() []string { return slices.Sorted(maps.Keys(s)) }

// expectCounted expects that counters grow by what is wanted since before, and
// not otherwise. Some count a moment after the client has its answer.
func expectCounted(t *testing.T, c *rig.Caddy, before, want samples) {
	t.Helper()
	var got samples
	defer func() {
		if t.Failed() {
			t.Logf("counted %v, want %v", got, want)
		}
	}()
	rig.Await(t, "the counters", func() bool {
		got = scrape(t, c).counted(before)
		for key := range want {
			if got[key] < want[key] {
				return false
			}
		}
		return true
	})
	if !maps.Equal(got, want) {
		t.Errorf("counted %v, want %v", got, want)
	}
}
