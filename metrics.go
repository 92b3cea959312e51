package xmppupload

import (
	"errors"

	"github.com/caddyserver/caddy/v2"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/caddy-xmpp/xmpp-upload/quota"
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
