package xmppupload

import (
	"mime"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

func TestOnlyTwoKnownMediaTypesDisagree(t *testing.T) {
	for _, tc := range []struct {
		a, b string
		want bool
	}{
		{"", "", true},
		{"", "image/png", true},
		{"image/png", "image/png", true},
		{"image/png", "Image/PNG", true},
		{"image/png", "image/png; x=y", true},
		{"text/plain; charset=utf-8", "text/plain; charset=latin1", true},
		{"image/png", "application/octet-stream", true},
		{"image/png", "Application/Octet-Stream; x=y", true},
		{"image/png", "nonsense", true},
		{"image/png", "image/png; broken", true},
		{"image/png", "image/jpeg", false},
		{"text/html", "text/plain", false},
		{"text/html; charset=utf-8", "text/plain; charset=utf-8", false},
	} {
		if typesAgree(tc.a, tc.b) != tc.want || typesAgree(tc.b, tc.a) != tc.want {
			t.Errorf("%q and %q agree: %t, want %t both ways", tc.a, tc.b, !tc.want, tc.want)
		}
	}
}

func TestServedType(t *testing.T) {
	for _, tc := range []struct{ announced, sent, want string }{
		{"", "", octetStream},
		{"image/png", "", "image/png"},
		{"", "image/png", "image/png"},
		{"image/png", octetStream, "image/png"},
		{octetStream, "image/png", "image/png"},
		{octetStream, "", octetStream},
		{"image/svg+xml", "image/svg+xml; x=y", "image/svg+xml"},
		{"nonsense", "image/png", "image/png"},
		{"nonsense", "nonsense", octetStream},
		{"text/plain\x00", "", octetStream},
		{"text/plain\r\nX: y", "", octetStream},
		{"text/plain; name=ü", "", octetStream},
	} {
		if got := servedType(tc.announced, tc.sent); got != tc.want {
			t.Errorf("announced %q, sent %q: served as %q, want %q", tc.announced, tc.sent, got, tc.want)
		}
	}
}

func TestDispositionTellsTheTrueName(t *testing.T) {
	for _, tc := range []struct{ contentType, name, want string }{
		{"image/png", "a.png", `inline; filename="a.png"`},
		{"application/pdf", "a.pdf", `attachment; filename="a.pdf"`},
		{"text/plain", "a b.txt", `inline; filename="a_b.txt"; filename*=UTF-8''a%20b.txt`},
		{"text/html", "ü.html", `attachment; filename="file.html"; filename*=UTF-8''%C3%BC.html`},
		{"text/html", `a"b';*=%.txt`, `attachment; filename="a_b_.txt"; filename*=UTF-8''a%22b%27%3B%2A%3D%25.txt`},
		{"video/mp4", "a!#$&+-^_`|~b.mp4", "inline; filename=\"a_-___b.mp4\"; filename*=UTF-8''a!#$&+-^_`|~b.mp4"},
	} {
		slot := store.Slot{Name: tc.name, URLName: store.URLName(tc.name), ContentType: tc.contentType}
		if got := disposition(slot); got != tc.want {
			t.Errorf("%s, %q:\n %s, want\n %s", tc.contentType, tc.name, got, tc.want)
		}
	}
}

func TestMaxAgeIsWhatIsLeft(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tc := range []struct {
		expires time.Time
		want    string
	}{
		{now.Add(time.Hour), "3600"},
		{now.Add(time.Hour + time.Second - 1), "3600"},
		{now.Add(time.Second - 1), "0"},
		{time.Time{}, "31536000"},
	} {
		h := make(http.Header)
		describe(h, store.Slot{ContentType: octetStream, Expires: tc.expires}, now)
		if got := h.Get("Cache-Control"); got != "public, max-age="+tc.want+", immutable" {
			t.Errorf("expires %v: %q, want %s", tc.expires, got, tc.want)
		}
	}
}

// FuzzContent takes what strangers call their files, and checks that it makes
// headers that no hop misreads.
func FuzzContent(f *testing.F) {
	for _, s := range [][3]string{
		{"a.txt", "text/plain", "text/plain; charset=utf-8"},
		{"ü 日本 \u202e(1)+&=%~'!*;:@,$#?[]\"<>|\\^`{}.pdf", `image/svg+xml; charset="utf-8"`, ""},
		{"a\r\nX-Evil: yes", "text/plain\r\nX-Evil: yes", "text/\x00plain"},
		{"..", "multipart/form-data; boundary=\"\\\"\"", "a/b; c*=UTF-8''%0d%0a"},
		{"\xff\xfe", "text/ü", "/"},
		{strings.Repeat("x", 300), strings.Repeat("text/", 100), ";;;"},
	} {
		f.Add(s[0], s[1], s[2])
	}
	f.Fuzz(func(t *testing.T, name, announced, sent string) {
		clean := store.CleanName(name)
		slot := store.Slot{Name: clean, URLName: store.URLName(clean), ContentType: servedType(announced, sent)}
		h := make(http.Header)
		describe(h, slot, time.Now())
		for key, values := range h {
			for _, c := range []byte(strings.Join(values, "")) {
				if c < ' ' || c > '~' {
					t.Errorf("%s holds the byte %#x: %q", key, c, values)
				}
			}
		}
		kind, params, err := mime.ParseMediaType(h.Get("Content-Disposition"))
		if err != nil || params["filename"] != clean || kind != "inline" && kind != "attachment" {
			t.Errorf("%q tells %q of %q, %v", h.Get("Content-Disposition"), params["filename"], clean, err)
		}
		media, _, _ := mime.ParseMediaType(h.Get("Content-Type"))
		if !strings.Contains(media, "/") {
			t.Errorf("Content-Type %q", h.Get("Content-Type"))
		}
		if kind == "inline" && (strings.Contains(media, "html") || strings.HasSuffix(media, "/xml")) && !strings.HasPrefix(media, "image/") && !strings.HasPrefix(media, "audio/") && !strings.HasPrefix(media, "video/") {
			t.Errorf("%q is shown in place", media)
		}
		if typesAgree(announced, sent) != typesAgree(sent, announced) || !typesAgree(slot.ContentType, slot.ContentType) {
			t.Errorf("types %q and %q agree on one side", announced, sent)
		}
	})
}
