package page_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// everyPage returns the URLs of one page of each kind, with long names on them.
func everyPage(t *testing.T) []string {
	t.Helper()
	uploads := many("alice@example.com", 60)
	uploads = append(uploads,
		rig.Stored{JID: strings.Repeat("w", 200) + "@example.com", Name: strings.Repeat("W", 255), Type: "text/" + strings.Repeat("w", 200), Size: 5000, At: time.Now()},
		rig.Stored{JID: "bob@example.com", Name: "waiting.txt", Size: 123, At: time.Now(), Unused: true},
	)
	s := serve(t, "", uploads...)
	long := s.slots[60]
	pages := []string{
		"", "uploads", "uploads?state=expired&q=nothing", "uploads?jid=" + long.JID, "upload?id=" + long.ID, "delete?id=" + long.ID,
		"users", "user?jid=alice@example.com", "user?jid=" + long.JID, "purge?jid=" + long.JID, "nothing", "uploads?from=yesterday",
	}
	for i, path := range pages {
		pages[i] = s.URL + path
	}
	return pages
}

func TestEveryPageIsAccessible(t *testing.T) {
	pages := everyPage(t)
	b := open(t)
	titles := make(map[string]string)
	for _, page := range pages {
		b.goTo(page)
		b.openDetails()
		for _, fault := range eval[[]string](b, faults) {
			t.Errorf("%s: %s", page, fault)
		}
		title := eval[string](b, "document.title")
		if before, ok := titles[title]; ok && !strings.Contains(page, "uploads") {
			t.Errorf("%s has the title of %s: %s", page, before, title)
		}
		titles[title] = page
		for _, scheme := range []string{"light", "dark"} {
			b.prefer(scheme)
			for _, fault := range eval[[]string](b, lowContrast) {
				t.Errorf("%s, %s: %s", page, scheme, fault)
			}
		}
	}
}

func (b *browser) openDetails() {
	b.t.Helper()
	eval[int](b, `document.querySelectorAll("details").forEach(d => d.open = true), 0`)
}

// prefer sets the colour scheme that the visitor likes better.
func (b *browser) prefer(scheme string) {
	b.t.Helper()
	_, err := chromedp.Call(b.ctx, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
		Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
	})
	if err != nil {
		b.t.Fatal(err)
	}
}

// faults lists what a page lacks for those who hear it or use a keyboard.
const faults = `(() => {
	const bad = [];
	const all = css => [...document.querySelectorAll(css)];
	const text = e => e.textContent.trim() || e.getAttribute("aria-label") || "";
	if (document.documentElement.lang !== "en") bad.push("no language");
	if (all("h1").length !== 1) bad.push(all("h1").length + " headings of level 1");
	if (all("main").length !== 1 || all("nav[aria-label]").length < 1) bad.push("landmarks are missing");
	if (all(".skip")[0]?.getAttribute("href") !== "#main" || !document.getElementById("main")) bad.push("no skip link");
	for (const e of all("a, button, summary")) if (!text(e)) bad.push("nameless: " + e.outerHTML);
	for (const e of all("input:not([type=hidden]), select, textarea")) if (!e.labels.length || !text(e.labels[0])) bad.push("no label: " + e.outerHTML);
	for (const e of all("meter, svg")) if (!e.getAttribute("aria-label")) bad.push("no label: " + e.outerHTML.slice(0, 100));
	for (const e of all("th")) if (!e.scope) bad.push("no scope: " + e.outerHTML);
	for (const e of all("table")) if (!e.caption?.textContent) bad.push("a table without caption");
	for (const e of all("time")) if (isNaN(Date.parse(e.dateTime))) bad.push("not a time: " + e.outerHTML);
	for (const e of all("[id]")) if (all("[id='" + e.id + "']").length > 1) bad.push("twice: #" + e.id);
	for (const e of all("[tabindex]")) if (e.tabIndex > 0) bad.push("order of focus: " + e.outerHTML.slice(0, 100));
	let level = 1;
	for (const h of all("h1, h2, h3")) { const l = +h.tagName[1]; if (l > level + 1) bad.push("a level is left out before " + text(h)); level = l; }
	return bad;
})()`

