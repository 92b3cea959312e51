package metrics_test

import (
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// Each refusal that is counted is one line, with its code; and no line tells who
// was refused, or what, unless debugging is on.
func TestEachRefusalIsOneLineThatNamesNobody(t *testing.T) {
	t.Parallel()
	c := newCounting(t, mounts)
	c.LogLevel = "INFO"
	reload(t, c.Caddy, mounts)
	noisy := len(c.Logs())
	before := scrape(t, c.Caddy)
	for _, s := range slices.Concat(slotSteps(), uploadSteps()) {
		if s.what != "max_size refused" { // is told, but not counted
			s.do(c)
		}
	}
	expectLines(t, c.Caddy, noisy, before)
	for _, e := range c.Logs()[noisy:] {
		if strings.Contains(e.Raw, "@example") || strings.Contains(e.Raw, "a.txt") {
			t.Errorf("the log names somebody: %s", e.Raw)
		}
	}
}

// expectLines expects as many lines of each code, after those known, as were
// counted. A client that is gone may be noticed late.
func expectLines(t *testing.T, c *rig.Caddy, known int, before samples) {
	t.Helper()
	rig.Await(t, "a line for each refusal", func() bool {
		counted := refusals(scrape(t, c).counted(before))
		return len(counted) > 15 && maps.Equal(counted, lines(t, c.Logs()[known:]))
	})
}

// refusals are counters by code.
func refusals(s samples) map[string]int {
	counted := make(map[string]int)
	for key, n := range s {
		_, label, _ := strings.Cut(key, `{result="`)
		if code := strings.TrimSuffix(label, `"}`); code != "" && code != "granted" && code != "stored" {
			counted[code] += int(n)
		}
	}
	return counted
}

// lines counts lines by code.
func lines(t *testing.T, log []rig.Entry) map[string]int {
	t.Helper()
	counted := make(map[string]int)
	for _, e := range log {
		var line struct{ Code string }
		if err := json.Unmarshal([]byte(e.Raw), &line); err != nil {
			t.Fatal(err)
		}
		if e.Message == "refused" {
			counted[line.Code]++
		}
	}
	return counted
}
