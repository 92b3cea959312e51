package xmppupload

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-xmpp/xmpp-upload/acl"
	"github.com/caddy-xmpp/xmpp-upload/quota"
)

const (
	defaultPutTimeout      = caddy.Duration(6 * time.Minute)
	defaultKeep            = Keep(30 * 24 * time.Hour)
	defaultCleanupInterval = caddy.Duration(10 * time.Minute)
	defaultMinFreeSpace    = int64(256 << 20)
)

// Rule tells what the users that it matches may do.
type Rule struct {
	// Whom the rule matches, one of:
	//
	//   - `user@example.com`: that bare JID
	//   - `example.com`: that domain and all of its users
	//   - `*.example.com`: its subdomains of any depth and their users
	//   - `*`: everyone
	//   - `~expression`: bare JIDs in which the Go regular expression is found
	//
	// Case and the encoding of international domains make no difference.
	JIDs []string `json:"jids,omitempty"`

	// Whether these users may not upload. Default: they may.
	Deny bool `json:"deny,omitempty"`

	// How much these users may upload, each of them. Default: no limits.
	Quota Quota `json:"quota,omitzero"`

	// How long their files are served, a duration or `forever`. Default: as for
	// all.
	Keep *Keep `json:"keep,omitempty"`
}

// Quota limits what one bare JID may upload.
type Quota struct {
	// Bytes of one file. Encrypted files are some bytes larger than their
	// originals. Default: no limit.
	MaxFileSize *int64 `json:"max_file_size,omitempty"`

	// Bytes of all files that are stored and all slots that wait for their
	// upload. Default: no limit.
	MaxTotalSize *int64 `json:"max_total_size,omitempty"`

	// Bytes that slots may be given out for in any span of time. Several spans
	// may be limited, such as an hour and a day. Default: no limit.
	Bytes []Window `json:"bytes,omitempty"`

	// Slots that may be given out in any span of time. Several spans may be
	// limited. Default: no limit.
	Uploads []Window `json:"uploads,omitempty"`
}

// Window limits what is given out in a span of time.
type Window struct {
	// The most bytes or uploads in any span of this length.
	Limit int64 `json:"limit"`

	// The length of the span.
	Per caddy.Duration `json:"per"`
}

// Keep is how long a file is served: a duration, or Forever. In JSON it is a
// duration as elsewhere in Caddy, or the string "forever".
type Keep time.Duration

// Forever keeps a file until somebody deletes it.
const Forever Keep = math.MaxInt64

const forever = "forever"

// Until returns when a file that was uploaded at t ceases to be served; zero
// is never.
func (k Keep) Until(t time.Time) time.Time {
	if k == Forever {
		return time.Time{}
	}
	return t.Add(time.Duration(k))
}

// MarshalJSON implements json.Marshaler.
func (k Keep) MarshalJSON() ([]byte, error) {
	if k == Forever {
		return json.Marshal(forever)
	}
	return json.Marshal(time.Duration(k))
}

// UnmarshalJSON implements json.Unmarshaler.
func (k *Keep) UnmarshalJSON(b []byte) error {
	if string(b) == `"`+forever+`"` {
		*k = Forever
		return nil
	}
	var d caddy.Duration
	if err := json.Unmarshal(b, &d); err != nil {
		return fmt.Errorf("keep: %s is neither a duration nor %q: %w", b, forever, err)
	}
	*k = Keep(d)
	return nil
}

// ruleLimits is what applies to the users whom a rule matches.
type ruleLimits struct {
	deny   bool
	limits quota.Limits
	keep   Keep
}

// keyError is an error of the configuration and the JSON key that it is about.
type keyError struct {
	key string
	err error
}

func (e *keyError) Error() string { return e.key + ": " + e.err.Error() }
func (e *keyError) Unwrap() error { return e.err }

var (
	errNotPositive = errors.New("must be more than zero; leave it out for the default")
	errNegative    = errors.New("must not be negative; 0 turns it off")
	errOpenGuard   = errors.New("an empty matcher set would let everybody take slots in the name of everyone; name what the XMPP server's requests match")
)

// configure turns the configuration into settings, but for what modules are.
func (h *Handler) configure() error {
	if err := h.expandPlaceholders(); err != nil {
		return err
	}
	if err := h.checkOptions(); err != nil {
		return err
	}
	if err := h.compileAccess(); err != nil {
		return err
	}
	if err := h.parseURLs(); err != nil {
		return err
	}
	h.putTimeout = time.Duration(valueOr(h.PutTimeout, defaultPutTimeout))
	h.keep = valueOr(h.Keep, defaultKeep)
	h.cleanupInterval = time.Duration(valueOr(h.CleanupInterval, defaultCleanupInterval))
	h.minFreeSpace = valueOr(h.MinFreeSpace, defaultMinFreeSpace)
	h.maxStorage = valueOr(h.MaxStorage, 0)
	return nil
}

