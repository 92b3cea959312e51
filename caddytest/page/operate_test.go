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

func TestOperatorFindsUploads(t *testing.T) {
	uploads := many("alice@example.com", 110)
	uploads = append(uploads,
		rig.Stored{JID: "bob@example.com", Name: "Report.pdf", Type: "application/pdf", Size: 2048, At: time.Now().Add(-3 * 24 * time.Hour)},
		rig.Stored{JID: "bobby@example.com", Name: "waiting.txt", Size: 10, At: time.Now(), Unused: true},
	)
	s := serve(t, "", uploads...)
	b := open(t)

	if status := b.goTo(strings.TrimSuffix(s.URL, "/")); status != http.StatusOK || eval[string](b, "location.href") != s.URL {
		t.Errorf("without its slash at the end: %d at %s, want to be led to %s", status, eval[string](b, "location.href"), s.URL)
	}
	b.follow("nav a[href=uploads]")
	rows := b.texts("tbody a.file")
	if len(rows) != 50 || rows[0] != "waiting.txt" || rows[1] != "photo-109.jpg" {
		t.Fatalf("the list has %d rows and begins with %q", len(rows), rows[:min(2, len(rows))])
	}

	all := rows
	for len(b.texts("nav.paging a[rel=next]")) > 0 {
		b.follow("nav.paging a[rel=next]")
		all = append(all, b.texts("tbody a.file")...)
	}
	unique := slices.Compact(slices.Sorted(slices.Values(all)))
	if len(all) != len(uploads) || len(unique) != len(uploads) {
		t.Errorf("all pages together have %d rows, %d different ones, want %d", len(all), len(unique), len(uploads))
	}
	b.followText("Newest uploads")
	if got := b.texts("tbody a.file"); !slices.Equal(got, rows) {
		t.Errorf("the way back leads to %q", got)
	}

	b.do(chromedp.SendKeys(chromedp.ID("q"), "rePORT"))
	b.followText("Search")
	b.expectRows("Report.pdf")
	b.followText("Show all")

	b.do(chromedp.SetValue(chromedp.ID("state"), "waiting"))
	b.followText("Search")
	b.expectRows("waiting.txt")
	if got := eval[string](b, `document.querySelector("#state").value`); got != "waiting" {
		t.Errorf("the form forgets the state: %q", got)
	}

	day := uploads[110].At.UTC().Format(time.DateOnly)
	b.goTo(s.URL + "uploads?from=" + day + "&to=" + day + "&q=bob")
	b.expectRows("Report.pdf")
	b.goTo(s.URL + "uploads?q=no-such-thing")
	b.expectRows()

	b.goTo(s.URL + "uploads?q=Report")
	b.follow("tbody a.user")
	if got := b.text("h1"); got != "bob@example.com" {
		t.Fatalf("the link of the user leads to %q", got)
	}
	b.expectRows("Report.pdf")
	b.goTo(s.URL + "uploads?jid=bob@example.com")
	b.expectRows("Report.pdf")
	b.followText("Of all users")
	if got := len(b.texts("tbody a.file")); got != 50 {
		t.Errorf("the list of all users has %d rows", got)
	}
}

func (b *browser) expectRows(want ...string) {
	b.t.Helper()
	if got := b.texts("tbody a.file"); !slices.Equal(got, want) && len(got)+len(want) > 0 {
		b.t.Errorf("the list is %q, want %q", got, want)
	}
}

