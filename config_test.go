package xmppupload

import (
	"context"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"
	_ "github.com/caddyserver/caddy/v2/modules/standard"

	"github.com/caddy-xmpp/xmpp-upload/quota"
)

// load decodes a handler as Caddy does.
func load(t *testing.T, config string) *Handler {
	t.Helper()
	h := new(Handler)
	if err := caddy.StrictUnmarshalJSON([]byte(config), h); err != nil {
		t.Fatal(err)
	}
	return h
}

func configured(t *testing.T, config string) *Handler {
	t.Helper()
	h := load(t, config)
	if err := h.configure(); err != nil {
		t.Fatal(err)
	}
	return h
}

func newContext(t *testing.T) caddy.Context {
	t.Helper()
	ctx, cancel := caddy.NewContext(caddy.Context{Context: context.Background()})
	t.Cleanup(cancel)
	return ctx
}

func TestJSONErrorsNameTheKey(t *testing.T) {
	for _, tc := range []struct{ name, config, want string }{
		{"empty matcher set", `{"slot_match":[{"method":["GET"]},{}]}`, "slot_match[1]: an empty matcher set would let everybody"},
		{"unknown matcher", `{"slot_match":[{"nonsense":{}}]}`, "slot_match: "},
		{"relative base URL", `{"base_url":"/share"}`, `base_url: "/share": must begin with https://`},
		{"base URL with a password", `{"base_url":"https://a:secret@b"}`, `base_url: "https://a:xxxxx@b": must not hold a user`},
		{"base URL that is none, with a password", `{"base_url":"https://a:secret@[b"}`, "base_url: is not a URL such as https://upload.example.com: missing ']' in host"},
		{"download URL with a query", `{"download_url":"https://b/?x"}`, "download_url: "},
		{"rule without JIDs", `{"access":[{"jids":["*"]},{"deny":true}]}`, "access[1].jids: names nobody"},
		{"empty pattern", `{"access":[{"jids":["a","b",""]}]}`, `access[0].jids[2]: pattern "": `},
		{"wrong pattern", `{"access":[{"jids":["a"]},{"jids":["b","@c"]}]}`, `access[1].jids[1]: pattern "@c": `},
		{"wrong expression", `{"access":[{"jids":["~("]}]}`, "access[0].jids[0]: pattern \"~(\": error parsing regexp"},
		{"deny with a quota", `{"access":[{"jids":["*"],"deny":true,"quota":{"bytes":[{"limit":1,"per":"1h"}]}}]}`, "access[0]: who is denied"},
		{"deny with keep", `{"access":[{"jids":["*"],"deny":true,"keep":"1d"}]}`, "access[0]: who is denied"},
		{"file size of zero", `{"access":[{"jids":["*"],"quota":{"max_file_size":0}}]}`, "access[0].quota.max_file_size: must be more than zero"},
		{"negative total size", `{"access":[{"jids":["*"],"quota":{"max_total_size":-1}}]}`, "access[0].quota.max_total_size: must be more than zero"},
		{"limit of zero", `{"access":[{"jids":["*"]},{"jids":["*"],"quota":{"bytes":[{"per":"1h"}]}}]}`, "access[1].quota.bytes[0]: the limit must be more than zero"},
		{"limit without span", `{"access":[{"jids":["*"],"quota":{"uploads":[{"limit":1}]}}]}`, "access[0].quota.uploads[0]: the span must be more than zero"},
		{"negative span", `{"access":[{"jids":["*"],"quota":{"uploads":[{"limit":1,"per":"-1h"}]}}]}`, "access[0].quota.uploads[0]: the span must be more than zero"},
		{"two limits of a span", `{"access":[{"jids":["*"],"quota":{"bytes":[{"limit":1,"per":"1d"},{"limit":2,"per":"24h"}]}}]}`, "access[0].quota.bytes[1]: another limit is for spans of 24h0m0s too"},
		{"keep of zero in a rule", `{"access":[{"jids":["*"],"keep":0}]}`, "access[0].keep: must be more than zero"},
		{"keep of zero", `{"keep":"0d"}`, "keep: must be more than zero"},
		{"negative keep", `{"keep":-1}`, "keep: must be more than zero"},
		{"negative put_timeout", `{"put_timeout":"-6m"}`, "put_timeout: must be more than zero"},
		{"cleanup_interval of zero", `{"cleanup_interval":0}`, "cleanup_interval: must be more than zero"},
		{"negative min_free_space", `{"min_free_space":-1}`, "min_free_space: must not be negative"},
		{"max_storage of zero", `{"max_storage":0}`, "max_storage: must be more than zero"},
		{"unknown slot store", `{"slots":{"store":"nonsense"}}`, "slots: "},
		{"unknown file store", `{"files":{"store":"nonsense"}}`, "files: "},
		{"store without name", `{"files":{"path":"/srv"}}`, "files: "},
		{"placeholder without value", `{"access":[{"jids":["~^{env.XMPP_UPLOAD_TEST_UNSET}"]}]}`, "access[0].jids[0]: placeholder {env.XMPP_UPLOAD_TEST_UNSET} has no value"},
		{"placeholder of a missing file", `{"base_url":"{file./nonexistent/url}"}`, "base_url: placeholder {file./nonexistent/url} has no value"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			err := load(t, tc.config).Provision(newContext(t))
			if err == nil || !strings.HasPrefix(err.Error(), tc.want) {
				t.Errorf("Provision() = %v, want an error that begins with %q", err, tc.want)
			}
			if err != nil && strings.Contains(err.Error(), "secret") {
				t.Errorf("the error tells the password: %v", err)
			}
		})
	}
}

