package page_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// hostile are names that want to be more than text, and what is to be seen of
// them.
var hostile = []struct{ name, seen string }{
	{`<script>window.pwned = 1</script>.html`, ""},
	{`"><img src=x onerror="window.pwned = 1">`, ""},
	{`' onmouseover='window.pwned = 1' x='`, ""},
	{`</title></textarea><svg onload=window.pwned=1>`, ""},
	{`{{.Req.Host}}{{env "HOME"}}{{mustFail}}.txt`, ""},
	{`[[.Req.Host]] {% x %} ${1+1}`, ""},
	{`javascript:window.pwned=1`, ""},
	{`&lt;b&gt; &amp;`, ""},
	{`?jid=x&after=y#z %00%2e%2e%2f`, ""},
	{"photo\u202egpj.exe", "photo⟨U+202E⟩gpj.exe"},
	{"a\u2066b\x00c\nd\ufeffe", "a⟨U+2066⟩b⟨U+0000⟩c⟨U+000A⟩d⟨U+FEFF⟩e"},
	{"👩\u200d👧 عربى", ""},
	{strings.Repeat("W", 255), ""},
	{strings.Repeat("漢", 85), ""},
}

func TestHostileNamesStayText(t *testing.T) {
	var uploads []rig.Stored
	for i, h := range hostile {
		uploads = append(uploads, rig.Stored{JID: "{{mustfail}}[[?%00=#;]]@example.com", Name: h.name, Type: h.name, Size: 1, At: time.Now().Add(time.Duration(i-60) * time.Second)})
	}
	uploads = append(uploads, rig.Stored{JID: `"><script>window.pwned=1</script>@example.com`, Name: "x", Size: 1, At: time.Now()})
	// Handlers around the page, too, must not run what they see.
	s := serve(t, "encode\n templates\n"+mounted, uploads...)
	b := open(t)

	b.goTo(s.URL + "uploads")
	var want []string
	for _, h := range slices.Backward(hostile) {
		if h.seen == "" {
			h.seen = h.name
		}
		want = append(want, h.seen)
	}
	want = append([]string{"x"}, want...)
	if got := b.texts("tbody a.file"); !slices.Equal(got, want) {
		t.Fatalf("the list is\n%q, want\n%q", got, want)
	}
	if got := b.texts("tbody a.user"); got[0] != uploads[len(uploads)-1].JID || got[1] != uploads[0].JID {
		t.Errorf("users are %q", got[:2])
	}
	for i := range want {
		b.goTo(s.URL + "uploads")
		if status := b.follow(fmt.Sprintf("tbody tr:nth-child(%d) a.file", i+1)); status != http.StatusOK {
			t.Errorf("the page of %q has status %d", want[i], status)
		}
		if got := b.texts("h1"); !slices.Equal(got, want[i:i+1]) {
			t.Errorf("the page of %q says %q", want[i], got)
		}
		b.harmless()
		b.followText("Delete…")
		b.harmless()
		b.followText("Keep it")
		b.followText("Back to the list")
		if got := b.texts("tbody a.file"); len(got) != len(want) {
			t.Errorf("the way back from %q leads to a list of %d", want[i], len(got))
		}
		b.harmless()
	}

	b.follow("tbody tr:nth-child(2) a.user")
	if got := b.texts("h1"); got[0] != uploads[0].JID {
		t.Errorf("the user's page is of %q", got)
	}
	b.harmless()
	b.goTo(s.URL + "uploads")
	b.do(chromedp.SetValue(chromedp.ID("q"), hostile[1].name))
	b.followText("Search")
	b.expectRows(hostile[1].name)
	if got := eval[string](b, `document.querySelector("#q").value`); got != hostile[1].name {
		t.Errorf("the form shows %q", got)
	}
	b.harmless()
}

// harmless checks that nothing ran, and that nothing but our elements is there.
func (b *browser) harmless() {
	b.t.Helper()
	if eval[bool](b, `"pwned" in window`) {
		b.t.Fatalf("a script ran on %s", eval[string](b, "location.href"))
	}
	if n := eval[int](b, `document.querySelectorAll("script, img, iframe, [onerror], [onmouseover], [onload]").length`); n != 0 {
		b.t.Fatalf("%d foreign elements are on %s", n, eval[string](b, "location.href"))
	}
}
