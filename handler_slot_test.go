package xmppupload

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/zap/zapcore"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

const (
	everybody = `{"access":[{"jids":["*"]}],"min_free_space":0}`
	askSlot   = "http://example.com/slot/?jid=me@example.com&name=a.txt&size=1"
)

func TestTheDefaultGuardAsksWhoIsConnected(t *testing.T) {
	h := provisioned(t, everybody)
	for remote, want := range map[string]int{
		"127.0.0.1:1":              200,
		"127.8.9.10:1":             200,
		"[::1]:1":                  200,
		"[::ffff:127.0.0.1]:1":     200,
		"192.0.2.1:1":              403,
		"128.0.0.1:1":              403,
		"0.0.0.0:1":                403,
		"[2001:db8::1]:1":          403,
		"[::ffff:192.0.2.1]:1":     403,
		"[::]:1":                   403,
		"localhost:1":              403,
		"127.0.0.1.evil.example:1": 403,
		"127.0.0.1":                403,
		"@":                        403,
		"":                         403,
	} {
		for _, path := range []string{"slot/", "max_size/"} {
			r := request("GET", strings.Replace(askSlot, "slot/", path, 1), nil)
			r.RemoteAddr = remote
			if w := serveRequest(t, h, r); w.Code != want {
				t.Errorf("%s from %q: %d, want %d", path, remote, w.Code, want)
			}
		}
	}
}

var errStore = errors.New("the store is in trouble at /secret/path")

type troubledSlots struct {
	store.Slots
	reserve, free, commit error
	// committed is the error of a commit that has come to its end all the same.
	committed error
}

func (s troubledSlots) Reserve(ctx context.Context, slot store.Slot, l store.Limits) error {
	if s.reserve != nil {
		return s.reserve
	}
	return s.Slots.Reserve(ctx, slot, l)
}

func (s troubledSlots) Free(ctx context.Context) (int64, error) {
	if s.free != nil {
		return 0, s.free
	}
	return s.Slots.Free(ctx)
}

func (s troubledSlots) Commit(ctx context.Context, id string, r store.Result) (store.Slot, error) {
	if s.commit != nil {
		return store.Slot{}, s.commit
	}
	slot, err := s.Slots.Commit(ctx, id, r)
	if err == nil && s.committed != nil {
		return store.Slot{}, s.committed
	}
	return slot, err
}

// ejabberd sleeps over a 503 with Retry-After, and all its users with it.
func TestStoresInTroubleAreInternalErrors(t *testing.T) {
	for name, trouble := range map[string]func(s store.Slots) (store.Slots, error){
		"open":    func(s store.Slots) (store.Slots, error) { return nil, errStore },
		"reserve": func(s store.Slots) (store.Slots, error) { return troubledSlots{Slots: s, reserve: errStore}, nil },
		"closed": func(s store.Slots) (store.Slots, error) {
			return troubledSlots{Slots: s, reserve: store.ErrClosed}, nil
		},
		"free": func(s store.Slots) (store.Slots, error) { return troubledSlots{Slots: s, free: errStore}, nil },
	} {
		t.Run(name, func(t *testing.T) {
			h := provisioned(t, `{"access":[{"jids":["*"]}]}`)
			h.slotsModule = otherSlots{h.slotsModule, trouble}
			logs := observe(h, zapcore.InfoLevel)
			for _, output := range []string{"", "&output=application/json"} {
				w := serve(t, h, "GET", askSlot+output, "")
				expectStatus(t, w, 500)
				if w.Header().Get("Retry-After") != "" || strings.Contains(w.Body.String(), "secret") || w.Body.Len() == 0 {
					t.Errorf("Retry-After %q, body %q", w.Header().Get("Retry-After"), w.Body)
				}
				if output != "" && !strings.Contains(w.Body.String(), `"error":"internal"`) {
					t.Errorf("JSON %q", w.Body)
				}
			}
			for _, entry := range logs.All() {
				if entry.Level != zapcore.ErrorLevel || entry.ContextMap()["error"] == "" {
					t.Errorf("logged %+v, want an error with its cause", entry)
				}
			}
			if logs.Len() != 2 {
				t.Errorf("%d lines for two refusals", logs.Len())
			}
		})
	}
}

type freeSlots struct {
	store.Slots
	free int64
}

func (s freeSlots) Free(context.Context) (int64, error) { return s.free, nil }

type freeFiles struct {
	store.Files
	free int64
}

func (f freeFiles) Free(context.Context) (int64, error) { return f.free, nil }

