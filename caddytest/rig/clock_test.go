package rig_test

import (
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const day = 24 * time.Hour

// date is when Caddy answers, by its own clock.
func date(t *testing.T, c *rig.Caddy) time.Time {
	t.Helper()
	resp, err := rig.NewClient(t, "").Get(t.Context(), "http://"+c.Addr+"/", nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	at, err := http.ParseTime(resp.Header.Get("Date"))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// expectDate expects that Caddy's clock is set as the test believes.
func expectDate(t *testing.T, c *rig.Caddy, offset time.Duration) {
	t.Helper()
	before := time.Now()
	at := date(t, c).Add(-offset)
	if at.Before(before.Add(-2*time.Second)) || at.After(time.Now()) {
		t.Errorf("with the clock set by %s: %s, want about %s", offset, at.Add(offset), before.Add(offset))
	}
	if c.Clock() != offset || c.Now().Sub(before.Add(offset)).Abs() > rig.Patience {
		t.Errorf("the rig believes in %s and %s, want %s", c.Clock(), c.Now(), offset)
	}
}

func TestClockOfACaddy(t *testing.T) {
	c := rig.New(t)
	c.SetClock(0)
	c.Start(respond(c, "one"))
	expectDate(t, c, 0)
	since1970 := time.Since(time.Unix(0, 0)).Truncate(time.Second)
	for _, offset := range []time.Duration{time.Second, time.Hour, -day, 3650 * day, -since1970, 0, 2 * day} {
		c.SetClock(offset)
		expectDate(t, c, offset)
	}
	c.Restart()
	expectDate(t, c, 2*day)
	c.Kill()
	c.SetClock(-day)
	c.Restart()
	expectDate(t, c, -day)

	other := rig.New(t)
	other.Start(respond(other, "two"))
	expectDate(t, other, 0)
}

// What a process waits for, and how long it finds that it took, does not depend
// on its wall clock.
func TestClockLeavesMonotonicTimeAlone(t *testing.T) {
	c := rig.New(t)
	c.SetClock(0)
	c.Start(respond(c, "one"))
	for i, offset := range []time.Duration{day, -day, 3650 * day, 0} {
		c.SetClock(offset)
		expect(t, c, "one")
		rig.Await(t, "the access log", func() bool { return len(durations(t, c)) > i })
	}
	for _, d := range durations(t, c) {
		if d < 0 || d > rig.Patience.Seconds() {
			t.Errorf("a request took %f seconds", d)
		}
	}

	// A trace that lasts by the monotonic clock, while the other one moves.
	const lasts = time.Second
	begun, done := time.Now(), make(chan error, 1)
	go func() {
		resp, err := rig.NewClient(t, "").Get(t.Context(), "http://"+c.Admin+"/debug/pprof/trace?seconds=1", nil)
		if err == nil {
			_, err = io.Copy(io.Discard, resp.Body)
			resp.Body.Close()
		}
		done <- err
	}()
	var err error
	rig.Await(t, "a trace to end", func() bool {
		c.SetClock(time.Duration(time.Since(begun).Milliseconds()%7-3) * day)
		select {
		case err = <-done:
			return true
		default:
			return false
		}
	})
	if took := time.Since(begun); err != nil || took < lasts || took > rig.Patience/2 {
		t.Errorf("a trace of %s took %s, %v", lasts, took, err)
	}
}

// durations are those of all requests in the access log.
func durations(t *testing.T, c *rig.Caddy) (all []float64) {
	t.Helper()
	for _, e := range c.Logs() {
		_, rest, ok := strings.Cut(e.Raw, `"duration":`)
		if !ok {
			continue
		}
		number, _, _ := strings.Cut(rest, ",")
		d, err := strconv.ParseFloat(number, 64)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, d)
	}
	return all
}

func TestClockOfACommand(t *testing.T) {
	c := rig.New(t)
	c.SetClock(3650 * day)
	out, err := c.Command("adapt", "--config", "missing").CombinedOutput()
	_, rest, _ := strings.Cut(string(out), `"ts":`)
	number, _, _ := strings.Cut(rest, ",")
	seconds, _ := strconv.ParseFloat(number, 64)
	at := time.Unix(int64(seconds), 0)
	if ago := c.Now().Sub(at); err == nil || ago < 0 || ago > rig.Patience {
		t.Errorf("%v, %s: logged at %s, want ten years later", err, out, at)
	}
}
