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
	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// Results that are no refusals, beside the codes of refusals.
const (
	resultGranted = "granted"
	resultStored  = "stored"
	resultSent    = "sent"
	// A download that was not sent to its end: the client went away, or the disk
	// could not be read.
	resultBrokenOff          = "broken_off"
	resultNotModified        = "not_modified"
	resultPreconditionFailed = "precondition_failed"
	resultNotSatisfiable     = "range_not_satisfiable"
)

// What all handlers together have done since the process began. It outlives
// configurations, so that counters go on over reloads; and no user is named.
var (
	slotResults = newResults("slots_total", "Requests for a slot, by what became of them: granted, or the code of the refusal.",
		resultGranted, codeBadRequest, codeBadMethod, codeSlotForbidden, codeNotAllowed, string(quota.FileTooLarge), codeNameTooLong,
		string(quota.TotalQuota), string(quota.RateQuota), codeStorageFull, codeInternal)
	slotDuration = prometheus.NewHistogram(prometheus.HistogramOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "slot_duration_seconds",
		Help:    "How long requests for a slot took, refused ones too.",
		Buckets: []float64{50e-6, 100e-6, 250e-6, 500e-6, 1e-3, 2.5e-3, 5e-3, 10e-3, 25e-3, 50e-3, 100e-3, 250e-3, 500e-3, 1},
	})

	uploadResults = newResults("uploads_total", "Uploads (PUT), by what became of them: stored, or the code of the refusal.",
		resultStored, codeUnknownSlot, codeSlotExpired, codeSlotUsed, codeSizeMismatch, codeTypeMismatch, codeClientGone, codeStalled,
		codeStorageFull, codeInternal)
	uploadBytes     = newCounter("upload_bytes_total", "Bytes of the uploads that were stored.")
	uploadsInFlight = prometheus.NewGauge(prometheus.GaugeOpts{
		Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: "uploads_in_flight",
		Help: "Uploads that are being received or written now.",
	})

	downloadResults = newResults("downloads_total", "Requests for a file (GET, not HEAD), by what became of them: sent, whole or in part; broken_off; not_modified; precondition_failed; range_not_satisfiable; or the code of the refusal.",
		resultSent, resultBrokenOff, resultNotModified, resultPreconditionFailed, resultNotSatisfiable, codeNotFound, codeElsewhere, codeInternal)
	downloadBytes = newCounter("download_bytes_total", "Bytes of files that were sent, counted at the end of each download.")

	cleanUpRemoved = newResultsBy("kind", "cleanup_removed_total", "What clean-ups removed: unused slots; files whose time had ended; discarded uploads that nobody went on with; orphaned files without a slot; slots with missing files.",
		"slots", "files", "discarded", "orphaned", "missing")
)

const metricsNamespace, metricsSubsystem = "caddy", "xmpp_upload"

// collectors are all that a registry needs.
var collectors = []prometheus.Collector{
	slotResults.vec, slotDuration, uploadResults.vec, uploadBytes, uploadsInFlight,
	downloadResults.vec, downloadBytes, cleanUpRemoved.vec,
	storesCollector{},
}

// registerMetrics has the metrics exported by the configuration that is being
// loaded. All its handlers do that.
func registerMetrics(ctx caddy.Context) error {
	for _, c := range collectors {
		err := ctx.GetMetricsRegistry().Register(c)
		if _, already := errors.AsType[prometheus.AlreadyRegisteredError](err); err != nil && !already {
			return err
		}
	}
	return nil
}

// results counts by what became of requests. All counters are there from the
// start, so that the first refusal of its kind is an increase.
type results struct {
	vec   *prometheus.CounterVec
	known map[string]prometheus.Counter
}

func newResults(name, help string, values ...string) results {
	return newResultsBy("result", name, help, values...)
}

func newResultsBy(label, name, help string, values ...string) results {
	vec := prometheus.NewCounterVec(prometheus.CounterOpts{Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help}, []string{label})
	known := make(map[string]prometheus.Counter, len(values))
	for _, v := range values {
		known[v] = vec.WithLabelValues(v)
	}
	return results{vec, known}
}

func newCounter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Namespace: metricsNamespace, Subsystem: metricsSubsystem, Name: name, Help: help})
}

func (r results) inc(value string) { r.add(value, 1) }

func (r results) add(value string, n int64) {
	c, ok := r.known[value]
	if !ok {
		c = r.vec.WithLabelValues(value)
	}
	c.Add(float64(n))
}

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
