package page_test

import (
	"fmt"
	"net/http"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

func TestSeveralStores(t *testing.T) {
	c := rig.New(t)
	at := time.Now().Add(-time.Minute)
	first, second := filepath.Join(c.Dir, "first"), filepath.Join(c.Dir, "second")
	rig.Seed(t, first, rig.Stored{JID: "alice@example.com", Name: "one.txt", Size: 1, At: at})
	rig.Seed(t, second,
		rig.Stored{JID: "alice@example.com", Name: "two.txt", Size: 2, At: at.Add(time.Second)},
		rig.Stored{JID: "bob@example.com", Name: "three.txt", Size: 3, At: at.Add(2 * time.Second)},
	)
	c.Start(fmt.Sprintf(`http://:%s {
		handle_path /first/* {
			xmpp_upload {
				allow *
				slots badger %[2]s/slots
				files disk %[2]s/files
			}
		}
		handle_path /second/* {
			xmpp_upload {
				allow *
				slots badger %[3]s/slots
				files disk %[3]s/files
			}
		}
		xmpp_upload_admin
	}`, port(c.Addr), first, second))
	b := open(t)

	b.goTo("http://" + c.Addr + "/")
	b.follow("nav a[href=uploads]")
	b.expectRows("three.txt", "two.txt", "one.txt")
	b.do(chromedp.SetValue(chromedp.ID("store"), filepath.Join(second, "slots")))
	b.followText("Show")
	b.expectRows("three.txt", "two.txt")

	b.do(chromedp.SendKeys(chromedp.ID("q"), "two"))
	b.followText("Search")
	b.expectRows("two.txt")
	b.follow("tbody a.file")
	b.followText("The user")
	if text := b.text("main"); !strings.Contains(text, "1 file, 2 B") {
		t.Errorf("in the chosen store the user has:\n%s", text)
	}
	b.follow("nav a[href^=users]")
	if got := b.texts("tbody th a"); !slices.Equal(got, []string{"bob@example.com", "alice@example.com"}) {
		t.Errorf("the users of the chosen store are %q", got)
	}
	b.do(chromedp.SetValue(chromedp.ID("store"), ""))
	b.followText("Show")
	b.followText("alice@example.com")
	for _, want := range []string{"2 files, 3 B", "In each store", first, second} {
		if text := b.text("main"); !strings.Contains(text, want) {
			t.Errorf("over both stores the user's page does not tell %q:\n%s", want, text)
		}
	}

	b.followText(filepath.Join(first, "slots"))
	b.followText("Delete all of this user…")
	b.followText("Delete all")
	b.goTo("http://" + c.Addr + "/uploads")
	b.expectRows("three.txt", "two.txt")
}

func TestNoUploadHandlerInService(t *testing.T) {
	c := rig.New(t)
	c.Start("http://" + c.Addr + " {\nxmpp_upload_admin\n}")
	b := open(t)
	for _, page := range []string{"", "uploads", "users"} {
		if status := b.goTo("http://" + c.Addr + "/" + page); status != http.StatusNotFound {
			t.Errorf("/%s is answered by %d", page, status)
		}
		if got := b.text(".notice"); !strings.Contains(got, "No handler xmpp_upload is in service") {
			t.Errorf("/%s says %q", page, b.text("main"))
		}
	}
}