func valueOr[T any](v *T, fallback T) T {
	if v == nil {
		return fallback
	}
	return *v
}

// checkOptions checks what is not a rule. Strings with placeholders pass.
func (h *Handler) checkOptions() error {
	for i, set := range h.SlotMatch {
		if len(set) == 0 {
			return &keyError{fmt.Sprintf("slot_match[%d]", i), errOpenGuard}
		}
	}
	if h.MinFreeSpace != nil && *h.MinFreeSpace < 0 {
		return &keyError{"min_free_space", errNegative}
	}
	return cmp.Or(
		checkURL("base_url", h.BaseURL),
		checkURL("download_url", h.DownloadURL),
		checkPositive("put_timeout", h.PutTimeout),
		checkPositive("keep", h.Keep),
		checkPositive("cleanup_interval", h.CleanupInterval),
		checkPositive("max_storage", h.MaxStorage),
	)
}

// check checks the rule of the given key. Strings with placeholders pass.
func (r Rule) check(key string) error {
	if len(r.JIDs) == 0 {
		return &keyError{key + ".jids", errors.New("names nobody; list whom the rule matches, * for everyone")}
	}
	for i, jid := range r.JIDs {
		if placeholder.MatchString(jid) {
			continue
		}
		if err := acl.Check(jid); err != nil {
			return &keyError{fmt.Sprintf("%s.jids[%d]", key, i), err}
		}
	}
	if r.Deny && (r.Keep != nil || !r.Quota.isZero()) {
		return &keyError{key, errors.New("who is denied uploads nothing, so there is nothing to limit or keep; leave that out, or allow instead of deny")}
	}
	return cmp.Or(checkPositive(key+".keep", r.Keep), r.Quota.check(key+".quota"))
}

func (q Quota) isZero() bool {
	return q.MaxFileSize == nil && q.MaxTotalSize == nil && len(q.Bytes) == 0 && len(q.Uploads) == 0
}

func (q Quota) check(key string) error {
	return cmp.Or(
		checkPositive(key+".max_file_size", q.MaxFileSize),
		checkPositive(key+".max_total_size", q.MaxTotalSize),
		checkWindows(key+".bytes", q.Bytes),
		checkWindows(key+".uploads", q.Uploads),
	)
}

func checkWindows(key string, windows []Window) error {
	spans := make(map[caddy.Duration]bool)
	for i, w := range windows {
		key := fmt.Sprintf("%s[%d]", key, i)
		switch {
		case w.Limit <= 0:
			return &keyError{key, errors.New("the limit must be more than zero; use deny for those who may not upload")}
		case w.Per <= 0:
			return &keyError{key, errors.New("the span must be more than zero, such as 1h")}
		case spans[w.Per]:
			return &keyError{key, fmt.Errorf("another limit is for spans of %s too; keep the stricter one", time.Duration(w.Per))}
		}
		spans[w.Per] = true
	}
	return nil
}

func checkPositive[T ~int64](key string, v *T) error {
	if v != nil && *v <= 0 {
		return &keyError{key, errNotPositive}
	}
	return nil
}

func checkURL(key, s string) error {
	if s == "" || placeholder.MatchString(s) {
		return nil
	}
	_, err := parseURL(key, s)
	return err
}

var (
	// urlHost and urlPath hold what every XMPP server passes on unchanged.
	urlHost = regexp.MustCompile(`^[A-Za-z0-9._-]+$|^\[[0-9A-Fa-f:.]+\]$`)
	urlPath = regexp.MustCompile(`^[A-Za-z0-9._/:-]*$`)
)

// parseURL parses a URL that others get below, without a slash at its end.
func parseURL(key, s string) (*url.URL, error) {
	u, err := url.Parse(s)
	if e, ok := errors.AsType[*url.Error](err); ok {
		return nil, &keyError{key, fmt.Errorf("is not a URL such as https://upload.example.com: %w", e.Err)}
	}
	host := strings.TrimSuffix(u.Host, ":"+u.Port())
	dir := strings.TrimSuffix(u.EscapedPath(), "/")
	problem := ""
	switch {
	case u.Scheme != "http" && u.Scheme != "https", u.Host == "":
		problem = "must begin with https:// or http:// and a host"
	case u.User != nil:
		problem = "must not hold a user or a password, which everybody would see"
	case strings.ContainsAny(s, "?#"):
		problem = "must end with its path, without ? and #"
	case !urlHost.MatchString(host):
		problem = "the host must be a name of ASCII letters, digits, dots and hyphens, international ones in their xn-- form, or an IP address"
	case u.Port() != "" && !isPort(u.Port()):
		problem = "the port must be between 1 and 65535"
	case !urlPath.MatchString(dir):
		problem = "the path may hold only letters, digits and ._/:-, since XMPP servers escape anything else again"
	case dir != "" && path.Clean(dir) != dir:
		problem = "the path must not hold empty, . or .. segments"
	}
	if problem != "" {
		return nil, &keyError{key, fmt.Errorf("%q: %s", u.Redacted(), problem)}
	}
	return &url.URL{Scheme: u.Scheme, Host: strings.TrimSuffix(u.Host, ":"), Path: dir}, nil
}

