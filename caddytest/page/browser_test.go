package page_test

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// browser is a Chromium with one tab. Any name ending in .example is 127.0.0.1
// to it.
type browser struct {
	t   *testing.T
	ctx context.Context
}

// open starts a browser that ends with the test.
func open(t *testing.T) *browser {
	t.Helper()
	options := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(chromium(t)),
		chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true),
		chromedp.Flag("disable-component-update", true),
		chromedp.Flag("host-resolver-rules", "MAP *.example 127.0.0.1"),
	)
	ctx, cancel := context.WithTimeout(t.Context(), 2*rig.Patience)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancel)
	ctx, cancel = chromedp.NewContext(ctx)
	t.Cleanup(cancel)
	b := &browser{t, ctx}
	b.do(chromedp.Navigate("about:blank"))
	return b
}

func (b *browser) do(steps ...chromedp.Action[chromedp.Void]) {
	b.t.Helper()
	if err := chromedp.Do(b.ctx, steps...); err != nil {
		b.t.Fatal(err)
	}
}

// goTo opens a page, and returns its status.
func (b *browser) goTo(url string) int64 {
	b.t.Helper()
	return b.load(chromedp.Navigate(url))
}

// load waits for the page that the steps lead to, and returns its status.
func (b *browser) load(steps ...chromedp.Action[chromedp.Void]) int64 {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, rig.Patience/2)
	defer cancel()
	resp, err := chromedp.RunResponse(ctx, steps...)
	if err != nil {
		b.t.Fatalf("no page came: %v", err)
	}
	return resp.Status
}

// follow clicks a link or a button that leads to a page.
func (b *browser) follow(css string) int64 {
	b.t.Helper()
	return b.load(chromedp.Click(chromedp.CSS(css), chromedp.NodeReady))
}

// followText clicks the first link or button with this text.
func (b *browser) followText(text string) int64 {
	b.t.Helper()
	found := eval[bool](b, `(() => {
		for (const e of document.querySelectorAll("main a, main button")) {
			e.removeAttribute("data-test");
		}
		for (const e of document.querySelectorAll("main a, main button")) {
			if (e.textContent.trim() === `+quote(text)+`) { e.setAttribute("data-test", "here"); return true; }
		}
		return false;
	})()`)
	if !found {
		b.t.Fatalf("there is nothing to click that says %q in:\n%s", text, b.text("main"))
	}
	return b.follow("[data-test=here]")
}

// press types keys, to whatever has the focus.
func (b *browser) press(keys ...string) {
	b.t.Helper()
	for _, key := range keys {
		b.do(chromedp.KeyEvent(key))
	}
}

// tabTo moves the focus on until it is at the link or button with this text.
func (b *browser) tabTo(text string) {
	b.t.Helper()
	for range 100 {
		b.press(kb.Tab)
		if eval[string](b, `document.activeElement.textContent.trim()`) == text {
			return
		}
	}
	b.t.Fatalf("the tabulator does not lead to %q", text)
}

// text returns the text of the first element, as it is seen.
func (b *browser) text(css string) string {
	b.t.Helper()
	return eval[string](b, `document.querySelector(`+quote(css)+`)?.innerText ?? "(none)"`)
}

// texts returns the texts of all elements, as they are in the document.
func (b *browser) texts(css string) []string {
	b.t.Helper()
	return eval[[]string](b, `[...document.querySelectorAll(`+quote(css)+`)].map(e => e.textContent.trim())`)
}

func eval[T any](b *browser, script string) T {
	b.t.Helper()
	v, err := chromedp.Run(b.ctx, chromedp.Evaluate[T](script))
	if err != nil {
		b.t.Fatal(err)
	}
	return v
}

// disableScripts makes a browser of those who have JavaScript switched off.
func (b *browser) disableScripts() {
	b.t.Helper()
	if _, err := chromedp.Call(b.ctx, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true}); err != nil {
		b.t.Fatal(err)
	}
}

// quote returns s as a literal of JavaScript.
func quote(s string) string {
	b, _ := json.Marshal(s) // of a string there is always one
	return string(b)
}
