package xmppupload

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"testing"
	"time"
)

// inMemory is a file that counts how often it seeks.
type inMemory struct {
	*bytes.Reader
	seeks int
}

func (f *inMemory) Seek(offset int64, whence int) (int64, error) {
	f.seeks++
	return f.Reader.Seek(offset, whence)
}

func (f *inMemory) Close() error { return nil }

func TestRangesAreSentAsTheStandardLibraryDoes(t *testing.T) {
	content := bytes.Repeat([]byte("0123456789"), 20_000)
	modified := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, tc := range []struct {
		ranges string
		seeks  int
	}{
		{"", 0},
		{"bytes=0-", 0},
		{"bytes=0-99", 0},
		{"bytes=100000-", 1},
		{"bytes=-7", 1},
		{"bytes=5-6", 1},
		{"bytes=199999-", 1},
		{"bytes=200000-", 0},
		{"bytes=3-2", 0},
		{"bytes=9-12,40-49", 2},
		{"bytes=0-9,10-19,-5", 1},
	} {
		for _, encrypted := range []bool{false, true} {
			t.Run(tc.ranges+" TLS "+strconv.FormatBool(encrypted), func(t *testing.T) {
				r := request("GET", "/", nil)
				r.Header.Set("Range", tc.ranges)
				if encrypted {
					r.TLS = new(tls.ConnectionState)
				}
				got, want := httptest.NewRecorder(), httptest.NewRecorder()
				for _, w := range []*httptest.ResponseRecorder{got, want} {
					w.Header().Set("Content-Type", octetStream)
				}
				file := &inMemory{Reader: bytes.NewReader(content)}
				if err := send(got, r, modified, file); err != nil {
					t.Fatal(err)
				}
				http.ServeContent(want, r, "", modified, bytes.NewReader(content))
				if got.Code != want.Code || withoutBoundary(got) != withoutBoundary(want) {
					t.Errorf("status %d, %d bytes, want %d, %d bytes", got.Code, got.Body.Len(), want.Code, want.Body.Len())
				}
				for _, key := range []string{"Content-Length", "Content-Range", "Accept-Ranges", "Last-Modified"} {
					if got.Header().Get(key) != want.Header().Get(key) {
						t.Errorf("%s: %q, want %q", key, got.Header().Get(key), want.Header().Get(key))
					}
				}
				if file.seeks != tc.seeks {
					t.Errorf("the file was sought %d times, want %d", file.seeks, tc.seeks)
				}
			})
		}
	}
}

// withoutBoundary is the body without the random line between several ranges.
func withoutBoundary(w *httptest.ResponseRecorder) string {
	_, boundary, ok := strings.Cut(w.Header().Get("Content-Type"), "boundary=")
	if !ok {
		return w.Body.String()
	}
	return strings.ReplaceAll(w.Body.String(), boundary, "")
}
