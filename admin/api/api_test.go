package api_test

import (
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"strings"
	"testing"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/admin/api"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

// site is a handler in service.
type site struct {
	service *store.Ref[*cleanup.Service]
	check   func(context.Context) error
}

func (s *site) Service() *store.Ref[*cleanup.Service] { return s.service.Hold() }

func (s *site) Rule(string) (admin.Rule, bool) { return admin.Rule{}, false }

func (s *site) Check(ctx context.Context, _ string, _ int64) error { return s.check(ctx) }

func (s *site) Removed(store.Slot, cleanup.Reason) {}

// slotsModule makes copies in its own way.
type slotsModule struct {
	badger.Module
	backup func(io.Writer) error
}

func (m *slotsModule) AcquireSlots() (*store.Ref[store.Slots], error) {
	slots, err := badger.Open(m.Key())
	if err != nil {
		return nil, err
	}
	return new(store.Pool[store.Slots]).Acquire("", func() (store.Slots, func() error, error) {
		return copied{slots, m.backup}, slots.Close, nil
	})
}

type copied struct {
	store.Slots
	backup func(io.Writer) error
}

func (c copied) Backup(_ context.Context, w io.Writer) error { return c.backup(w) }

// serve puts a handler into service and returns the API over it.
func serve(t testing.TB, check func(context.Context) error, backup func(io.Writer) error) http.Handler {
	t.Helper()
	dir := t.TempDir()
	slots := &slotsModule{badger.Module{Path: filepath.Join(dir, "slots")}, backup}
	files := &disk.Module{Path: filepath.Join(dir, "files")}
	for _, m := range []caddy.Provisioner{slots, files} {
		if err := m.Provision(caddy.Context{}); err != nil {
			t.Fatal(err)
		}
	}
	service, err := cleanup.Acquire(slots, files, cleanup.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	unregister := admin.Register(slots.Key(), &site{service, check})
	t.Cleanup(func() {
		unregister()
		if err := service.Release(); err != nil {
			t.Error(err)
		}
	})
	return mux()
}

// mux answers errors with their status, as Caddy does.
func mux() http.Handler {
	m := http.NewServeMux()
	for _, route := range api.Routes() {
		m.HandleFunc(route.Pattern, func(w http.ResponseWriter, r *http.Request) {
			var refused caddy.APIError
			if err := route.Handler.ServeHTTP(w, r); errors.As(err, &refused) {
				http.Error(w, refused.Error(), refused.HTTPStatus)
			} else if err != nil {
				http.Error(w, err.Error(), http.StatusInternalServerError)
			}
		})
	}
	return m
}

func TestACallEndsWithItsClient(t *testing.T) {
	ended := make(chan struct{})
	begun := make(chan struct{})
	srv := httptest.NewServer(serve(t, func(ctx context.Context) error {
		close(begun)
		<-ctx.Done()
		close(ended)
		return ctx.Err()
	}, nil))
	defer srv.Close()
	ctx, cancel := context.WithCancel(t.Context())
	go func() {
		<-begun
		cancel()
	}()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, srv.URL+"/xmpp_upload/check?jid=me@example.com&size=1", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := srv.Client().Do(req); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	<-ended
}

// A copy that was cut off must not look like a whole one.
func TestABackupThatFailsIsCutOff(t *testing.T) {
	broken := errors.New("the disk is in trouble")
	for _, tc := range []struct {
		name   string
		backup func(io.Writer) error
		status int
		body   string // as far as it comes
		err    error  // of reading it
	}{
		{"not at all", func(w io.Writer) error { _, err := io.WriteString(w, "copy"); return err }, 200, "copy", nil},
		{"at its beginning", func(io.Writer) error { return broken }, 500, broken.Error() + "\n", nil},
		{"in the middle", func(w io.Writer) error {
			_, err := io.WriteString(w, strings.Repeat("x", 1<<20))
			return errors.Join(err, broken)
		}, 200, "x", io.ErrUnexpectedEOF},
		{"since it can't be", func(io.Writer) error { return errors.ErrUnsupported }, 501, errors.ErrUnsupported.Error() + "\n", nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			srv := httptest.NewServer(serve(t, nil, tc.backup))
			defer srv.Close()
			resp, err := srv.Client().Get(srv.URL + "/xmpp_upload/backup")
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if resp.StatusCode != tc.status || !strings.HasPrefix(string(body), tc.body) || !errors.Is(err, tc.err) {
				t.Errorf("got %s, %.40q, %v", resp.Status, body, err)
			}
		})
	}
}

func FuzzQueries(f *testing.F) {
	for _, seed := range []string{
		"", "jid=a@example.com&state=waiting&q=x&from=2026-01-02&to=2026-01-02T03:04:05%2B01:00&limit=5",
		"after=0123456789abcdefghijklmnopqrstuv012", "limit=99999999999999999999", "jid=%00", "store=%2f", "a;b", "%", "jid=a&jid=b",
	} {
		f.Add(seed)
	}
	handler := serve(f, func(context.Context) error { return nil }, nil)
	f.Fuzz(func(t *testing.T, query string) {
		for _, path := range []string{"uploads", "users", "check", "stats"} {
			r := httptest.NewRequest(http.MethodGet, "/xmpp_upload/"+path, nil)
			r.URL.RawQuery = query
			w := httptest.NewRecorder()
			handler.ServeHTTP(w, r)
			if w.Code != http.StatusOK && w.Code != http.StatusBadRequest && w.Code != http.StatusNotFound {
				t.Errorf("%s?%s: %d %s", path, query, w.Code, w.Body)
			}
		}
	})
}