func TestOperatorDeletes(t *testing.T) {
	for _, tc := range []struct {
		name    string
		scripts bool
	}{{"with scripts", true}, {"without scripts", false}} {
		t.Run(tc.name, func(t *testing.T) {
			uploads := append(many("alice@example.com", 12), many("bob@example.com", 2)...)
			s := serve(t, "", uploads...)
			client := rig.NewClient(t, "http://"+s.Addr)
			exists := func(i int) bool {
				_, err := client.Download(t.Context(), s.fileURL(s.slots[i]))
				return err == nil
			}
			b := open(t)
			if !tc.scripts {
				b.disableScripts()
			}

			b.goTo(s.URL + "uploads?q=alice")
			b.follow("tbody tr:first-child a.file")
			for _, want := range []string{"photo-011.jpg", "alice@example.com", "111 B (111 bytes)", "uploaded", "image/jpeg", s.slots[11].ID, s.Dir} {
				if text := b.text("main"); !strings.Contains(text, want) {
					t.Errorf("the upload's page does not tell %q:\n%s", want, text)
				}
			}
			b.followText("Delete…")
			if !exists(11) {
				t.Fatal("the file is gone before it was confirmed")
			}
			b.followText("Delete")
			if got := b.text("[role=status]"); !strings.Contains(got, "1 file of 111 B") {
				t.Errorf("the answer is %q", got)
			}
			if exists(11) || !exists(10) {
				t.Error("the file is there still, or another one is gone")
			}
			b.followText("Back to the list")
			if got := b.texts("tbody a.file"); len(got) != 11 || slices.Contains(got, "photo-011.jpg") {
				t.Errorf("the list is %q", got)
			}

			b.goTo(s.URL + "users")
			b.followText("alice@example.com")
			b.followText("Delete all of this user…")
			b.followText("Delete all")
			if got := b.text("[role=status]"); !strings.Contains(got, "alice@example.com") || !strings.Contains(got, "11 files") {
				t.Errorf("the answer is %q", got)
			}
			for i := range s.slots {
				if got, want := exists(i), s.slots[i].JID == "bob@example.com"; got != want {
					t.Errorf("file %d of %s is there: %t, want %t", i, s.slots[i].JID, got, want)
				}
			}
			b.followText("Back to the list")
			if got := b.texts("tbody th a"); !slices.Equal(got, []string{"bob@example.com"}) {
				t.Errorf("users that store something are %q", got)
			}
		})
	}
}

func TestOperatorSeesUsers(t *testing.T) {
	now := time.Now()
	s := serve(t, "",
		rig.Stored{JID: "alice@example.com", Name: "a", Size: 90 << 10, At: now.Add(-time.Hour)},
		rig.Stored{JID: "bob@example.com", Name: "b", Size: 1 << 10, At: now.Add(-time.Hour)},
		rig.Stored{JID: "carol@mail.example.net", Name: "c", Size: 50 << 10, At: now.Add(-time.Hour)},
		rig.Stored{JID: "mallory@example.com", Name: "m", Size: 10 << 10, At: now.Add(-time.Hour)},
	)
	b := open(t)
	b.goTo(s.URL + "users")
	if got := b.texts("tbody th a"); !slices.Equal(got, []string{"alice@example.com", "carol@mail.example.net", "mallory@example.com", "bob@example.com"}) {
		t.Errorf("users are %q, want those with most bytes first", got)
	}
	if got := b.texts("tbody td:last-child"); len(got) != 4 || !strings.Contains(got[0], "90 % of 100 KiB") || got[1] != "no limit" || got[2] != "may not upload" {
		t.Errorf("of their limits they have %q", got)
	}
	for _, tc := range []struct {
		jid  string
		want []string
	}{
		{"alice@example.com", []string{"allow, rule 1", "access[0]", "1 file, 90 KiB", "1.0 MiB", "100 KiB", "90 % taken", "Uploads\t30d"}},
		{"BOB@Example.COM/phone", []string{"bob@example.com", "1 file, 1.0 KiB"}},
		{"mallory@example.com", []string{"deny, rule 2", "1 file, 10 KiB"}},
		{"carol@mail.example.net", []string{"*.example.net", "no limit"}},
		{"nobody@example.org", []string{"none matches"}},
	} {
		b.goTo(s.URL + "users")
		b.do(chromedp.SendKeys(chromedp.ID("jid"), tc.jid))
		b.followText("Show")
		for _, want := range tc.want {
			if text := b.text("main"); !strings.Contains(text, want) {
				t.Errorf("%s: the page does not tell %q:\n%s", tc.jid, want, text)
			}
		}
	}
}

