package page

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"net/url"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	_ "github.com/caddyserver/caddy/v2/modules/caddyhttp/standard"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

// provisioned returns a page of this JSON, and what it logs.
func provisioned(t *testing.T, config string) (*Handler, *observer.ObservedLogs) {
	t.Helper()
	h := new(Handler)
	if err := json.Unmarshal([]byte(config), h); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	core, logs := observer.New(zapcore.WarnLevel)
	h.logger = zap.New(core)
	return h, logs
}

// request returns one that a browser on this machine sends.
func request(method, target, form string) *http.Request {
	r := httptest.NewRequest(method, "http://localhost"+target, strings.NewReader(form))
	r.RemoteAddr = "127.0.0.1:12345"
	if form != "" {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	}
	return r
}

func answer(t *testing.T, h *Handler, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	r = r.WithContext(context.WithValue(r.Context(), caddy.ReplacerCtxKey, caddy.NewReplacer()))
	err := h.ServeHTTP(w, r, caddyhttp.HandlerFunc(func(http.ResponseWriter, *http.Request) error {
		t.Error("the next handler was asked")
		return nil
	}))
	if err != nil {
		t.Fatalf("ServeHTTP() = %v", err)
	}
	return w
}

// site is an upload handler, as far as operators know it.
type site struct{ service *store.Ref[*cleanup.Service] }

func (s site) Service() *store.Ref[*cleanup.Service]      { return s.service.Hold() }
func (s site) Rule(string) (admin.Rule, bool)             { return admin.Rule{}, false }
func (s site) Check(context.Context, string, int64) error { return nil }
func (s site) Removed(store.Slot, cleanup.Reason)         {}

// broken is a slots store that cannot be read.
type broken struct{ *badger.Module }

var errTrouble = errors.New("the disk is in trouble")

type brokenSlots struct{ store.Slots }

func (brokenSlots) List(context.Context, store.Query) (store.Page, error) {
	return store.Page{}, errTrouble
}

func (m broken) AcquireSlots() (*store.Ref[store.Slots], error) {
	ref, err := m.Module.AcquireSlots()
	if err != nil {
		return nil, err
	}
	ref.Value = brokenSlots{ref.Value}
	return ref, nil
}

