package xmppupload

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// provisioned returns a handler over stores of its own. Config is what the JSON
// has besides them.
func provisioned(t testing.TB, config string) *Handler {
	t.Helper()
	dir := t.TempDir()
	h := new(Handler)
	if err := json.Unmarshal([]byte(config), h); err != nil {
		t.Fatal(err)
	}
	h.Slots = storeConfig(t, "badger", filepath.Join(dir, "slots"))
	h.Files = storeConfig(t, "disk", filepath.Join(dir, "files"))
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	if err := h.Provision(ctx); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := h.Cleanup(); err != nil {
			t.Error(err)
		}
	})
	h.logger = zap.NewNop()
	return h
}

func storeConfig(t testing.TB, name, path string) json.RawMessage {
	t.Helper()
	b, err := json.Marshal(map[string]string{"store": name, "path": path})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// observe collects what the handler logs at a level and above.
func observe(h *Handler, level zapcore.Level) *observer.ObservedLogs {
	core, logs := observer.New(level)
	h.logger = zap.New(core)
	return logs
}

// serveRequest answers the request; status 418 is the next handler's.
func serveRequest(t testing.TB, h *Handler, r *http.Request) *httptest.ResponseRecorder {
	t.Helper()
	w := httptest.NewRecorder()
	next := caddyhttp.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) error {
		w.WriteHeader(http.StatusTeapot)
		return nil
	})
	if err := h.ServeHTTP(w, r, next); err != nil {
		t.Fatalf("ServeHTTP() = %v", err)
	}
	return w
}

func request(method, target string, body io.Reader) *http.Request {
	r := httptest.NewRequest(method, target, body)
	r.RemoteAddr = "127.0.0.1:12345"
	return r
}

func serve(t testing.TB, h *Handler, method, target, body string) *httptest.ResponseRecorder {
	t.Helper()
	return serveRequest(t, h, request(method, target, strings.NewReader(body)))
}

// newSlot takes a slot and returns the path of its URLs.
func newSlot(t testing.TB, h *Handler, query string) string {
	t.Helper()
	w := serve(t, h, "GET", "http://example.com/slot/?jid=me@example.com&name=a.txt&"+query, "")
	put, _, _ := strings.Cut(w.Body.String(), "\n")
	path, ok := strings.CutPrefix(put, "http://example.com")
	if w.Code != http.StatusOK || !ok {
		t.Fatalf("slot: %d %q", w.Code, w.Body)
	}
	return path
}

func expectStatus(t testing.TB, w *httptest.ResponseRecorder, want int) {
	t.Helper()
	if w.Code != want {
		t.Errorf("answered %d %q, want %d", w.Code, w.Body, want)
	}
}

// otherSlots puts something between the handler and its slots.
type otherSlots struct {
	store.SlotsModule
	wrap func(store.Slots) (store.Slots, error)
}

func (m otherSlots) AcquireSlots() (*store.Ref[store.Slots], error) {
	ref, err := m.SlotsModule.AcquireSlots()
	if err != nil {
		return nil, err
	}
	if ref.Value, err = m.wrap(ref.Value); err != nil {
		_ = ref.Release()
		return nil, err
	}
	return ref, nil
}

// otherFiles puts something between the handler and its files.
type otherFiles struct {
	store.FilesModule
	wrap func(store.Files) (store.Files, error)
}

func (m otherFiles) AcquireFiles() (*store.Ref[store.Files], error) {
	ref, err := m.FilesModule.AcquireFiles()
	if err != nil {
		return nil, err
	}
	if ref.Value, err = m.wrap(ref.Value); err != nil {
		_ = ref.Release()
		return nil, err
	}
	return ref, nil
}