func TestJSONThatDoesNotFitIsRefused(t *testing.T) {
	for config, want := range map[string]string{
		`{"nonsense":1}`: "nonsense",
		`{"access":[{"jids":["*"],"quota":{"max_file_size":9223372036854775808}}]}`: "max_file_size",
		`{"access":[{"jids":["*"],"quota":{"max_file_size":1.5}}]}`:                 "max_file_size",
		`{"max_storage":"10GB"}`: "max_storage",
		`{"keep":"always"}`:      "keep",
		`{"put_timeout":"soon"}`: "soon",
	} {
		err := caddy.StrictUnmarshalJSON([]byte(config), new(Handler))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want an error about %q", config, err, want)
		}
	}
}

func TestDefaults(t *testing.T) {
	h := configured(t, `{}`)
	if h.putTimeout != 6*time.Minute || h.keep != Keep(30*24*time.Hour) || h.cleanupInterval != 10*time.Minute {
		t.Errorf("put_timeout %v, keep %v, cleanup_interval %v", h.putTimeout, time.Duration(h.keep), h.cleanupInterval)
	}
	if h.minFreeSpace != 256<<20 || h.maxStorage != 0 || h.base != nil || h.download != "" || len(h.rules) != 0 {
		t.Errorf("settings %+v", h.settings)
	}
	if _, _, ok := h.acl.Match("a@example.com"); ok {
		t.Error("somebody may upload")
	}
	if err := h.loadModules(newContext(t)); err != nil {
		t.Fatal(err)
	}
	if len(h.slotMatcher) != 0 {
		t.Errorf("slot matcher %v", h.slotMatcher)
	}
	for _, key := range []string{h.slotsModule.Key(), h.filesModule.Key()} {
		if !strings.Contains(key, filepath.Join(caddy.AppDataDir(), "xmpp-upload")) {
			t.Errorf("store %q is not below Caddy's data directory", key)
		}
	}
}

