package xmppupload

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// cleanUps remembers when clean-ups succeeded, by the names of stores.
var cleanUps = struct {
	sync.Mutex
	succeeded map[string]time.Time
}{succeeded: make(map[string]time.Time)}

// countCleanUp counts a clean-up of the named store that ended at now.
func countCleanUp(name string, now time.Time, r cleanup.Report, err error) {
	cleanUpRemoved.add("slots", r.Slots)
	cleanUpRemoved.add("files", r.Files)
	cleanUpRemoved.add("discarded", r.Discarded)
	cleanUpRemoved.add("orphaned", r.Orphaned)
	cleanUpRemoved.add("missing", r.Missing)
	if err != nil {
		return
	}
	cleanUps.Lock()
	defer cleanUps.Unlock()
	cleanUps.succeeded[name] = now
}

// lastCleanUp returns when a clean-up succeeded last, in seconds since 1970; of
// several stores that for which it is longest ago; 0 if there is none yet.
func lastCleanUp(names []string) (seconds float64) {
	cleanUps.Lock()
	defer cleanUps.Unlock()
	for i, name := range names {
		at := 0.0
		if t, ok := cleanUps.succeeded[name]; ok {
			at = float64(t.UnixMilli()) / 1e3
		}
		if i == 0 || at < seconds {
			seconds = at
		}
	}
	return seconds
}

// storesCollector asks the stores in use when metrics are asked for.
type storesCollector struct{}

var (
	storedFilesDesc   = newDesc("stored_files", "Files that are stored, those included that expired and await clean-up.")
	storedBytesDesc   = newDesc("stored_bytes", "Bytes of the files that are stored.")
	reservedBytesDesc = newDesc("reserved_bytes", "Bytes that slots reserve whose upload is awaited or in flight.")
	freeBytesDesc     = newDesc("free_bytes", "Free bytes on the file system under the stores of slots and of files; of several the least.", "store")
	lastCleanUpDesc   = newDesc("cleanup_last_success_timestamp_seconds", "When a clean-up succeeded last, of several stores that for which it is longest ago; 0 before the first.")
)

func newDesc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(prometheus.BuildFQName(metricsNamespace, metricsSubsystem, name), help, labels, nil)
}

// Describe implements prometheus.Collector.
func (storesCollector) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{storedFilesDesc, storedBytesDesc, reservedBytesDesc, freeBytesDesc, lastCleanUpDesc} {
		ch <- d
	}
}

// Collect implements prometheus.Collector. What can't be told is left out: an
// alert can ask for what is absent, and other metrics do not suffer.
func (storesCollector) Collect(ch chan<- prometheus.Metric) {
	log := caddy.Log().Named("http.handlers.xmpp_upload")
	stores, err := admin.Open("")
	if errors.Is(err, admin.ErrNoHandler) {
		return
	}
	if err != nil {
		log.Error("opening the stores for metrics failed", zap.Error(err))
		return
	}
	defer func() {
		if err := stores.Release(); err != nil {
			log.Error("closing the stores failed", zap.Error(err))
		}
	}()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, labels...)
	}
	gauge(lastCleanUpDesc, lastCleanUp(stores.Names()))
	totals, free, err := stores.Measure(context.Background(), time.Now())
	if err != nil {
		log.Error("measuring the stores failed", zap.Error(err))
		return
	}
	gauge(storedFilesDesc, float64(totals.StoredFiles))
	gauge(storedBytesDesc, float64(totals.StoredBytes))
	gauge(reservedBytesDesc, float64(totals.WaitingBytes))
	if free.Slots != nil {
		gauge(freeBytesDesc, float64(*free.Slots), "slots")
	}
	if free.Files != nil {
		gauge(freeBytesDesc, float64(*free.Files), "files")
	}
}

// Interface guard
var _ prometheus.Collector = storesCollector{}