func TestMinFreeSpaceCountsWhatIsPromised(t *testing.T) {
	const least = 1000
	for _, tc := range []struct {
		name         string
		slots, files int64 // free
		waiting      int   // bytes of a slot that was granted before
		size, want   int
	}{
		{"plenty", math.MaxInt64, math.MaxInt64, 0, 100, 200},
		{"no bounds", -1, -1, 0, 100, 200},
		{"exactly enough", least, least + 100, 0, 100, 200},
		{"a byte too little", least, least + 99, 0, 100, 507},
		{"a byte too little for slots", least - 1, math.MaxInt64, 0, 100, 507},
		{"too little for slots, files without a bound", least - 1, -1, 0, 100, 507},
		{"nothing", 0, 0, 0, 1, 507},
		{"nothing for slots", 0, math.MaxInt64, 0, 1, 507},
		{"waiting slots count", least, least + 150, 50, 100, 200},
		{"waiting slots count to the byte", least, least + 149, 50, 100, 507},
		{"huge size", math.MaxInt64, math.MaxInt64, 50, math.MaxInt64, 507},
	} {
		t.Run(tc.name, func(t *testing.T) {
			h := provisioned(t, fmt.Sprintf(`{"access":[{"jids":["*"]}],"min_free_space":%d}`, least))
			if tc.waiting > 0 {
				newSlot(t, h, fmt.Sprint("size=", tc.waiting))
			}
			h.slotsModule = otherSlots{h.slotsModule, func(s store.Slots) (store.Slots, error) { return freeSlots{s, tc.slots}, nil }}
			h.filesModule = otherFiles{h.filesModule, func(f store.Files) (store.Files, error) { return freeFiles{f, tc.files}, nil }}
			w := serve(t, h, "GET", fmt.Sprint("http://example.com/slot/?jid=me@example.com&name=a&size=", tc.size), "")
			expectStatus(t, w, tc.want)
			if tc.want == 507 && w.Header().Get("Retry-After") != "" {
				t.Error("507 with Retry-After")
			}
		})
	}
}

func TestMaxStorageIsExact(t *testing.T) {
	h := provisioned(t, `{"access":[{"jids":["*"]}],"min_free_space":0,"max_storage":100}`)
	ask := func(jid string, size int) int {
		return serve(t, h, "GET", fmt.Sprintf("http://example.com/slot/?jid=%s&name=a&size=%d", jid, size), "").Code
	}
	stored := newSlot(t, h, "size=30")
	expectStatus(t, serve(t, h, "PUT", stored, strings.Repeat("x", 30)), 201)
	for i, want := range []struct{ size, status int }{{30, 200}, {41, 507}, {40, 200}, {1, 507}} {
		if got := ask(fmt.Sprintf("user%d@example.com", i), want.size); got != want.status {
			t.Errorf("slot of %d bytes: %d, want %d", want.size, got, want.status)
		}
	}
}

func TestARefusalIsOneLineThatNamesNoUserButForDebugging(t *testing.T) {
	const config = `{"access":[{"jids":["denied@example.com"],"deny":true},{"jids":["*"],"quota":{"max_file_size":10,"uploads":[{"limit":1,"per":"1h"}]}}]}`
	for _, level := range []zapcore.Level{zapcore.InfoLevel, zapcore.DebugLevel} {
		h := provisioned(t, config)
		put := newSlot(t, h, "size=5")
		logs := observe(h, level)
		for _, tc := range []struct{ method, target, code string }{
			{"GET", "http://example.com/slot/?name=a&size=1", "bad_request"},
			{"POST", askSlot, "method_not_allowed"},
			{"GET", "http://example.com/slot/?jid=denied@example.com&name=a&size=1", "not_allowed"},
			{"GET", "http://example.com/max_size/?jid=denied@example.com", "not_allowed"},
			{"GET", askSlot + "1", "file_too_large"},
			{"GET", askSlot, "rate_quota"},
			{"PUT", put, "size_mismatch"},
			{"PUT", put + "x", "unknown_slot"},
		} {
			serve(t, h, tc.method, tc.target, "x")
			lines := logs.TakeAll()
			if len(lines) != 1 || lines[0].ContextMap()["code"] != tc.code {
				t.Errorf("%s %s: logged %v, want one line with %s", tc.method, tc.target, lines, tc.code)
				continue
			}
			text := fmt.Sprint(lines[0].ContextMap())
			if level == zapcore.InfoLevel && strings.Contains(text, "@") {
				t.Errorf("%s %s: the line names the user: %s", tc.method, tc.target, text)
			}
			if level == zapcore.DebugLevel && tc.code == "not_allowed" && !strings.Contains(text, "denied@example.com") {
				t.Errorf("%s %s: the line does not name the user: %s", tc.method, tc.target, text)
			}
			if _, ok := lines[0].ContextMap()["limit"]; ok != (tc.code == "rate_quota" || tc.code == "file_too_large") {
				t.Errorf("%s %s: limit in %s", tc.method, tc.target, text)
			}
		}
		expectStatus(t, serve(t, h, "PUT", put, "hello"), http.StatusCreated)
		serve(t, h, "GET", put, "")
		serve(t, h, "GET", put+"x", "")
		if logs.Len() != 0 {
			t.Errorf("what is no refusal of a slot or an upload is logged: %v", logs.All())
		}
	}
}
