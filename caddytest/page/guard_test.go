package page_test

import (
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/network"
	"github.com/chromedp/chromedp"
	"golang.org/x/crypto/bcrypt"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// one is an upload to protect.
func one() rig.Stored {
	return rig.Stored{JID: "alice@example.com", Name: "secret.txt", Size: 1, At: time.Now().Add(-time.Minute)}
}

func TestBrowserUnderAForeignNameSeesNothing(t *testing.T) {
	s := serve(t, "", one())
	b := open(t)
	for host, want := range map[string]int64{
		"127.0.0.1": http.StatusOK, "localhost": http.StatusOK,
		"evil.example": http.StatusForbidden, // whose name was made to point here
	} {
		for _, path := range []string{"", "uploads", "style.css"} {
			if status := b.goTo("http://" + net.JoinHostPort(host, port(s.Addr)) + "/operator/" + path); status != want {
				t.Errorf("%s/%s is answered by %d, want %d", host, path, status, want)
			}
			if text := b.text("body"); want == http.StatusForbidden && (strings.Contains(text, "secret") || !strings.Contains(text, "ssh -L")) {
				t.Errorf("%s/%s: want a remedy, and nothing else:\n%s", host, path, text)
			}
		}
	}
}

func TestProxyOnThisMachineShowsNothing(t *testing.T) {
	s := serve(t, "", one())
	proxy := rig.New(t)
	proxy.Start(fmt.Sprintf(`http://:%s {
		reverse_proxy %s {
			header_up Host {upstream_hostport}
		}
	}`, port(proxy.Addr), s.Addr))
	b := open(t)
	if status := b.goTo("http://" + proxy.Addr + "/operator/uploads"); status != http.StatusForbidden {
		t.Errorf("through a proxy the page answers %d", status)
	}
}

// guarded is the page on a public site, behind a login.
const guarded = `basic_auth {
		admin %s
	}
	@admin vars {http.auth.user.id} admin
	handle_path /operator* {
		xmpp_upload_admin {
			allow @admin
		}
	}
	`

func TestGuardedPageOnAPublicSite(t *testing.T) {
	s := serve(t, fmt.Sprintf(guarded, hash(t, "s3cret")), one())
	b := open(t)
	// Without TLS the browser tells of the origin of a form, and of nothing else.
	site := "upload.example:" + port(s.Addr) + "/operator/"
	for _, login := range []string{"", "admin:wrong@"} {
		var refused *rig.StatusError
		_, err := rig.NewClient(t, "").Get(t.Context(), "http://"+login+s.Addr+"/operator/uploads", nil)
		if !errors.As(err, &refused) || refused.Code != http.StatusUnauthorized {
			t.Errorf("with login %q it answers %v", login, err)
		}
	}
	if status := b.goTo("http://admin:s3cret@" + site + "uploads"); status != http.StatusOK {
		t.Fatalf("with the password it answers %d", status)
	}
	b.expectRows("secret.txt")
	b.follow("tbody a.file")
	b.followText("Delete…")
	if status := b.followText("Delete"); status != http.StatusOK {
		t.Errorf("deletion is answered by %d: %s", status, b.text("main"))
	}
	b.followText("Back to the list")
	b.expectRows()
}

func TestPageStaysClosedWithoutTheLogin(t *testing.T) {
	_, rest, _ := strings.Cut(guarded, "}\n")
	s := serve(t, rest, one())
	var refused *rig.StatusError
	_, err := rig.NewClient(t, "").Get(t.Context(), "http://admin:s3cret@"+s.Addr+"/operator/uploads", nil)
	if !errors.As(err, &refused) || refused.Code != http.StatusForbidden {
		t.Errorf("where nobody asks for a login, the page answers %v", err)
	}
}

func TestOtherSitesChangeNothing(t *testing.T) {
	s := serve(t, "", one())
	client := rig.NewClient(t, "http://"+s.Addr)
	other := rig.New(t)
	other.Start(fmt.Sprintf(`http://:%s {
		header Content-Type text/html
		respond <<HTML
			<!DOCTYPE html><title>A nice game</title>
			<form method="post" action="%sdelete"><input type="hidden" name="id" value="%s"><button>Win</button></form>
			<form method="post" action="%spurge"><input type="hidden" name="jid" value="alice@example.com"><button>Purge</button></form>
			HTML
	}`, port(other.Addr), s.URL, s.slots[0].ID, s.URL))
	b := open(t)
	for _, host := range []string{"game.example", "127.0.0.1"} { // another site, and another port of the same
		for _, form := range []string{"form:nth-of-type(1) button", "form:nth-of-type(2) button"} {
			b.goTo("http://" + net.JoinHostPort(host, port(other.Addr)))
			if status := b.follow(form); status != http.StatusForbidden {
				t.Errorf("a form of %s is answered by %d:\n%s", host, status, b.text("main"))
			}
			if got := b.text("[role=alert]"); !strings.Contains(got, "Nothing was changed") {
				t.Errorf("the refusal says %q", got)
			}
		}
	}
	if _, err := client.Download(t.Context(), s.fileURL(s.slots[0])); err != nil {
		t.Errorf("the upload is gone: %v", err)
	}
}

func TestPageRunsNothingAndAsksNobodyElse(t *testing.T) {
	s := serve(t, "", one())
	b := open(t)
	requests := make(chan string, 100)
	err := chromedp.Listen(b.ctx, func(event any) {
		if e, ok := event.(*network.EventRequestWillBeSent); ok {
			requests <- e.Request.URL
		}
	})
	if err != nil {
		t.Fatal(err)
	}
	b.goTo(s.URL)
	for len(requests) > 0 {
		if url := <-requests; !strings.HasPrefix(url, s.URL) && !strings.HasPrefix(url, "data:") && url != "about:blank" {
			t.Errorf("the page asks for %s", url)
		}
	}
	eval[any](b, `(() => { const s = document.createElement("script"); s.textContent = "window.pwned = 1"; document.body.append(s); return 0; })()`)
	if eval[bool](b, `"pwned" in window`) {
		t.Error("a script in the page runs, in spite of its policy")
	}
}

// hash returns what basic_auth keeps of a password.
func hash(t *testing.T, password string) string {
	t.Helper()
	hashed, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return string(hashed)
}
