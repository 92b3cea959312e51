package xmppupload

import (
	"cmp"
	"context"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-xmpp/xmpp-upload/acl"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

const (
	// maxNameLen bounds the name of a file, in bytes of UTF-8.
	maxNameLen = 255
	// maxTypeLen bounds a content type; longer ones count as unknown.
	maxTypeLen = 255
)

// slotRequest is what an XMPP server asks for one of its users.
type slotRequest struct {
	jid         string // bare
	name        string // cleaned
	size        int64
	contentType string // empty if unknown
	json        bool
}

// serveSlot answers
//
//	GET slot/?jid=…&name=…&size=…[&content_type=…][&output=…]
func (h *Handler) serveSlot(w http.ResponseWriter, r *http.Request, mount string) error {
	begun := time.Now()
	refused, err := h.serveAPI(w, r, func(req *slotRequest, q url.Values) error {
		if err := req.parse(q); err != nil {
			return err
		}
		base, err := h.baseURL(r, mount)
		if err != nil {
			return err
		}
		put, get, err := h.grantSlot(r, req, base)
		if err != nil {
			return err
		}
		if req.json {
			return writeJSON(w, r, http.StatusOK, struct {
				Put string `json:"put"`
				Get string `json:"get"`
			}{put, get})
		}
		// ejabberd takes exactly two lines that end in LF.
		writeBody(w, r, http.StatusOK, "text/plain; charset=utf-8", []byte(put+"\n"+get))
		return nil
	})
	slotResults.inc(cmp.Or(refused, resultGranted))
	slotDuration.Observe(time.Since(begun).Seconds())
	return err
}

// serveMaxSize answers
//
//	GET max_size/?jid=…[&output=…]
//
// with the bytes that a file of this user may have, 0 for no limit.
func (h *Handler) serveMaxSize(w http.ResponseWriter, r *http.Request) error {
	_, err := h.serveAPI(w, r, func(req *slotRequest, q url.Values) error {
		if err := req.parseJID(q); err != nil {
			return err
		}
		rule, err := h.rule(r, req.jid)
		if err != nil {
			return err
		}
		if size := rule.limits.MaxFileSize; req.json {
			return writeJSON(w, r, http.StatusOK, map[string]int64{"max_size": size})
		} else {
			writeBody(w, r, http.StatusOK, "text/plain; charset=utf-8", strconv.AppendInt(nil, size, 10))
		}
		return nil
	})
	return err
}

// serveAPI calls serve, answers and logs the refusal that it returns, and
// returns its code, empty if there is none. serve fills in the request as far as
// it comes.
func (h *Handler) serveAPI(w http.ResponseWriter, r *http.Request, serve func(*slotRequest, url.Values) error) (refused string, _ error) {
	w.Header().Set("Cache-Control", "no-store")
	var req slotRequest
	q, err := parseQuery(r.URL.RawQuery)
	json, outputErr := parseOutput(q.Get("output"))
	req.json = json // errors too come in the form that was asked for
	if err = cmp.Or(checkMethod(w, r), err, outputErr); err == nil {
		err = serve(&req, q)
	}
	if err == nil {
		return "", nil
	}
	f := refusalOf(err)
	h.log(r, f, req.jid)
	settleBody(w, r)
	if req.json {
		return f.code, f.answerJSON(w, r)
	}
	return f.code, f.answer(w, r)
}

func checkMethod(w http.ResponseWriter, r *http.Request) error {
	if r.Method == http.MethodGet {
		return nil
	}
	w.Header().Set("Allow", http.MethodGet)
	return refuse(http.StatusMethodNotAllowed, codeBadMethod, "slots are asked for with GET")
}

// parseQuery reads the parameters, with an error as far as they can be read.
// ejabberd appends its own with a question mark to a service_url that has a
// query already.
func parseQuery(raw string) (url.Values, error) {
	q, err := url.ParseQuery(raw)
	if err != nil || !q.Has("jid") && strings.Contains(raw, "?") {
		q, err = url.ParseQuery(strings.Replace(raw, "?", "&", 1))
	}
	if err != nil {
		return q, refuse(http.StatusBadRequest, codeBadRequest, "the query is not well-formed")
	}
	for _, key := range []string{"jid", "name", "size"} {
		if len(q[key]) > 1 {
			return q, refuse(http.StatusBadRequest, codeBadRequest, "%q is given more than once.", key)
		}
	}
	return q, nil
}

func parseOutput(output string) (json bool, err error) {
	switch output {
	case "", "text/plain":
		return false, nil
	case "application/json":
		return true, nil
	}
	return false, refuse(http.StatusBadRequest, codeBadRequest, "this output is not supported; use text/plain or application/json.")
}

// required returns a parameter that must be there.
func required(q url.Values, key string) (string, error) {
	if v := q.Get(key); v != "" {
		return v, nil
	}
	return "", refuse(http.StatusBadRequest, codeBadRequest, "%q is a required GET parameter.", key)
}

func (s *slotRequest) parseJID(q url.Values) error {
	jid, err := required(q, "jid")
	if err != nil {
		return err
	}
	if s.jid, err = acl.ParseBare(jid); err != nil {
		return refuse(http.StatusBadRequest, codeBadRequest, "%q is not a valid JID.", "jid")
	}
	return nil
}

func (s *slotRequest) parse(q url.Values) error {
	if err := s.parseJID(q); err != nil {
		return err
	}
	name, err := required(q, "name")
	if err != nil {
		return err
	}
	if s.name = store.CleanName(name); s.name == "" {
		return refuse(http.StatusBadRequest, codeBadRequest, "%q has no visible characters.", "name")
	}
	size, err := required(q, "size")
	if err != nil {
		return err
	}
	if s.size, err = parseBytes(size); err != nil {
		return err
	}
	s.contentType = knownType(q.Get("content_type"))
	if s.contentType == "" {
		s.contentType = knownType(q.Get("type")) // what the Django app reads
	}
	return nil
}

// parseBytes takes digits only: no sign, no blanks, no fraction.
func parseBytes(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if err != nil || n == 0 {
		return 0, refuse(http.StatusBadRequest, codeBadRequest, "%q must be a positive integer.", "size")
	}
	return int64(n), nil //nolint:gosec // 63 bits
}

// rule returns what applies to the JID, if the request may ask for it.
func (h *Handler) rule(r *http.Request, jid string) (ruleLimits, error) {
	if ok, err := h.mayAsk(r); err != nil {
		return ruleLimits{}, err
	} else if !ok {
		return ruleLimits{}, refuse(http.StatusForbidden, codeSlotForbidden, "this client may not ask for slots")
	}
	return h.ruleOf(jid)
}

// ruleOf returns what applies to the JID, if it may upload at all.
func (h *Handler) ruleOf(jid string) (ruleLimits, error) {
	i, _, ok := h.acl.Match(jid)
	if !ok || h.rules[i].deny {
		return ruleLimits{}, refuse(http.StatusForbidden, codeNotAllowed, "this user may not upload")
	}
	return h.rules[i], nil
}

// mayAsk reports whether the request meets the slot matchers; without any,
// whether it comes from this machine, and not through a proxy on it.
func (h *Handler) mayAsk(r *http.Request) (bool, error) {
	if len(h.slotMatcher) > 0 {
		return h.slotMatcher.AnyMatchWithError(r)
	}
	for _, key := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if r.Header.Values(key) != nil {
			return false, nil
		}
	}
	return isLoopback(r.RemoteAddr), nil
}

