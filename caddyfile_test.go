package xmppupload

import (
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strconv"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"pgregory.net/rapid"
)

func TestSizes(t *testing.T) {
	for in, want := range map[string]int64{
		"0": 0, "1": 1, "100b": 100, "1KB": 1000, "1kb": 1000, "1KiB": 1024, "10MiB": 10 << 20, "1.5GB": 1500000000,
		"0.5KiB": 512, "1.0": 1, "2TiB": 2 << 40, "5k": 5000, "007": 7,
		"9223372036854775807": math.MaxInt64, "7.5EiB": 15 << 59,
		"8EiB": -1, "9223372036854775808": -1, "10EB": -1, "99999999999999999999999999GB": -1,
		"1.3KiB": -1, "0.1": -1, "1.5b": -1,
		"": -1, "-1": -1, "+1": -1, "-5MB": -1, "1,5MB": -1, "1 MB": -1, "MB": -1, ".5MB": -1, "5.": -1, "1e3": -1,
		"0x10": -1, "5KP": -1, "5MiBs": -1, "٣": -1, "inf": -1, "NaN": -1, "1_000": -1, "{env.SIZE}": -1,
	} {
		got, err := parseSize(in)
		if want < 0 && err == nil || want >= 0 && (err != nil || got != want) {
			t.Errorf("parseSize(%q) = %d, %v, want %d", in, got, err, want)
		}
	}
}

func TestSizesAreExact(t *testing.T) {
	units := map[string]int64{"": 1, "KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12, "KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40}
	names := rapid.SampledFrom([]string{"", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB"})
	rapid.Check(t, func(t *rapid.T) {
		n, unit := rapid.Uint64().Draw(t, "n"), names.Draw(t, "unit")
		want := new(big.Int).Mul(new(big.Int).SetUint64(n), big.NewInt(units[unit]))
		got, err := parseSize(strconv.FormatUint(n, 10) + unit)
		if want.IsInt64() != (err == nil) || err == nil && got != want.Int64() {
			t.Errorf("%d%s = %d, %v, want %s", n, unit, got, err, want)
		}
	})
}

func FuzzSizesAndDurations(f *testing.F) {
	for _, s := range []string{"512KiB", "1.5MB", "8EiB", "-1", "1h30m", "30d", "0.5d", "d", "1dd", "106752d", "1e3d", "forever", "\xff", strings.Repeat("9", 400) + "d"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		if n, err := parseSize(s); err == nil {
			if again, err := parseSize(strconv.FormatInt(n, 10)); n < 0 || err != nil || again != n {
				t.Errorf("parseSize(%q) = %d, but of that %d, %v", s, n, again, err)
			}
		}
		if d, err := parseDuration(s); err == nil {
			if k, err := parseKeep(s); err != nil || int64(k) != int64(d) {
				t.Errorf("%q is a duration of %d, but keep %d, %v", s, d, k, err)
			}
		} else if k, err := parseKeep(s); err == nil && (s != "forever" || k != Forever) {
			t.Errorf("%q is no duration, but keep %d", s, k)
		}
		if n, err := parseNumber(s); err == nil && (n < 0 || strings.TrimLeft(s, "0") != strings.TrimLeft(strconv.FormatInt(n, 10), "0")) {
			t.Errorf("parseNumber(%q) = %d", s, n)
		}
	})
}

// parse parses a directive.
func parse(input string) (*Handler, error) {
	h, err := parseCaddyfile(httpcaddyfile.Helper{Dispenser: caddyfile.NewTestDispenser(input)})
	if err != nil {
		return nil, err
	}
	return h.(*Handler), nil
}

func FuzzDirective(f *testing.F) {
	for _, s := range []string{
		"allow example.com *.example.net \"~^guest[0-9]+@\" {\n\tmax_file_size 512KiB\n\tbytes 1MiB per 1h\n\tuploads 3 per 1h\n\tkeep forever\n}\ndeny a@b",
		"base_url https://a.example/b\ndownload_url http://[::1]/\nkeep 30d\nput_timeout 6m",
		"slots badger /a\nfiles disk /b\nmin_free_space 0\nmax_storage 1TB\ncleanup_interval 1m",
		"slot @a /b *", "allow", "keep {", "}", "allow {\n{\n}", "allow {env.A}", "slots", "bytes per 1h",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, block string) {
		block = "xmpp_upload {\n" + block + "\n}"
		if _, err := caddyfile.Tokenize([]byte(block), "Testfile"); err != nil {
			return // Caddy says so, before anybody else reads it
		}
		h, err := parse(block)
		if err != nil {
			if !strings.Contains(err.Error(), "Testfile:") {
				t.Errorf("the error of %q has no place: %v", block, err)
			}
			return
		}
		// What a Caddyfile may say, the JSON that it becomes may say too.
		config, err := json.Marshal(h)
		if err != nil {
			t.Fatal(err)
		}
		again := new(Handler)
		if err := caddy.StrictUnmarshalJSON(config, again); err != nil {
			t.Fatalf("%s: %v", config, err)
		}
		if err := again.configure(); err != nil && !strings.Contains(err.Error(), "{") {
			t.Errorf("%s: %v", config, err)
		}
	})
}

// Errors keep their causes, for those who look for them.
func TestErrorsAreWrapped(t *testing.T) {
	_, err := parse("xmpp_upload {\n\tmax_storage 0\n}")
	if !errors.Is(err, errNotPositive) {
		t.Errorf("%v", err)
	}
}

func TestALongListOfRulesIsReadQuickly(t *testing.T) {
	var b strings.Builder
	b.WriteString("xmpp_upload {\n")
	for i := range 20_000 {
		fmt.Fprintf(&b, "deny user%d@example.com\n", i)
	}
	b.WriteString("allow example.com\n}")
	h, err := parse(b.String())
	if err != nil {
		t.Fatal(err)
	}
	if err := h.configure(); err != nil {
		t.Fatal(err)
	}
	if rule, _, _ := h.acl.Match("user19999@example.com"); rule != 19_999 || !h.rules[rule].deny {
		t.Errorf("rule %d", rule)
	}
}
