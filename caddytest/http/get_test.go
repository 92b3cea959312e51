package http_test

import (
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
)

func TestGet(t *testing.T) {
	c := serve(t, fileSite)
	base := "http://" + c.Addr
	t.Run("headers", func(t *testing.T) { testGetHeaders(t, base) })
	t.Run("ranges and conditions", func(t *testing.T) { testConditions(t, base) })
	t.Run("several ranges", func(t *testing.T) { testMultipart(t, base) })
	t.Run("not found", func(t *testing.T) { testNotFound(t, base) })
	t.Run("keep", func(t *testing.T) { testCacheControl(t, base) })
	t.Run("disposition", func(t *testing.T) { testDisposition(t, base) })
	t.Run("names", func(t *testing.T) { testNames(t, base) })
}

func testGetHeaders(t *testing.T, base string) {
	before := time.Now().Truncate(time.Second)
	target := uploaded(t, base, "a.txt", "text/plain", "hello")
	for _, method := range []string{"GET", "HEAD"} {
		a := send(t, method, target, "")
		expectStatus(t, a, 200)
		expectCORS(t, a)
		for key, want := range map[string]string{
			"Content-Type":            "text/plain",
			"X-Content-Type-Options":  "nosniff",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'; sandbox",
			"Accept-Ranges":           "bytes",
			"Content-Disposition":     `inline; filename="a.txt"`,
			"Content-Encoding":        "",
			"Set-Cookie":              "",
		} {
			expectHeader(t, a, key, want)
		}
		if want := map[string]string{"GET": "hello"}[method]; a.body != want || a.length != 5 {
			t.Errorf("%s: body %q, Content-Length %d", method, a.body, a.length)
		}
		if !regexp.MustCompile(`^"[0-9a-z]+"$`).MatchString(a.header.Get("ETag")) {
			t.Errorf("ETag %q", a.header.Get("ETag"))
		}
		modified, err := http.ParseTime(a.header.Get("Last-Modified"))
		if err != nil || modified.Before(before) || modified.After(time.Now()) {
			t.Errorf("Last-Modified %q, %v", a.header.Get("Last-Modified"), err)
		}
	}
	other := uploaded(t, base, "a.txt", "text/plain", "hello")
	if a, b := send(t, "GET", target, ""), send(t, "GET", other, ""); a.header.Get("ETag") == b.header.Get("ETag") {
		t.Error("two uploads have the same ETag")
	}
}

func testConditions(t *testing.T, base string) {
	target := uploaded(t, base, "a.txt", "text/plain", "0123456789")
	whole := send(t, "HEAD", target, "")
	etag, modified := whole.header.Get("ETag"), whole.header.Get("Last-Modified")
	const longAgo = "Thu, 01 Jan 1970 00:00:00 GMT"
	for _, tc := range []struct {
		header       []string
		status       int
		body         string
		contentRange string
	}{
		{nil, 200, "0123456789", ""},
		{[]string{"Range", "bytes=0-0"}, 206, "0", "bytes 0-0/10"},
		{[]string{"Range", "bytes=4-"}, 206, "456789", "bytes 4-9/10"},
		{[]string{"Range", "bytes=-3"}, 206, "789", "bytes 7-9/10"},
		{[]string{"Range", "bytes=8-100"}, 206, "89", "bytes 8-9/10"},
		{[]string{"Range", "bytes=0-"}, 206, "0123456789", "bytes 0-9/10"},
		{[]string{"Range", "bytes=10-"}, 416, "-", "bytes */10"},
		{[]string{"Range", "bytes=5-4"}, 416, "-", ""},
		{[]string{"Range", "lines=1-2"}, 416, "-", ""},
		{[]string{"Range", "bytes=4-", "If-Range", etag}, 206, "456789", "bytes 4-9/10"},
		{[]string{"Range", "bytes=4-", "If-Range", modified}, 206, "456789", "bytes 4-9/10"},
		{[]string{"Range", "bytes=4-", "If-Range", `"other"`}, 200, "0123456789", ""},
		{[]string{"Range", "bytes=4-", "If-Range", longAgo}, 200, "0123456789", ""},
		{[]string{"If-None-Match", etag}, 304, "", ""},
		{[]string{"If-None-Match", `"other", ` + etag}, 304, "", ""},
		{[]string{"If-None-Match", "*"}, 304, "", ""},
		{[]string{"If-None-Match", `"other"`}, 200, "0123456789", ""},
		{[]string{"If-Modified-Since", modified}, 304, "", ""},
		{[]string{"If-Modified-Since", longAgo}, 200, "0123456789", ""},
		{[]string{"If-Match", etag}, 200, "0123456789", ""},
		{[]string{"If-Match", `"other"`}, 412, "", ""},
		{[]string{"If-Unmodified-Since", longAgo}, 412, "", ""},
		{[]string{"If-Unmodified-Since", modified}, 200, "0123456789", ""},
	} {
		for _, method := range []string{"GET", "HEAD"} {
			t.Run(fmt.Sprint(method, tc.header), func(t *testing.T) {
				a := send(t, method, target, "", tc.header...)
				expectStatus(t, a, tc.status)
				expectCORS(t, a)
				expectHeader(t, a, "Content-Range", tc.contentRange)
				if method == "GET" && tc.body != "-" && a.body != tc.body {
					t.Errorf("body %q, want %q", a.body, tc.body)
				}
				if tc.status/100 == 2 && a.length != int64(len(tc.body)) {
					t.Errorf("Content-Length %d, want %d", a.length, len(tc.body))
				}
				if tc.status == 304 {
					expectHeader(t, a, "ETag", etag)
				}
			})
		}
	}
}

