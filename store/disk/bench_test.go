package disk

import (
	"crypto/rand"
	"math"
	"strconv"
	"sync"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// BenchmarkPut measures uploads from Create to Publish, in parallel: durable as
// they are, by each way to flush a group, and without any flush.
func BenchmarkPut(b *testing.B) {
	for _, load := range []struct {
		name     string
		size     int
		parallel int
	}{
		{"100KiBx1", 100 << 10, 1},
		{"100KiBx8", 100 << 10, 8},
		{"10MiBx4", 10 << 20, 4},
	} {
		b.Run(load.name, func(b *testing.B) {
			for _, way := range []struct {
				name  string
				group func(*flusher) func([]*flushJob)
			}{
				{"durable", nil},
				{"each", func(f *flusher) func([]*flushJob) { return f.flushEach }},
				{"all", func(f *flusher) func([]*flushJob) { return f.flushAll }},
				{"unsynced", func(*flusher) func([]*flushJob) { return func([]*flushJob) {} }},
			} {
				b.Run(way.name, func(b *testing.B) {
					f, err := Open(b.TempDir(), false)
					if err != nil {
						b.Fatal(err)
					}
					defer f.Close()
					makeShards(b, f)
					if way.group != nil {
						f.flusher.flushGroup = way.group(f.flusher)
					}
					benchmarkPut(b, f, load.size, load.parallel, way.name == "unsynced")
				})
			}
		})
	}
}

// makeShards makes what a server has made after its first uploads.
func makeShards(b *testing.B, f *Files) {
	const alphabet = "0123456789abcdefghijklmnopqrstuv"
	for _, c := range alphabet {
		for _, d := range alphabet {
			if err := f.root.Mkdir(string(c)+string(d), 0o755); err != nil {
				b.Fatal(err)
			}
		}
	}
}

func benchmarkPut(b *testing.B, f *Files, size, parallel int, unsynced bool) {
	body := make([]byte, size)
	_, _ = rand.Read(body)
	b.SetBytes(int64(size))
	jobs := make(chan store.FileRef)
	var wg sync.WaitGroup
	b.ResetTimer()
	for range parallel {
		wg.Go(func() {
			for ref := range jobs {
				if err := put(b, f, ref, body, unsynced); err != nil {
					b.Error(err)
				}
			}
		})
	}
	for i := range b.N {
		jobs <- store.FileRef{ID: store.NewID(time.Now()), Name: strconv.Itoa(i), Attempt: store.NewAttempt()}
	}
	close(jobs)
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "files/s")
}

// put writes as a server reads a body: 128 KiB at a time.
func put(b *testing.B, f *Files, ref store.FileRef, body []byte, unsynced bool) error {
	u, err := f.create(b.Context(), ref, int64(len(body)))
	if err != nil {
		return err
	}
	defer u.Abort()
	if unsynced {
		u.started = math.MaxInt64
	}
	for len(body) > 0 {
		n := min(len(body), 128<<10)
		if _, err := u.Write(body[:n]); err != nil {
			return err
		}
		body = body[n:]
	}
	if unsynced {
		u.started = 0
	}
	if err := u.Commit(b.Context()); err != nil {
		return err
	}
	return u.Publish(b.Context())
}
