package xmppupload

import (
	"context"
	"encoding/json"
	"net/http/httptest"
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// memorySlots grants everything and remembers nothing but the last slot.
type memorySlots struct {
	store.Slots
	last *store.Slot
}

func (s memorySlots) Reserve(_ context.Context, slot store.Slot, _ store.Limits) error {
	*s.last = slot
	return nil
}

// grantedURL is what passes every XMPP server unchanged.
var grantedURL = regexp.MustCompile(`^http://example\.com/[0-9a-v]{35}/[A-Za-z0-9_-][A-Za-z0-9._-]{0,199}$`)

// FuzzSlotQuery asks for slots with any query: each is granted or refused for
// its own fault, and a granted one has two safe URLs.
func FuzzSlotQuery(f *testing.F) {
	for _, q := range []string{
		"jid=alice%40localhost&name=a%20file%20%C3%BC%20%E6%97%A5%E6%9C%AC%20%281%29%2B%26%3D%25~%27%21%2A%3B:%40%2C%24%23%3F%5B%5D%22%3C%3E%7C%5C%5E%60%7B%7D.pdf&size=10240&content_type=image/svg%2Bxml%3B%20charset%3D%22utf-8%22",
		"key=abc?jid=me@example.com&name=a&size=1",
		"jid=me@example.com&name=..&size=9223372036854775807&output=application/json",
		"jid=example.com&name=%00%E2%80%AE&size=1", "jid=&name=&size=", "jid=a&jid=b", "%zz", "?", "&&==;",
		"jid=me@example.com/%00&name=" + strings.Repeat("%C3%BC", 128) + "&size=1", "output=%FF", "jid=blocked@example.com&name=a&size=1",
	} {
		f.Add(q)
	}
	h := provisioned(f, `{"access":[{"jids":["blocked@example.com"],"deny":true},{"jids":["*"],"quota":{"max_file_size":1000000}}],"min_free_space":0}`)
	var last store.Slot
	h.slotsModule = otherSlots{h.slotsModule, func(s store.Slots) (store.Slots, error) { return memorySlots{s, &last}, nil }}
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"/slot/", "/max_size/"} {
			r := request("GET", "http://example.com"+path, nil)
			r.URL.RawQuery = query
			w := serveRequest(t, h, r)
			if !slices.Contains([]int{200, 400, 403, 413}, w.Code) {
				t.Errorf("%s?%q: %d %q", path, query, w.Code, w.Body)
			}
			if path == "/slot/" && w.Code == 200 {
				expectGranted(t, w, last)
			}
		}
	})
}

func expectGranted(t *testing.T, w *httptest.ResponseRecorder, slot store.Slot) {
	t.Helper()
	urls := strings.Split(w.Body.String(), "\n")
	if w.Header().Get("Content-Type") == "application/json" {
		var answer struct{ Put, Get string }
		if err := json.Unmarshal(w.Body.Bytes(), &answer); err != nil {
			t.Errorf("%q: %v", w.Body, err)
		}
		urls = []string{answer.Put, answer.Get}
	}
	if len(urls) != 2 || !grantedURL.MatchString(urls[0]) || urls[0] != urls[1] {
		t.Errorf("granted %q", w.Body)
	}
	if slot.Size <= 0 || slot.Size > 1000000 || slot.Name == "" || len(slot.Name) > 255 || slot.Name != store.CleanName(slot.Name) ||
		slot.JID == "" || slot.JID == "blocked@example.com" || strings.Contains(slot.JID, "/") || slot.URLName != store.URLName(slot.Name) {
		t.Errorf("granted %+v", slot)
	}
}

// FuzzPath sends any path: none is an error of ours, and none but the very path
// of the one file gets it.
func FuzzPath(f *testing.F) {
	h := provisioned(f, everybody)
	target := newSlot(f, h, "size=6")
	expectStatus(f, serve(f, h, "PUT", target, "secret"), 201)
	for _, path := range []string{
		target, target + "/", target + "%00", target[:36], target[:37] + "..%2f", "/" + strings.ToUpper(target[1:36]) + "/a.txt",
		"/slot", "/slot/", "/max_size", "/", "", "//", "/../", "/%2e%2e/%2e%2e/etc/passwd", "/" + strings.Repeat("0", 35) + "/" + strings.Repeat("x", 5000), "/\xff/\x00",
	} {
		f.Add(path)
	}
	f.Fuzz(func(t *testing.T, path string) {
		unescaped, err := url.PathUnescape(path)
		if err != nil {
			return // no server lets it through
		}
		for _, method := range []string{"GET", "HEAD", "PUT", "OPTIONS"} {
			r := request(method, "http://example.com/", strings.NewReader("secret"))
			r.URL.Path, r.URL.RawPath = unescaped, path
			w := serveRequest(t, h, r)
			if !slices.Contains([]int{200, 204, 400, 403, 404, 405, 409, 418}, w.Code) {
				t.Errorf("%s %q: %d %q", method, path, w.Code, w.Body)
			}
			if w.Code == 200 && unescaped != target {
				t.Errorf("%s %q gets %q", method, path, w.Body)
			}
		}
	})
}