func testMultipart(t *testing.T, base string) {
	a := send(t, "GET", uploaded(t, base, "a.png", "image/png", "0123456789"), "", "Range", "bytes=0-1,5-6,-1")
	expectStatus(t, a, 206)
	media, params, err := mime.ParseMediaType(a.header.Get("Content-Type"))
	if err != nil || media != "multipart/byteranges" || a.length != int64(len(a.body)) {
		t.Fatalf("%q, %v, Content-Length %d of %d", a.header.Get("Content-Type"), err, a.length, len(a.body))
	}
	r := multipart.NewReader(strings.NewReader(a.body), params["boundary"])
	for _, want := range []string{"bytes 0-1/10 01", "bytes 5-6/10 56", "bytes 9-9/10 9"} {
		part, err := r.NextPart()
		if err != nil {
			t.Fatal(err)
		}
		b, err := io.ReadAll(part)
		if got := part.Header.Get("Content-Range") + " " + string(b); err != nil || got != want || part.Header.Get("Content-Type") != "image/png" {
			t.Errorf("part %q of type %q, %v, want %q", got, part.Header.Get("Content-Type"), err, want)
		}
	}
	if _, err := r.NextPart(); err != io.EOF {
		t.Errorf("after the parts: %v", err)
	}
}

func testNotFound(t *testing.T, base string) {
	target := uploaded(t, base, "a.txt", "text/plain", "hello")
	dir := strings.TrimSuffix(target, "a.txt")
	expired := slot(t, base+"/brief", "a.txt", 5)
	expectStatus(t, send(t, "PUT", expired, "hello"), 201)
	for what, missing := range map[string]string{
		"unknown":                    base + "/" + strings.Repeat("0", 35) + "/a.txt",
		"other name":                 dir + "b.txt",
		"other case":                 dir + "A.txt",
		"no extension":               dir + "a",
		"not yet uploaded":           slot(t, base, "a.txt", 5),
		"slot that expired":          slot(t, base+"/late", "a.txt", 5),
		"file that expired":          expired,
		"file that expired, by name": strings.Replace(expired, "/brief", "", 1),
	} {
		for _, method := range []string{"GET", "HEAD"} {
			a := send(t, method, missing, "", "Range", "bytes=0-")
			if a.status != 404 {
				t.Errorf("%s of %s: %d", method, what, a.status)
			}
			expectCORS(t, a)
			expectHeader(t, a, "ETag", "")
			expectHeader(t, a, "Cache-Control", "")
			if method == "GET" {
				expectRefusal(t, a, 404)
			}
		}
	}
}

func testCacheControl(t *testing.T, base string) {
	const day = 24 * 3600
	for _, tc := range []struct {
		path, jid string
		want      int
	}{
		{"", "me@example.com", 30 * day},
		{"/long", "me@example.com", 10 * day},
		{"/long", "forever@example.com", 365 * day},
	} {
		a := send(t, "GET", base+tc.path+"/slot/"+query("jid", tc.jid, "name", "a", "size", "1"), "")
		target, _, _ := strings.Cut(a.body, "\n")
		expectStatus(t, send(t, "PUT", target, "x"), 201)
		got := send(t, "GET", target, "").header.Get("Cache-Control")
		age := regexp.MustCompile(`^public, max-age=(\d+), immutable$`).FindStringSubmatch(got)
		if age == nil {
			t.Errorf("Cache-Control %q", got)
			continue
		}
		if n, _ := strconv.Atoi(age[1]); n > tc.want || n < tc.want-60 {
			t.Errorf("%s%s: max-age is %d, want %d", tc.path, tc.jid, n, tc.want)
		}
	}
}

