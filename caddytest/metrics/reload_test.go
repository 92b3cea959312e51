package metrics_test

import (
	"fmt"
	"io"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// names are all metrics of a Caddy in whose stores something is.
var names = []string{
	"cleanup_last_success_timestamp_seconds",
	"cleanup_removed_total",
	"download_bytes_total",
	"downloads_total",
	"free_bytes",
	"reserved_bytes",
	"slot_duration_seconds_count",
	"slot_duration_seconds_sum",
	"slots_total",
	"stored_bytes",
	"stored_files",
	"upload_bytes_total",
	"uploads_in_flight",
	"uploads_total",
}

// names returns the names without labels.
func (s samples) names() []string {
	found := make(map[string]bool)
	for key := range s {
		name, _, _ := strings.Cut(key, "{")
		found[name] = true
	}
	return slices.Sorted(maps.Keys(found))
}

// All counters are there before anything happened, so that the first event of
// its kind is an increase, and no label tells of a user.
func TestAllMetricsAreThereFromTheStart(t *testing.T) {
	t.Parallel()
	c := serve(t, plain)
	s := scrape(t, c)
	if !slices.Equal(s.names(), names) {
		t.Errorf("exported are %q, want %q", s.names(), names)
	}
	for _, key := range []string{
		`slots_total{result="rate_quota"}`, `uploads_total{result="stalled"}`, `downloads_total{result="broken_off"}`, `cleanup_removed_total{kind="orphaned"}`,
	} {
		if v, ok := s[key]; !ok || v != 0 {
			t.Errorf("%s is %v, %v, want 0", key, v, ok)
		}
	}
	upload(t, "http://"+c.Addr, "me@example.com", "secret.txt", 10)
	for key := range scrape(t, c) {
		label, _, _ := strings.Cut(key[strings.IndexByte(key+"{", '{'):], "=")
		if label != "" && label != "{result" && label != "{kind" && label != "{store" {
			t.Errorf("a label of %s", key)
		}
	}
}

// Counters go on over reloads: they are neither lost, nor reset, nor doubled,
// whatever comes and goes.
func TestCountersGoOnOverReloads(t *testing.T) {
	t.Parallel()
	c := serve(t, plain)
	base := "http://" + c.Addr
	two := strings.ReplaceAll(mounts, "min_free_space 1000TB", "min_free_space 1MiB")
	want := 0.0
	for i, config := range []string{plain, two, plain, "http://ADDR {\n}", two} {
		c.Global = []string{"", "metrics", "metrics {\n per_host\n}"}[i%3]
		reload(t, c, config)
		s := scrape(t, c)
		if !strings.Contains(config, "xmpp_upload") {
			if len(s) != 0 {
				t.Errorf("config %d has no handler, and exports %q", i, s.keys())
			}
			continue
		}
		upload(t, base, "me@example.com", "a.txt", 10)
		want++
		s = scrape(t, c)
		for _, key := range []string{`slots_total{result="granted"}`, "slot_duration_seconds_count", `uploads_total{result="stored"}`, "stored_files"} {
			if s[key] != want {
				t.Errorf("config %d: %s is %v, want %v", i, key, s[key], want)
			}
		}
	}
	before := scrape(t, c)
	if err := c.Reload("http://" + c.Addr + " {\n xmpp_upload {\n nonsense\n }\n}"); err == nil {
		t.Error("nonsense was loaded")
	}
	if grown := scrape(t, c).counted(before); len(grown) != 0 {
		t.Errorf("a failed reload counted %v", grown)
	}
}

// The directive exports the same as the admin endpoint, with and without the
// global option.
func TestMetricsOfASite(t *testing.T) {
	t.Parallel()
	for _, global := range []string{"", "metrics"} {
		t.Run("global:"+global, func(t *testing.T) {
			t.Parallel()
			c := rig.New(t)
			c.Global = global
			c.Start(fill(c, strings.Replace(plain, "{", "{\n metrics /metrics\n", 1)))
			upload(t, "http://"+c.Addr, "me@example.com", "a.txt", 10)
			site := parse(t, send(t, http.MethodGet, "http://"+c.Addr+"/metrics", ""))
			admin := scrape(t, c)
			if !slices.Equal(site.keys(), admin.keys()) || site["stored_bytes"] != 10 || admin["stored_bytes"] != 10 {
				t.Errorf("the site exports %v, the admin endpoint %v", site, admin)
			}
		})
	}
}

// Two sites over one store are one; another store adds.
func TestGaugesSumOverStores(t *testing.T) {
	t.Parallel()
	c := rig.New(t)
	other := rig.Loopback(rig.FreePort(t))
	handler := "xmpp_upload {\n allow *\n STORES\n }\n"
	c.Start(fill(c, "http://ADDR {\n handle_path /b/* {\n"+strings.ReplaceAll(handler, "STORES", "slots badger DIR/slots2\n files disk DIR/files2")+
		"}\n handle {\n"+handler+"}\n}\nhttp://"+other+" {\n"+handler+"}\n"))
	upload(t, "http://"+c.Addr, "me@example.com", "a.txt", 10)
	upload(t, "http://"+other, "me@example.com", "a.txt", 100)
	upload(t, "http://"+c.Addr+"/b", "me@example.com", "a.txt", 1000)
	slot(t, "http://"+c.Addr, "me@example.com", "a.txt", 20)
	slot(t, "http://"+c.Addr+"/b", "me@example.com", "a.txt", 300)
	s := scrape(t, c)
	for key, want := range (samples{"stored_files": 3, "stored_bytes": 1110, "reserved_bytes": 320}) {
		if s[key] != want {
			t.Errorf("%s is %v, want %v", key, s[key], want)
		}
	}
	for _, key := range []string{`free_bytes{store="slots"}`, `free_bytes{store="files"}`} {
		if s[key] < 1<<20 || s[key] > 1<<50 {
			t.Errorf("%s is %v", key, s[key])
		}
	}
	reload(t, c, "http://ADDR {\n"+handler+"}\n")
	if s := scrape(t, c); s["stored_bytes"] != 110 || s["reserved_bytes"] != 20 {
		t.Errorf("without the other store %v bytes are stored, %v reserved", s["stored_bytes"], s["reserved_bytes"])
	}
}

// A scrape during a reload gets what it asked for.
func TestScrapesDuringReloads(t *testing.T) {
	t.Parallel()
	sites := strings.Replace(plain, "{", "{\n metrics /metrics\n header Config N\n", 1)
	c := serve(t, sites)
	var scraped atomic.Int64
	var scrapers sync.WaitGroup
	stop := make(chan struct{})
	for range 2 {
		scrapers.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
			for {
				select {
				case <-stop:
					return
				default:
				}
				resp, err := client.Get("http://" + c.Addr + "/metrics")
				if err != nil {
					continue // a connection that waited in a closing listener
				}
				body, err := io.ReadAll(resp.Body)
				resp.Body.Close()
				if err != nil || resp.StatusCode != http.StatusOK || !strings.Contains(string(body), prefix+"stored_files ") {
					t.Errorf("%d, %v: %.300s", resp.StatusCode, err, body)
				}
				scraped.Add(1)
			}
		})
	}
	for i := 0; i < 10 || scraped.Load() < 50; i++ {
		reload(t, c, strings.Replace(sites, "Config N", fmt.Sprint("Config ", i), 1))
	}
	close(stop)
	scrapers.Wait()
}
