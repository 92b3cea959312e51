package xmppupload

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// What can't be brought about from outside: a store that fails.
func TestStoresInTroubleAreCounted(t *testing.T) {
	h := provisioned(t, everybody)
	stored := newSlot(t, h, "size=5")
	expectStatus(t, serve(t, h, "PUT", stored, "hello"), http.StatusCreated)
	waiting := newSlot(t, h, "size=5")
	slots, files := h.slotsModule, h.filesModule
	closed := otherSlots{slots, func(store.Slots) (store.Slots, error) { return nil, errStore }}
	failing := otherSlots{slots, func(s store.Slots) (store.Slots, error) { return troubledSlots{Slots: s, reserve: errStore}, nil }}
	for _, tc := range []struct {
		name           string
		slots          store.SlotsModule
		files          store.FilesModule
		method, target string
		counter        prometheus.Counter
	}{
		{"slot, store closed", closed, files, "GET", askSlot, slotResults.known[codeInternal]},
		{"slot, store fails", failing, files, "GET", askSlot, slotResults.known[codeInternal]},
		{"upload, store closed", closed, files, "PUT", waiting, uploadResults.known[codeInternal]},
		{"upload, disk fails", slots, otherFiles{files, func(f store.Files) (store.Files, error) {
			return troubledFiles{Files: f, at: "write", err: errStore}, nil
		}}, "PUT", waiting, uploadResults.known[codeInternal]},
		{"upload, disk full", slots, otherFiles{files, func(f store.Files) (store.Files, error) {
			return troubledFiles{Files: f, at: "create", err: store.ErrNoSpace}, nil
		}}, "PUT", waiting, uploadResults.known[codeStorageFull]},
		{"download, store closed", closed, files, "GET", stored, downloadResults.known[codeInternal]},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h.slotsModule, h.filesModule = tc.slots, tc.files
			defer func() { h.slotsModule, h.filesModule = slots, files }()
			before, all := value(t, tc.counter), countAll(t)
			if w := serve(t, h, tc.method, tc.target, "hello"); w.Code < 500 {
				t.Errorf("answered %d %q", w.Code, w.Body)
			}
			if after := value(t, tc.counter); after != before+1 || countAll(t) != all+1 {
				t.Errorf("counted %v, and %v in all", after-before, countAll(t)-all)
			}
			if n := value(t, uploadsInFlight); n != 0 {
				t.Errorf("%v uploads are in flight", n)
			}
		})
	}
}

// countAll sums up all results.
func countAll(t *testing.T) (sum float64) {
	for _, r := range []results{slotResults, uploadResults, downloadResults} {
		for _, c := range r.known {
			sum += value(t, c)
		}
	}
	return sum
}

func value(t *testing.T, metric prometheus.Metric) float64 {
	t.Helper()
	var m dto.Metric
	if err := metric.Write(&m); err != nil {
		t.Fatal(err)
	}
	return m.GetCounter().GetValue() + m.GetGauge().GetValue()
}

// collected counts what a collector tells.
func collected(c prometheus.Collector) int {
	ch := make(chan prometheus.Metric, 100)
	c.Collect(ch)
	return len(ch)
}

// A code without a counter would be missed until it is counted for the first time.
func TestEveryCodeHasACounter(t *testing.T) {
	for name, r := range map[string]results{"slots": slotResults, "uploads": uploadResults, "downloads": downloadResults, "clean-up": cleanUpRemoved} {
		if n := collected(r.vec); n != len(r.known) {
			t.Errorf("%s: %d counters are exported, %d are known", name, n, len(r.known))
		}
	}
}

func TestMetricsAreNamedAndDescribedWell(t *testing.T) {
	provisioned(t, everybody)
	registry := prometheus.NewPedanticRegistry()
	for _, c := range collectors {
		registry.MustRegister(c)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var text strings.Builder
	for _, f := range families {
		if _, err := expfmt.MetricFamilyToText(&text, f); err != nil {
			t.Fatal(err)
		}
	}
	problems, err := promlint.New(strings.NewReader(text.String())).Lint()
	if err != nil || len(problems) > 0 || len(families) != 14-1 { // a histogram is one family
		t.Errorf("%d families, problems %v, %v", len(families), problems, err)
	}
}

// Two handlers of a configuration share its registry.
func TestMetricsAreRegisteredOnce(t *testing.T) {
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	for range 2 {
		if err := registerMetrics(ctx); err != nil {
			t.Error(err)
		}
	}
	conflicting, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	defer cancel()
	conflicting.GetMetricsRegistry().MustRegister(prometheus.NewCounter(prometheus.CounterOpts{Name: "caddy_xmpp_upload_upload_bytes_total", Help: "Another one."}))
	if err := registerMetrics(conflicting); err == nil {
		t.Error("two metrics have one name")
	}
}

// The stores that can't be asked are left out; others, and the counters, stay.
func TestGaugesWithoutStores(t *testing.T) {
	if n := collected(storesCollector{}); n != 0 {
		t.Errorf("%d gauges without a store", n)
	}
	h := provisioned(t, everybody)
	if n := collected(storesCollector{}); n != 6 {
		t.Errorf("%d gauges, want 6", n)
	}
	h.unregister()
	if n := collected(storesCollector{}); n != 0 {
		t.Errorf("%d gauges without a store", n)
	}
}

// One store that is not cleaned up is not hidden by others that are.
func TestLastCleanUpIsThatOfTheStoreLongestAgo(t *testing.T) {
	at := time.UnixMilli(1_700_000_000_500)
	fail := errors.New("a clean-up failed")
	last := func() float64 { return lastCleanUp([]string{"a", "b"}) }
	for _, step := range []struct {
		store string
		after time.Duration
		err   error
		want  float64
	}{
		{"a", 0, nil, 0},
		{"b", time.Second, fail, 0},
		{"b", 2 * time.Second, nil, 1_700_000_000.5},
		{"a", 3 * time.Second, fail, 1_700_000_000.5},
		{"c", 3 * time.Second, nil, 1_700_000_000.5},
		{"a", 4 * time.Second, nil, 1_700_000_002.5},
	} {
		countCleanUp(step.store, at.Add(step.after), cleanup.Report{}, step.err)
		if got := last(); got != step.want {
			t.Errorf("after %+v: %v", step, got)
		}
	}
}

// What counting adds to each slot.
func BenchmarkCountSlot(b *testing.B) {
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			begun := time.Now()
			slotResults.inc(resultGranted)
			slotDuration.Observe(time.Since(begun).Seconds())
		}
	})
}