func testDisposition(t *testing.T, base string) {
	for contentType, want := range map[string]string{
		"image/png":                 "inline",
		"IMAGE/PNG":                 "inline",
		"image/svg+xml":             "inline",
		"audio/ogg; codecs=opus":    "inline",
		"video/mp4":                 "inline",
		"text/plain":                "inline",
		"text/plain; charset=utf-8": "inline",
		"text/html":                 "attachment",
		"text/html; charset=utf-8":  "attachment",
		"text/plainx":               "attachment",
		"text/xml":                  "attachment",
		"application/xhtml+xml":     "attachment",
		"application/pdf":           "attachment",
		"application/javascript":    "attachment",
		"multipart/x-mixed-replace": "attachment",
		"imagex/png":                "attachment",
		"":                          "attachment",
	} {
		a := send(t, "GET", uploaded(t, base, "a.bin", contentType, "x"), "")
		if got, _, err := mime.ParseMediaType(a.header.Get("Content-Disposition")); err != nil || got != want {
			t.Errorf("%q: %q, %v, want %q", contentType, got, err, want)
		}
	}
}

// testNames checks what becomes of the name in the URL, and that it is told as it was.
func testNames(t *testing.T, base string) {
	for _, tc := range []struct{ name, inURL, told string }{
		{"plain.txt", "plain.txt", "plain.txt"},
		{"a b  c.txt", "a_b_c.txt", "a b  c.txt"},
		{"ü 日本.pdf", "file.pdf", "ü 日本.pdf"},
		{"x ü 日本 y.pdf", "x_y.pdf", "x ü 日本 y.pdf"},
		{"日本.日本", "file._", "日本.日本"},
		{"no extension", "no_extension", "no extension"},
		{"archive.tar.gz", "archive.tar.gz", "archive.tar.gz"},
		{".hidden", "file.hidden", ".hidden"},
		{"..", "file", ".."},
		{".", "file", "."},
		{"name.", "name", "name."},
		{"/", "file", "_"},
		{"../../etc/passwd", "file._etc_passwd", ".._.._etc_passwd"},
		{`C:\evil.exe`, "C__evil.exe", "C:_evil.exe"},
		{"a\r\nX-Evil: yes.txt", "aX-Evil_yes.txt", "aX-Evil: yes.txt"},
		{"a\x00b\x7fc.txt", "abc.txt", "abc.txt"},
		{"a\u2028b\u2029c\u0085d.txt", "abcd.txt", "abcd.txt"},
		{"bidi \u202egnp.exe", "bidi_gnp.exe", "bidi gnp.exe"},
		{"\u2066\u2067\u200e\ufeffa.txt", "a.txt", "a.txt"},
		{"quote\"s.txt", "quote_s.txt", "quote\"s.txt"},
		{"semi;colon=1.txt", "semi_colon_1.txt", "semi;colon=1.txt"},
		{"100%25.png", "100_25.png", "100%25.png"},
		{"<script>.html", "_script_.html", "<script>.html"},
		{"a?b#c.txt", "a_b_c.txt", "a?b#c.txt"},
		{"~tilde!.txt", "_tilde_.txt", "~tilde!.txt"},
		{"\xff.txt", "file.txt", "_.txt"},
		{"emoji 👩\u200d🚒.jpg", "emoji_.jpg", "emoji 👩\u200d🚒.jpg"},
		{strings.Repeat("x", 251) + ".txt", strings.Repeat("x", 196) + ".txt", strings.Repeat("x", 251) + ".txt"},
		{strings.Repeat("ü", 127) + "x", "_x", strings.Repeat("ü", 127) + "x"},
		{strings.Repeat("x", 255) + "\x01\u202e", strings.Repeat("x", 200), strings.Repeat("x", 255)},
	} {
		t.Run(tc.name, func(t *testing.T) {
			target := slot(t, base, tc.name, 1)
			if !slotURL.MatchString(target) || !strings.HasSuffix(target, "/"+tc.inURL) {
				t.Errorf("URL %s, want %s at its end", target, tc.inURL)
			}
			expectStatus(t, send(t, "PUT", target, "x"), 201)
			a := send(t, "GET", target, "")
			expectHeader(t, a, "X-Evil", "")
			disposition := a.header.Get("Content-Disposition")
			_, params, err := mime.ParseMediaType(disposition)
			if err != nil || params["filename"] != tc.told {
				t.Errorf("%q tells %q, %v, want %q", disposition, params["filename"], err, tc.told)
			}
			if tc.told != tc.inURL && !strings.Contains(disposition, `; filename="`+tc.inURL+`"; filename*=UTF-8''`) {
				t.Errorf("%q has no plain name for those who know no other", disposition)
			}
		})
	}
	for _, long := range []string{strings.Repeat("x", 256), strings.Repeat("ü", 128), strings.Repeat("x", 255) + "\xff"} {
		a := send(t, "GET", base+"/slot/"+query("jid", "me@example.com", "name", long, "size", "1", "output", "application/json"), "")
		expectStatus(t, a, 413)
		if r := readRefusal(t, a); r.Error != "name_too_long" {
			t.Errorf("%s", a.body)
		}
	}
}