func TestSettingsFollowTheConfiguration(t *testing.T) {
	dir := t.TempDir()
	config, err := json.Marshal(map[string]any{
		"slots": map[string]string{"store": "badger", "path": filepath.Join(dir, "s")},
		"files": map[string]string{"store": "disk", "path": filepath.Join(dir, "f")},
		"slot_match": []any{
			map[string]any{"remote_ip": map[string]any{"ranges": []string{"192.0.2.0/24"}}},
			map[string]any{"method": []string{"GET"}},
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	h := load(t, string(config))
	if err := json.Unmarshal([]byte(`{
		"base_url": "https://upload.example.com/share/",
		"download_url": "https://cdn.example.com/",
		"access": [
			{"jids": ["Blocked@Example.com"], "deny": true},
			{"jids": ["example.com"], "keep": "forever", "quota": {
				"max_file_size": 1, "max_total_size": 2,
				"bytes": [{"limit": 3, "per": "1h"}, {"limit": 4, "per": "1d"}],
				"uploads": [{"limit": 5, "per": "1h"}]}},
			{"jids": ["*"]}
		],
		"put_timeout": "1h30m", "keep": "7d", "cleanup_interval": "90s",
		"min_free_space": 0, "max_storage": 1000
	}`), h); err != nil {
		t.Fatal(err)
	}
	if err := h.configure(); err != nil {
		t.Fatal(err)
	}
	if err := h.loadModules(newContext(t)); err != nil {
		t.Fatal(err)
	}

	if got := h.base.String(); got != "https://upload.example.com/share" || h.base.Path != "/share" {
		t.Errorf("base %q", got)
	}
	if h.download != "https://cdn.example.com" {
		t.Errorf("download %q", h.download)
	}
	wantRules := []ruleLimits{
		{deny: true, keep: Keep(7 * 24 * time.Hour)},
		{keep: Forever, limits: quota.Limits{
			MaxFileSize: 1, MaxTotalSize: 2,
			Bytes:   []quota.Window{{Limit: 3, Per: time.Hour}, {Limit: 4, Per: 24 * time.Hour}},
			Uploads: []quota.Window{{Limit: 5, Per: time.Hour}},
		}},
		{keep: Keep(7 * 24 * time.Hour)},
	}
	if !reflect.DeepEqual(h.rules, wantRules) {
		t.Errorf("rules %+v, want %+v", h.rules, wantRules)
	}
	if rule, pattern, ok := h.acl.Match("blocked@example.com"); rule != 0 || pattern != "Blocked@Example.com" || !ok {
		t.Errorf("Match() = %d, %q, %t", rule, pattern, ok)
	}
	if h.putTimeout != 90*time.Minute || h.keep != Keep(7*24*time.Hour) || h.cleanupInterval != 90*time.Second || h.minFreeSpace != 0 || h.maxStorage != 1000 {
		t.Errorf("settings %+v", h.settings)
	}
	if len(h.slotMatcher) != 2 || !strings.Contains(h.slotsModule.Key(), dir) || !strings.Contains(h.filesModule.Key(), dir) {
		t.Errorf("slot matcher %v, stores %q and %q", h.slotMatcher, h.slotsModule.Key(), h.filesModule.Key())
	}
}

func TestURLsGetNoSlashAtTheirEnd(t *testing.T) {
	for in, want := range map[string]string{
		"https://upload.example.com":         "https://upload.example.com",
		"https://upload.example.com/":        "https://upload.example.com",
		"HTTP://127.0.0.1:8080/a/b-c_d.e:f/": "http://127.0.0.1:8080/a/b-c_d.e:f",
		"https://[::1]:8443/":                "https://[::1]:8443",
		"https://upload.example.com:/a":      "https://upload.example.com/a",
	} {
		config, _ := json.Marshal(map[string]string{"base_url": in, "download_url": in})
		h := configured(t, string(config))
		if h.base.String() != want || h.download != want {
			t.Errorf("%s: base %q and download %q, want %q", in, h.base, h.download, want)
		}
	}
}

func TestPlaceholdersAreReplacedInEveryString(t *testing.T) {
	t.Setenv("XMPP_UPLOAD_TEST", "example.com")
	file := filepath.Join(t.TempDir(), "jid")
	if err := os.WriteFile(file, []byte("Admin@example.com\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	config, _ := json.Marshal(map[string]any{
		"base_url":     "https://{env.XMPP_UPLOAD_TEST}/share",
		"download_url": "https://cdn.{env.XMPP_UPLOAD_TEST}",
		"access": []any{map[string]any{"jids": []string{
			"{file." + file + "}", `~^guest[0-9]{3}\{@{env.XMPP_UPLOAD_TEST}$`, "*.{env.XMPP_UPLOAD_TEST}",
		}}},
	})
	h := configured(t, string(config))
	if h.base.String() != "https://example.com/share" || h.download != "https://cdn.example.com" {
		t.Errorf("base %q, download %q", h.base, h.download)
	}
	for jid, want := range map[string]bool{
		"admin@example.com": true, "guest123{@example.com": true, "a@sub.example.com": true,
		"other@example.com": false, "guest12{@example.com": false, "guest123{@example.org": false,
	} {
		if _, _, ok := h.acl.Match(jid); ok != want {
			t.Errorf("%q matches: %t, want %t", jid, ok, want)
		}
	}
}

func TestAPlaceholderCannotBringInWhatIsNotChecked(t *testing.T) {
	for _, value := range []string{"ftp://a", "{env.HOME}", "https://a/{env.HOME}"} {
		t.Setenv("XMPP_UPLOAD_TEST", value)
		if err := load(t, `{"base_url":"{env.XMPP_UPLOAD_TEST}"}`).configure(); err == nil {
			t.Errorf("base_url takes %q", value)
		}
	}
	t.Setenv("XMPP_UPLOAD_TEST", "@{env.HOME}")
	err := load(t, `{"access":[{"jids":["*","{env.XMPP_UPLOAD_TEST}"]}]}`).configure()
	if err == nil || !strings.HasPrefix(err.Error(), "access[0].jids[1]: ") {
		t.Errorf("configure() = %v", err)
	}
}

func TestWarnings(t *testing.T) {
	for _, tc := range []struct {
		name, config string
		want         []string
	}{
		{"nothing to warn of", `{"base_url":"https://a.example","access":[{"jids":["a@b","b"]},{"jids":["*"]}]}`, nil},
		{"no rule", `{}`, []string{"access: no rule allows anybody to upload"}},
		{"only denials", `{"access":[{"jids":["*"],"deny":true}]}`, []string{"access: no rule allows anybody to upload"}},
		{
			"covered patterns", `{"access":[{"jids":["b"]},{"jids":["a@b","A@B","c"]},{"jids":["*"]},{"jids":["d"]}]}`,
			[]string{
				`access[1]: pattern "a@b" never decides, since "b" of access[0] matches first`,
				`access[1]: pattern "A@B" never decides, since "b" of access[0] matches first`,
				`access[3]: pattern "d" never decides, since "*" of access[2] matches first`,
			},
		},
		{
			"hosts on which ejabberd fails", `{"base_url":"http://[::1]:8080/a","download_url":"https://my_cdn.example","access":[{"jids":["*"]}]}`,
			[]string{
				"http://[::1]:8080/a: ejabberd 25.08 and later fail on hosts that hold an underscore or are IPv6 addresses",
				"https://my_cdn.example: ejabberd 25.08 and later fail on hosts that hold an underscore or are IPv6 addresses",
			},
		},
		{"an underscore in a path", `{"base_url":"https://a.example/my_path","access":[{"jids":["*"]}]}`, nil},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := configured(t, tc.config).warnings(); !reflect.DeepEqual(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestKeepInJSON(t *testing.T) {
	for in, want := range map[string]string{
		`"forever"`: `"forever"`,
		`"30d"`:     `2592000000000000`,
		`"1h30m"`:   `5400000000000`,
		`1000`:      `1000`,
	} {
		var k Keep
		if err := json.Unmarshal([]byte(in), &k); err != nil {
			t.Errorf("%s: %v", in, err)
		}
		if got, err := json.Marshal(k); err != nil || string(got) != want {
			t.Errorf("%s became %s, %v, want %s", in, got, err, want)
		}
	}
	for _, in := range []string{`"always"`, `"Forever"`, `""`, `true`, `[]`, `1.5`} {
		if err := json.Unmarshal([]byte(in), new(Keep)); err == nil || !strings.Contains(err.Error(), "keep: ") {
			t.Errorf("%s: %v, want an error about keep", in, err)
		}
	}
}

func TestKeepUntil(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	if got := Keep(24 * time.Hour).Until(at); !got.Equal(at.AddDate(0, 0, 1)) {
		t.Errorf("kept for a day until %v", got)
	}
	if got := Forever.Until(at); !got.IsZero() {
		t.Errorf("kept forever until %v", got)
	}
}