func isLoopback(remote string) bool {
	host, _, err := net.SplitHostPort(remote)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}

// grantSlot reserves a slot and returns its URLs.
func (h *Handler) grantSlot(r *http.Request, req *slotRequest, base string) (put, get string, err error) {
	rule, err := h.rule(r, req.jid)
	if err != nil {
		return "", "", err
	}
	if err := rule.limits.CheckFileSize(req.size); err != nil {
		return "", "", err
	}
	if len(req.name) > maxNameLen {
		return "", "", refuse(http.StatusRequestEntityTooLarge, codeNameTooLong, "the file's name is longer than %d bytes", maxNameLen)
	}
	stores, err := h.acquire()
	if err != nil {
		return "", "", err
	}
	defer stores.release()
	limits, err := h.limits(r.Context(), stores, rule)
	if err != nil {
		return "", "", err
	}
	now := time.Now()
	slot := store.Slot{
		ID: store.NewID(now), JID: req.jid, Name: req.name, URLName: store.URLName(req.name), Size: req.size,
		ContentType: req.contentType, Reserved: now, Deadline: now.Add(h.putTimeout),
	}
	if err := stores.slots.Reserve(r.Context(), slot, limits); err != nil {
		return "", "", err
	}
	put = base + "/" + slot.ID + "/" + slot.URLName
	if h.download != "" {
		return put, h.download + "/" + stores.files.Path(slot.File()), nil
	}
	return put, put, nil
}

// limits returns what a slot under the rule must respect.
func (h *Handler) limits(ctx context.Context, s *stores, rule ruleLimits) (store.Limits, error) {
	room, err := h.room(ctx, s)
	return store.Limits{Quota: rule.limits, MaxStorage: h.maxStorage, Room: room}, err
}

// room returns how many bytes waiting slots may take of the disk; negative is
// without a bound. Without min_free_space it is what the disk has.
func (h *Handler) room(ctx context.Context, s *stores) (int64, error) {
	slotsFree, err := s.slots.Free(ctx)
	if err != nil {
		return 0, err
	}
	filesFree, err := s.files.Free(ctx)
	switch {
	case err != nil:
		return 0, err
	case slotsFree >= 0 && slotsFree < h.minFreeSpace:
		return 0, nil
	case filesFree < 0:
		return -1, nil
	}
	return max(filesFree-h.minFreeSpace, 0), nil
}

// baseURL is what the URLs of slots begin with, without a slash at the end.
func (h *Handler) baseURL(r *http.Request, mount string) (string, error) {
	if h.base != nil {
		return h.base.String(), nil
	}
	from := baseOrigin{requestScheme(r), r.Host, mount}
	if last := h.lastBase.Load(); last != nil && last.baseOrigin == from {
		return last.url, nil
	}
	base, err := parseURL("Host", from.scheme+"://"+from.host+from.mount)
	if err != nil {
		return "", refuse(http.StatusBadRequest, codeBadRequest, "no URL for slots can be made of the host and path of this request; set base_url")
	}
	h.lastBase.Store(&checkedBase{from, base.String()})
	return base.String(), nil
}

// baseOrigin is what the base URL of a request is made of.
type baseOrigin struct{ scheme, host, mount string }

// checkedBase is a base URL that may be given out.
type checkedBase struct {
	baseOrigin
	url string
}

// requestScheme is what the client used. A proxy is believed only if it is one
// of Caddy's trusted_proxies.
func requestScheme(r *http.Request) string {
	if trusted, _ := caddyhttp.GetVar(r.Context(), caddyhttp.TrustedProxyVarKey).(bool); trusted {
		if proto := r.Header.Get("X-Forwarded-Proto"); proto == "https" || proto == "http" {
			return proto
		}
	}
	if r.TLS != nil {
		return "https"
	}
	return "http"
}
