package page

import (
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/admin"
)

func TestVisible(t *testing.T) {
	for s, want := range map[string]string{
		"plain.txt":           "plain.txt",
		"zwei Wörter 漢字 عربى": "zwei Wörter 漢字 عربى",
		"👩\u200d👧":            "👩\u200d👧",
		"a\x00b\nc\x7f":       "a⟨U+0000⟩b⟨U+000A⟩c⟨U+007F⟩",
		"\u202egpj\u2069":     "⟨U+202E⟩gpj⟨U+2069⟩",
		"a\u00a0b\u2028":      "a⟨U+00A0⟩b⟨U+2028⟩",
		"\xff":                "\ufffd",
	} {
		if got := visible(s); got != want {
			t.Errorf("visible(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestBackLinkLeadsToAListOnly(t *testing.T) {
	for s, want := range map[string]string{
		"":                             "uploads",
		"uploads?q=a+b&state=waiting":  "uploads?q=a+b&state=waiting",
		"uploads?after=x&jid=a%40b.c":  "uploads?after=x&jid=a%40b.c",
		"https://evil.example/":        "uploads",
		"//evil.example/?q=x":          "uploads?q=x",
		"javascript:alert(1)":          "uploads",
		"purge?jid=a%40b.c&confirm=on": "uploads?jid=a%40b.c",
		"%zz":                          "uploads",
	} {
		if got := backLink(s); got != want {
			t.Errorf("backLink(%q) = %q, want %q", s, got, want)
		}
	}
}

func TestPlot(t *testing.T) {
	days := []admin.Day{{Day: "2026-01-01"}, {Day: "2026-01-02", Uploads: 1}, {Day: "2026-01-03", Uploads: 1000}, {Day: "2026-01-04", Uploads: 500}}
	p := newPlot("Uploads", days, func(d admin.Day) int64 { return d.Uploads }, func(n int64) string { return formatBytes(n) })
	if p.Sum != "1.5 KiB" || p.Peak != "1000 B" || p.First != "2026-01-01" || p.Last != "2026-01-04" {
		t.Errorf("the plot is %+v", p)
	}
	for i, want := range []float64{0, 1, 100, 50} {
		b := p.Bars[i]
		if b.Height != want || b.Y+b.Height != 100 || b.X < float64(i)*25 || b.X+b.Width > float64(i+1)*25 {
			t.Errorf("bar %d is %+v, want a height of %v", i, b, want)
		}
	}
	if empty := newPlot("Uploads", nil, nil, formatBytes); len(empty.Bars) != 0 {
		t.Errorf("without days there are bars: %v", empty.Bars)
	}
}

func TestLevel(t *testing.T) {
	for _, tc := range []struct {
		level
		percent int64
	}{
		{level{0, 100}, 0},
		{level{99, 1000}, 9},
		{level{100, 100}, 100},
		{level{300, 100}, 300},
		{level{1 << 62, 1<<63 - 1}, 50},
	} {
		if got := tc.Percent(); got != tc.percent {
			t.Errorf("%+v: %d %%, want %d", tc.level, got, tc.percent)
		}
	}
}

func TestFormatWait(t *testing.T) {
	for seconds, want := range map[int64]string{
		1:       "1 s",
		59:      "59 s",
		60:      "1 min 0 s",
		245:     "4 min 5 s",
		3599:    "59 min 59 s",
		3600:    "1 h 0 min",
		3601:    "1 h 1 min",
		7199:    "2 h 0 min",
		86399:   "24 h 0 min",
		86400:   "1 d 0 h",
		2591994: "30 d 0 h",
	} {
		if got := formatWait(seconds); got != want {
			t.Errorf("formatWait(%d) = %q, want %q", seconds, got, want)
		}
	}
}
