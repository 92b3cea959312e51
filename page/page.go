// Package page is the operator's web page, the Caddy module
// http.handlers.xmpp_upload_admin: uploads, users, sums, clean-up. It shows what
// package admin knows, for all upload handlers of the same Caddy.
//
// All pages lie beside each other, so that relative links are right wherever
// the handler is mounted. No page needs a script.
package page

import (
	"net/http"
	"net/url"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
)

func init() {
	caddy.RegisterModule(Handler{})
}

// Handler is a web page for the operator of xmpp_upload: it lists and deletes
// uploads, shows users against their limits and what was uploaded day by day,
// cleans up and verifies. It covers all xmpp_upload handlers of this Caddy. It
// answers any path, so mount it at the root of a site or below handle_path.
type Handler struct {
	// Whose requests are answered; one of several matcher sets is enough. The
	// matchers are all that stands before the page then: have the site ask for
	// a login. Default: browsers on this machine, that is, the peer is loopback,
	// the request passed through no proxy (it has none of the header fields
	// Forwarded, X-Forwarded-For and Via), and the URL names localhost or a
	// loopback address.
	Allow caddyhttp.RawMatcherSets `json:"allow,omitempty" caddy:"namespace=http.matchers"`

	allow      caddyhttp.MatcherSets
	sameOrigin *http.CrossOriginProtection
	logger     *zap.Logger
}

// CaddyModule returns the Caddy module information.
func (Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.xmpp_upload_admin",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision loads the matchers.
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	h.sameOrigin = http.NewCrossOriginProtection()
	if len(h.Allow) == 0 {
		return nil
	}
	sets, err := ctx.LoadModule(h, "Allow")
	if err != nil {
		return err
	}
	return h.allow.FromInterface(sets)
}

// ServeHTTP answers every request, if it may be answered at all.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, _ caddyhttp.Handler) error {
	protect(w.Header())
	if refusal, err := h.refuse(r); err != nil {
		return err
	} else if refusal != "" {
		w.Header().Set("X-Content-Type-Options", "nosniff")
		http.Error(w, refusal, http.StatusForbidden)
		return nil
	}
	if to, ok := withSlash(r); ok {
		w.Header().Set("Location", to)
		w.WriteHeader(http.StatusPermanentRedirect)
		return nil
	}
	switch path := strings.TrimPrefix(r.URL.Path, "/"); path {
	case "style.css":
		serveStyle(w, r)
	default:
		h.servePage(w, r, path)
	}
	return nil
}

// protect keeps pages out of caches and frames, and whatever might slip into
// them from doing anything. A browser that must send no referrer at all would
// hide the origin of forms too, which must be seen.
func protect(header http.Header) {
	header.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self' data:; "+
		"form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Referrer-Policy", "same-origin")
	header.Set("Cache-Control", "no-store")
}

// withSlash returns where to redirect a request for the mount path that lacks
// its slash at the end: all links would miss that path.
func withSlash(r *http.Request) (to string, ok bool) {
	original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request)
	if !ok || strings.Trim(r.URL.Path, "/") != "" || strings.HasSuffix(original.URL.Path, "/") {
		return "", false
	}
	path := original.URL.Path
	to = "./" + url.PathEscape(path[strings.LastIndexByte(path, '/')+1:]) + "/"
	if r.URL.RawQuery != "" {
		to += "?" + r.URL.RawQuery
	}
	return to, true
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