func TestUsersComeInPages(t *testing.T) {
	var uploads []rig.Stored
	for i := range 55 {
		uploads = append(uploads, rig.Stored{JID: fmt.Sprintf("user%02d@example.com", i), Name: "a", Size: 1000 - i, At: time.Now().Add(-time.Minute)})
	}
	s := serve(t, "", uploads...)
	b := open(t)
	b.goTo(s.URL)
	b.follow("nav a[href=users]")
	first := b.texts("tbody th a")
	b.followText("More users")
	second := b.texts("tbody th a")
	for i, got := range append(first, second...) {
		if want := uploads[i].JID; got != want {
			t.Fatalf("user %d is %s, want %s", i, got, want)
		}
	}
	if len(first) != 50 || len(second) != 5 || len(b.texts("nav.paging a[rel=next]")) != 0 {
		t.Errorf("pages have %d and %d users", len(first), len(second))
	}
	b.followText("First users")
	if got := b.texts("tbody th a"); !slices.Equal(got, first) {
		t.Errorf("the way back leads to %q", got)
	}
}

func TestOperatorSeesDays(t *testing.T) {
	now := time.Now()
	var uploads []rig.Stored
	for i, days := range []int{0, 0, 0, 1, 29, 40} {
		uploads = append(uploads, rig.Stored{JID: fmt.Sprintf("user%d@example.com", i), Name: "a", Size: 1000, At: now.AddDate(0, 0, -days), Keep: 100 * 24 * time.Hour})
	}
	s := serve(t, "", uploads...)
	b := open(t)
	b.goTo(s.URL)
	for i, want := range []string{"5 in all, 3 at most", "4.9 KiB in all, 2.9 KiB at most"} {
		if got := b.texts("figcaption .note")[i]; got != want {
			t.Errorf("plot %d says %q, want %q", i, got, want)
		}
		heights := eval[[]float64](b, `[...document.querySelectorAll("svg")[`+string(rune('0'+i))+`].querySelectorAll("rect.value")].map(r => r.height.baseVal.value)`)
		if len(heights) != 30 || heights[29] != 100 || heights[28] < 33 || heights[28] > 34 || heights[0] < 33 || slices.Max(heights[1:28]) != 0 {
			t.Errorf("plot %d has bars of %v", i, heights)
		}
	}
	if colour := eval[string](b, `getComputedStyle(document.querySelector("rect.value")).fill`); colour != "rgb(46, 112, 209)" {
		t.Errorf("bars are %s, as if there were no style sheet", colour)
	}
	b.do(chromedp.Click(chromedp.CSS("summary")))
	if rows := b.texts("details tbody tr"); len(rows) != 30 || !strings.HasPrefix(rows[29], now.UTC().Format(time.DateOnly)) {
		t.Errorf("the table has %d rows: %q", len(rows), rows)
	}
}

func TestOperatorMaintains(t *testing.T) {
	uploads := many("alice@example.com", 40)
	uploads = append(uploads, rig.Stored{JID: "bob@example.com", Name: "late", Size: 1, At: time.Now().Add(-time.Hour), Unused: true})
	s := serve(t, "", uploads...)
	b := open(t)
	rig.Await(t, "the clean-up of the start", func() bool {
		b.goTo(s.URL + "uploads?q=bob")
		return len(b.texts("tbody tr")) == 0
	})
	s.removeFile(s.slots[0])
	b.goTo(s.URL)
	b.followText("Verify")
	if text := b.text("main"); !strings.Contains(text, "Something is wrong") || !strings.Contains(text, "Missing: 1") || !strings.Contains(text, s.slots[0].ID) {
		t.Fatalf("verify found:\n%s", text)
	}
	b.followText("Repair")
	if text := b.text("[role=status]"); !strings.Contains(text, "1 fault was repaired") {
		t.Errorf("repair answered %q", text)
	}
	b.followText("Back to the overview")
	b.followText("Verify")
	if text := b.text("[role=status]"); !strings.Contains(text, "39 files") || !strings.Contains(text, "All is well") {
		t.Errorf("verify after that answered %q", text)
	}
	b.followText("Back to the overview")
	b.followText("Clean up now")
	if text := b.text("h1"); text != "Cleaned up" {
		t.Errorf("clean-up answered %q", b.text("main"))
	}
}