func (h *Handler) parseURLs() (err error) {
	if h.BaseURL != "" {
		if h.base, err = parseURL("base_url", h.BaseURL); err != nil {
			return err
		}
	}
	if h.DownloadURL == "" {
		return nil
	}
	u, err := parseURL("download_url", h.DownloadURL)
	if err != nil {
		return err
	}
	h.download = u.String()
	return nil
}

func isPort(s string) bool {
	n, err := strconv.ParseUint(s, 10, 16)
	return err == nil && n > 0
}

// placeholder matches those that are replaced when the configuration is
// loaded. Other braces stay as they are: expressions use them too.
var placeholder = regexp.MustCompile(`\{(env|file)\.[^{}]+\}`)

func (h *Handler) expandPlaceholders() error {
	r := caddy.NewReplacer()
	if err := cmp.Or(expand(r, "base_url", &h.BaseURL), expand(r, "download_url", &h.DownloadURL)); err != nil {
		return err
	}
	for i, rule := range h.Access {
		for k := range rule.JIDs {
			if err := expand(r, fmt.Sprintf("access[%d].jids[%d]", i, k), &rule.JIDs[k]); err != nil {
				return err
			}
		}
	}
	return nil
}

// expand replaces the placeholders in s. One without a value is an error: as
// part of a pattern it could let in everyone.
func expand(r *caddy.Replacer, key string, s *string) error {
	var err error
	*s = placeholder.ReplaceAllStringFunc(*s, func(p string) string {
		value, _ := r.GetString(strings.Trim(p, "{}"))
		if value == "" {
			err = cmp.Or(err, error(&keyError{key, fmt.Errorf("placeholder %s has no value", p)}))
		}
		return value
	})
	return err
}

func (h *Handler) compileAccess() error {
	patterns := make([][]string, len(h.Access))
	h.rules = make([]ruleLimits, len(h.Access))
	for i, r := range h.Access {
		if err := r.check(fmt.Sprintf("access[%d]", i)); err != nil {
			return err
		}
		patterns[i] = r.JIDs
		h.rules[i] = ruleLimits{
			deny:   r.Deny,
			limits: r.Quota.limits(),
			keep:   valueOr(r.Keep, valueOr(h.Keep, defaultKeep)),
		}
	}
	var err error
	h.acl, err = acl.Compile(patterns)
	if at, ok := errors.AsType[*acl.PatternError](err); ok {
		return &keyError{fmt.Sprintf("access[%d].jids[%d]", at.Rule, at.Index), at.Err}
	}
	return err
}

func (q Quota) limits() quota.Limits {
	return quota.Limits{
		MaxFileSize:  valueOr(q.MaxFileSize, 0),
		MaxTotalSize: valueOr(q.MaxTotalSize, 0),
		Bytes:        quotaWindows(q.Bytes),
		Uploads:      quotaWindows(q.Uploads),
	}
}

func quotaWindows(windows []Window) []quota.Window {
	if len(windows) == 0 {
		return nil
	}
	ws := make([]quota.Window, len(windows))
	for i, w := range windows {
		ws[i] = quota.Window{Limit: w.Limit, Per: time.Duration(w.Per)}
	}
	return ws
}

// warnings tells of what is allowed and can hardly be meant.
func (h *Handler) warnings() []string {
	var ws []string
	if !slices.ContainsFunc(h.rules, func(r ruleLimits) bool { return !r.deny }) {
		ws = append(ws, "access: no rule allows anybody to upload")
	}
	for _, c := range h.acl.Covered() {
		ws = append(ws, fmt.Sprintf("access[%d]: pattern %q never decides, since %q of access[%d] matches first", c.Rule, c.Pattern, c.ByPattern, c.By))
	}
	for _, s := range []string{h.BaseURL, h.DownloadURL} {
		if u, err := url.Parse(s); err == nil && strings.ContainsAny(u.Host, "_[") {
			ws = append(ws, fmt.Sprintf("%s: ejabberd 25.08 and later fail on hosts that hold an underscore or are IPv6 addresses", s))
		}
	}
	return ws
}