// inService puts an upload handler over stores of its own into service, and
// returns its slots.
func inService(t *testing.T, wrap func(*badger.Module) store.SlotsModule) store.Slots {
	t.Helper()
	dir := t.TempDir()
	slots, files := &badger.Module{Path: filepath.Join(dir, "slots")}, &disk.Module{Path: filepath.Join(dir, "files")}
	for _, m := range []caddy.Provisioner{slots, files} {
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
	}
	service, err := cleanup.Acquire(wrap(slots), files, cleanup.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	unregister := admin.Register(slots.Key(), site{service})
	t.Cleanup(func() {
		unregister()
		if err := service.Release(); err != nil {
			t.Error(err)
		}
	})
	return service.Value.Slots()
}

func sound(m *badger.Module) store.SlotsModule { return m }

// waiting reserves a slot and returns its ID.
func waiting(t *testing.T, slots store.Slots) string {
	t.Helper()
	now := time.Now()
	slot := store.Slot{
		ID: store.NewID(now), JID: "me@example.com", Name: "a.txt", URLName: "a.txt", Size: 1,
		Reserved: now, Deadline: now.Add(time.Hour),
	}
	if err := slots.Reserve(t.Context(), slot, store.Limits{Room: -1}); err != nil {
		t.Fatal(err)
	}
	return slot.ID
}

func TestAnswersWithoutAllow(t *testing.T) {
	inService(t, sound)
	h, _ := provisioned(t, `{}`)
	for _, tc := range []struct {
		name, remote, host, header string
		want                       int
	}{
		{"localhost", "127.0.0.1:1", "localhost", "", 200},
		{"localhost in capitals, and a port", "127.0.0.1:1", "LocalHost:8080", "", 200},
		{"loopback address", "127.0.0.1:1", "127.0.0.1:8080", "", 200},
		{"other loopback address", "127.9.9.9:1", "127.1.2.3", "", 200},
		{"IPv6", "[::1]:1", "[::1]:8080", "", 200},
		{"IPv6 without a port", "[::1]:1", "[::1]", "", 200},
		{"IPv4 in IPv6", "[::ffff:127.0.0.1]:1", "localhost", "", 200},
		{"other peer", "192.0.2.1:1", "localhost", "", 403},
		{"other peer by IPv6", "[2001:db8::1]:1", "localhost", "", 403},
		{"peer without an address", "@", "localhost", "", 403},
		{"foreign name", "127.0.0.1:1", "evil.example", "", 403},
		{"foreign name and port", "127.0.0.1:1", "evil.example:8080", "", 403},
		{"name that begins like it", "127.0.0.1:1", "localhost.evil.example", "", 403},
		{"name that ends like it", "127.0.0.1:1", "evil.localhost", "", 403},
		{"name of numbers", "127.0.0.1:1", "127.0.0.1.evil.example", "", 403},
		{"public address", "127.0.0.1:1", "192.0.2.1", "", 403},
		{"address of all", "127.0.0.1:1", "0.0.0.0", "", 403},
		{"no name", "127.0.0.1:1", "", "", 403},
		{"proxy", "127.0.0.1:1", "localhost", "X-Forwarded-For", 403},
		{"proxy by RFC 7239", "127.0.0.1:1", "localhost", "Forwarded", 403},
		{"proxy that only says so", "127.0.0.1:1", "localhost", "Via", 403},
	} {
		t.Run(tc.name, func(t *testing.T) {
			for _, path := range []string{"/uploads", "/style.css"} {
				r := request("GET", path, "")
				r.RemoteAddr, r.Host = tc.remote, tc.host
				if tc.header != "" {
					r.Header[tc.header] = []string{""}
				}
				w := answer(t, h, r)
				if w.Code != tc.want {
					t.Errorf("%s: status %d, want %d: %s", path, w.Code, tc.want, w.Body)
				}
				if w.Code == 403 && !strings.Contains(w.Body.String(), "allow @matcher") {
					t.Errorf("the refusal names no remedy: %s", w.Body)
				}
			}
		})
	}
}

func TestAllowDecidesAlone(t *testing.T) {
	inService(t, sound)
	h, _ := provisioned(t, `{"allow":[{"remote_ip":{"ranges":["192.0.2.0/24"]}},{"header":{"X-Key":["open"]}}]}`)
	for _, tc := range []struct {
		name, remote, key string
		want              int
	}{
		{"the first matcher", "192.0.2.1:1", "", 200},
		{"the second matcher", "198.51.100.1:1", "open", 200},
		{"neither", "198.51.100.1:1", "shut", 403},
		{"not even this machine", "127.0.0.1:1", "", 403},
	} {
		r := request("GET", "/", "")
		r.RemoteAddr, r.Host = tc.remote, "upload.example.com"
		r.Header.Set("X-Key", tc.key)
		r.Header.Set("Via", "1.1 proxy")
		if w := answer(t, h, r); w.Code != tc.want {
			t.Errorf("%s: status %d, want %d", tc.name, w.Code, tc.want)
		}
	}
}

func TestPathsAndMethods(t *testing.T) {
	id := waiting(t, inService(t, sound))
	h, logs := provisioned(t, `{}`)
	for _, tc := range []struct {
		method, target string
		want           int
	}{
		{"GET", "/", 200},
		{"HEAD", "/", 200},
		{"GET", "/uploads", 200},
		{"GET", "/uploads?state=waiting&from=2026-01-01&to=2026-01-31&q=x&jid=Me@Example.com", 200},
		{"GET", "/uploads?state=lost", 400},
		{"GET", "/uploads?from=1.1.2026", 400},
		{"GET", "/uploads?to=2026-13-01", 400},
		{"GET", "/uploads?jid=@", 400},
		{"GET", "/uploads?after=x", 400},
		{"GET", "/uploads?store=x", 404},
		{"GET", "/upload?id=" + id, 200},
		{"GET", "/upload?id=x", 404},
		{"GET", "/upload", 404},
		{"GET", "/delete?id=" + id, 200},
		{"GET", "/delete?id=" + store.NewID(time.Now()), 404},
		{"GET", "/users", 200},
		{"GET", "/users?after=x", 400},
		{"GET", "/user?jid=me@example.com", 200},
		{"GET", "/user?jid=@", 400},
		{"GET", "/user", 400},
		{"GET", "/purge?jid=me@example.com", 200},
		{"GET", "/cleanup", 405},
		{"GET", "/verify", 405},
		{"POST", "/", 405},
		{"POST", "/uploads", 405},
		{"PUT", "/delete", 405},
		{"DELETE", "/upload?id=" + id, 405},
		{"OPTIONS", "/", 405},
		{"GET", "/uploads/", 404},
		{"GET", "/uploads/x", 404},
		{"GET", "/templates/layout.html", 404},
		{"GET", "//", 404},
		{"GET", "/style.css", 200},
	} {
		w := answer(t, h, request(tc.method, tc.target, ""))
		if w.Code != tc.want {
			t.Errorf("%s %s: status %d, want %d", tc.method, tc.target, w.Code, tc.want)
		}
		if w.Code == 405 && w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", tc.method, tc.target)
		}
		want := http.Header{
			"X-Content-Type-Options": {"nosniff"}, "Referrer-Policy": {"same-origin"},
			"Content-Security-Policy": {"default-src 'none'; style-src 'self'; img-src 'self' data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"},
		}
		for key := range want {
			if got := w.Header().Get(key); got != want.Get(key) {
				t.Errorf("%s %s: %s is %q", tc.method, tc.target, key, got)
			}
		}
		if got := w.Header().Get("Cache-Control"); got != "no-store" && tc.target != "/style.css" {
			t.Errorf("%s %s: Cache-Control is %q", tc.method, tc.target, got)
		}
	}
	if logs.Len() != 0 {
		t.Errorf("mistakes of the visitor are logged: %v", logs.All())
	}
}