// lowContrast lists texts with less contrast than WCAG's level AA wants.
const lowContrast = `(() => {
	const rgb = c => (c.match(/[\d.]+/g) || []).map(Number);
	const channel = v => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4;
	const luminance = c => { const [r, g, b] = rgb(c); return 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b); };
	const back = e => { for (; e; e = e.parentElement) { const c = rgb(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0) return getComputedStyle(e).backgroundColor; } return "rgb(255, 255, 255)"; };
	const bad = new Map();
	let seen = 0;
	const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
	for (let n; n = walker.nextNode();) {
		if (!n.data.trim() || !n.parentElement.checkVisibility()) continue;
		seen++;
		const fg = getComputedStyle(n.parentElement).color, bg = back(n.parentElement);
		const [a, b] = [luminance(fg), luminance(bg)].sort((x, y) => y - x);
		const ratio = (a + 0.05) / (b + 0.05);
		if (ratio < 4.5) bad.set(fg + bg, "contrast " + ratio.toFixed(2) + " of " + JSON.stringify(n.data.trim().slice(0, 40)) + ", " + fg + " on " + bg);
	}
	if (seen < 5) bad.set("", "only " + seen + " texts are seen");
	return [...bad.values()];
})()`

func TestEveryPageFitsAPhone(t *testing.T) {
	pages := everyPage(t)
	b := open(t)
	b.do(chromedp.EmulateViewport(360, 740, chromedp.EmulateMobile))
	for _, page := range pages {
		b.goTo(page)
		b.openDetails()
		if width := eval[int](b, "document.documentElement.scrollWidth"); width > 360 {
			t.Errorf("%s is %d wide", page, width)
		}
		for _, fault := range eval[[]string](b, tooWide) {
			t.Errorf("%s: %s", page, fault)
		}
	}
}

// tooWide lists what stands out of the screen, and what is too small to touch.
const tooWide = `(() => {
	const bad = [];
	for (const e of document.querySelectorAll("main *")) {
		const r = e.getBoundingClientRect();
		if (r.width > 1 && r.right > 360.5) bad.push(e.tagName + " ends at " + r.right + ": " + e.outerHTML.slice(0, 80));
	}
	for (const e of document.querySelectorAll("button, .button, input:not([type=hidden]), select, header nav a")) {
		const r = e.getBoundingClientRect();
		if (r.height < 40) bad.push(e.outerHTML.slice(0, 80) + " is " + r.height + " high");
	}
	return bad;
})()`

func TestKeyboardIsEnough(t *testing.T) {
	s := serve(t, "", many("alice@example.com", 3)...)
	b := open(t)
	b.goTo(s.URL)
	b.press(kb.Tab)
	if got := eval[string](b, `document.activeElement.textContent`); got != "Skip to the content" {
		t.Errorf("the focus begins at %q", got)
	}
	if !eval[bool](b, `document.activeElement.getBoundingClientRect().top >= 0`) {
		t.Error("the skip link has the focus and is not seen")
	}
	b.press(kb.Enter)
	b.tabTo("Clean up now")
	if got := eval[string](b, `getComputedStyle(document.activeElement).outlineStyle`); got != "solid" {
		t.Errorf("the focus is shown by an outline that is %q", got)
	}
	b.goTo(s.URL)
	for _, text := range []string{"Uploads", "photo-002.jpg", "Delete…", "Delete", "Back to the list"} {
		b.tabTo(text)
		b.load(chromedp.KeyEvent(kb.Enter))
	}
	if got, want := b.texts("tbody a.file"), []string{"photo-001.jpg", "photo-000.jpg"}; !slices.Equal(got, want) {
		t.Errorf("after that the list is %q, want %q", got, want)
	}
	for range 3 { // skip link and links of the header come first
		b.press(kb.Tab)
	}
	for eval[string](b, `document.activeElement.id`) != "q" {
		b.press(kb.Tab)
	}
	b.press("000")
	b.load(chromedp.KeyEvent(kb.Enter))
	b.expectRows(fmt.Sprintf("photo-%03d.jpg", 0))
}