func TestChangesComeFromThisSite(t *testing.T) {
	slots := inService(t, sound)
	h, _ := provisioned(t, `{}`)
	for _, tc := range []struct {
		name   string
		header map[string]string
		want   int
	}{
		{"same origin", map[string]string{"Sec-Fetch-Site": "same-origin", "Origin": "http://localhost"}, 200},
		{"typed by the user", map[string]string{"Sec-Fetch-Site": "none"}, 200},
		{"no browser", nil, 200},
		{"browser that tells the origin only", map[string]string{"Origin": "http://localhost"}, 200},
		{"behind a proxy that ends TLS", map[string]string{"Origin": "https://localhost"}, 200},
		{"other site", map[string]string{"Sec-Fetch-Site": "cross-site", "Origin": "http://evil.example"}, 403},
		{"same site, other origin", map[string]string{"Sec-Fetch-Site": "same-site", "Origin": "http://localhost:81"}, 403},
		{"other site, origin only", map[string]string{"Origin": "http://evil.example"}, 403},
		{"other port, origin only", map[string]string{"Origin": "http://localhost:81"}, 403},
		{"hidden origin", map[string]string{"Origin": "null"}, 403},
	} {
		for _, path := range []string{"/delete", "/purge", "/cleanup", "/verify"} {
			id := waiting(t, slots)
			r := request("POST", path, url.Values{"id": {id}, "jid": {"me@example.com"}}.Encode())
			for key, value := range tc.header {
				r.Header.Set(key, value)
			}
			if w := answer(t, h, r); w.Code != tc.want {
				t.Errorf("%s: POST %s: status %d, want %d", tc.name, path, w.Code, tc.want)
			}
			_, err := slots.Get(t.Context(), id)
			gone := tc.want == 200 && (path == "/delete" || path == "/purge")
			if errors.Is(err, store.ErrNotFound) != gone {
				t.Errorf("%s: after POST %s the slot: %v", tc.name, path, err)
			}
		}
	}
}

func TestParametersOfAChangeComeFromTheForm(t *testing.T) {
	slots := inService(t, sound)
	h, _ := provisioned(t, `{}`)
	id := waiting(t, slots)
	for _, tc := range []struct {
		target, form string
		want         int
	}{
		{"/delete?id=" + id, "", 404},
		{"/purge?jid=me@example.com", "jid=", 400},
		{"/delete", "id=%zz", 400},
		{"/delete", "id=" + id + "&x=" + strings.Repeat("x", maxForm), 400},
	} {
		if w := answer(t, h, request("POST", tc.target, tc.form)); w.Code != tc.want {
			t.Errorf("POST %s: status %d, want %d", tc.target, w.Code, tc.want)
		}
	}
	if _, err := slots.Get(t.Context(), id); err != nil {
		t.Errorf("the slot: %v", err)
	}
}

func TestTroubleIsToldAndLoggedOnce(t *testing.T) {
	inService(t, func(m *badger.Module) store.SlotsModule { return broken{m} })
	h, logs := provisioned(t, `{}`)
	w := answer(t, h, request("GET", "/uploads", ""))
	if w.Code != 500 || !strings.Contains(w.Body.String(), errTrouble.Error()) || !strings.Contains(w.Body.String(), "<nav") {
		t.Errorf("answered %d: %s", w.Code, w.Body)
	}
	if entries := logs.FilterLevelExact(zapcore.ErrorLevel).All(); len(entries) != 1 || entries[0].ContextMap()["page"] != "uploads" {
		t.Errorf("the log is %v", logs.All())
	}

	ctx, gone := context.WithCancel(t.Context())
	gone()
	answer(t, h, request("GET", "/uploads", "").WithContext(ctx))
	if logs.Len() != 1 {
		t.Error("a browser that has gone is logged")
	}
}

func TestMountPathGetsItsSlash(t *testing.T) {
	h, _ := provisioned(t, `{}`)
	for _, tc := range []struct{ sent, stripped, want string }{
		{"/", "/", ""},
		{"/operator/", "/", ""},
		{"/operator", "", "./operator/"},
		{"/operator", "/", "./operator/"},
		{"/a/b?store=x", "/", "./b/?store=x"},
		{"/a/b/?store=x", "/", ""},
		{"/operator/uploads", "/uploads", ""},
		{"//evil.example", "/", "./evil.example/"},
		{"/a/%5Cevil.example", "/", "./%5Cevil.example/"},
	} {
		r := request("GET", tc.sent, "")
		if strings.HasPrefix(tc.sent, "//") {
			r.URL = &url.URL{Path: tc.sent}
		}
		original := r.Clone(r.Context())
		r = r.WithContext(context.WithValue(r.Context(), caddyhttp.OriginalRequestCtxKey, *original))
		r.URL.Path, r.URL.RawPath = tc.stripped, ""
		w := answer(t, h, r)
		if got := w.Header().Get("Location"); got != tc.want || (w.Code == 308) != (tc.want != "") {
			t.Errorf("%s: %d to %q, want %q", tc.sent, w.Code, got, tc.want)
		}
	}
}

func TestStyleSheetIsSentOnce(t *testing.T) {
	h, _ := provisioned(t, `{}`)
	first := answer(t, h, request("GET", "/style.css", ""))
	if first.Code != 200 || first.Header().Get("Content-Type") != "text/css; charset=utf-8" || first.Body.Len() == 0 {
		t.Errorf("answered %d, %v", first.Code, first.Header())
	}
	r := request("GET", "/style.css", "")
	r.Header.Set("If-None-Match", first.Header().Get("ETag"))
	if again := answer(t, h, r); again.Code != 304 {
		t.Errorf("asked again, it answers %d", again.Code)
	}
}
