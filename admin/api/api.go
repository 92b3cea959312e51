// Package api is the admin API: package admin over HTTP, on Caddy's own admin
// endpoint, whose protection it has. Answers are JSON; errors are
// caddy.APIError.
package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// call is what is done for one method of a path.
type call struct {
	// params are the query parameters that it takes, besides store.
	params []string
	do     func(*request) error
}

// calls are those of one path, by their methods.
type calls map[string]call

// request is a request for a call.
type request struct {
	*http.Request
	*params
	w http.ResponseWriter
	// stores are those that the request chose.
	stores *admin.Stores
}

// Routes returns the paths of the API.
func Routes() []caddy.AdminRoute {
	const base = "/xmpp_upload/"
	return []caddy.AdminRoute{
		{Pattern: base, Handler: caddy.AdminHandlerFunc(unknown)},
		{Pattern: base + "uploads", Handler: calls{
			http.MethodGet: {strings.Fields("jid state q from to limit after"), list},
		}},
		{Pattern: base + "uploads/{id}", Handler: calls{
			http.MethodGet:    {nil, show},
			http.MethodDelete: {nil, remove},
		}},
		{Pattern: base + "users", Handler: calls{
			http.MethodGet: {strings.Fields("limit after"), users},
		}},
		{Pattern: base + "users/{jid}", Handler: calls{
			http.MethodGet:    {nil, user},
			http.MethodDelete: {nil, purge},
		}},
		{Pattern: base + "check", Handler: calls{http.MethodGet: {strings.Fields("jid size"), check}}},
		{Pattern: base + "stats", Handler: calls{http.MethodGet: {nil, stats}}},
		{Pattern: base + "backup", Handler: calls{http.MethodGet: {nil, backup}}},
		{Pattern: base + "cleanup", Handler: calls{
			http.MethodPost: {strings.Fields("slots files older_than progress"), cleanUp},
		}},
		{Pattern: base + "verify", Handler: calls{
			http.MethodPost: {strings.Fields("repair progress"), verify},
		}},
	}
}

func unknown(_ http.ResponseWriter, r *http.Request) error {
	return apiError(http.StatusNotFound, fmt.Errorf("there is no %s; the calls are uploads, users, check, stats, backup, cleanup and verify below /xmpp_upload/, without a slash at the end", r.URL.Path))
}

func apiError(status int, err error) caddy.APIError {
	return caddy.APIError{HTTPStatus: status, Err: err}
}

// ServeHTTP implements caddy.AdminHandler.
func (c calls) ServeHTTP(w http.ResponseWriter, r *http.Request) error {
	call, ok := c[r.Method]
	if !ok {
		return c.refuseMethod(w, r)
	}
	p, err := parseParams(r.URL.RawQuery, append([]string{"store"}, call.params...))
	if err != nil {
		return apiError(http.StatusBadRequest, err)
	}
	stores, err := admin.Open(p.text("store"))
	if err != nil {
		return failure(err)
	}
	defer release(stores)
	req := &request{Request: r, params: p, w: w, stores: stores}
	if err := call.do(req); err != nil {
		return failure(err)
	}
	return nil
}

func (c calls) refuseMethod(w http.ResponseWriter, r *http.Request) error {
	allowed := make([]string, 0, len(c))
	for method := range c {
		allowed = append(allowed, method)
	}
	slices.Sort(allowed)
	allow := strings.Join(allowed, ", ")
	w.Header().Set("Allow", allow)
	return apiError(http.StatusMethodNotAllowed, fmt.Errorf("%s is not allowed here, use %s", r.Method, allow))
}

// release ends the hold. It may close the stores, if their handlers are gone.
func release(stores *admin.Stores) {
	if err := stores.Release(); err != nil {
		logger().Error("closing the stores failed", zap.Error(err))
	}
}

func logger() *zap.Logger { return caddy.Log().Named("admin.api.xmpp_upload") }

// failure returns the answer of an error.
func failure(err error) error {
	if errors.Is(err, context.Canceled) {
		panic(http.ErrAbortHandler) // the client is gone, and must not take this for an answer
	}
	status := http.StatusInternalServerError
	switch {
	case errors.As(err, new(*paramError)), errors.Is(err, store.ErrCursor), errors.Is(err, admin.ErrSeveralStores):
		status = http.StatusBadRequest
	case errors.Is(err, store.ErrNotFound), errors.Is(err, admin.ErrUnknownStore), errors.Is(err, admin.ErrNoHandler):
		status = http.StatusNotFound
	case errors.Is(err, cleanup.ErrNoSlots), errors.Is(err, cleanup.ErrNoFiles):
		status = http.StatusConflict
	case errors.Is(err, store.ErrNoSpace):
		status = http.StatusInsufficientStorage
	case errors.Is(err, errors.ErrUnsupported):
		status = http.StatusNotImplemented
	}
	return apiError(status, err)
}

// answer writes what a call returned, unless it failed.
func (r *request) answer(v any, err error) error {
	if err != nil {
		return err
	}
	body, err := json.Marshal(v)
	if err != nil {
		return err
	}
	r.header("application/json")
	_, _ = r.w.Write(append(body, '\n')) // an error is of no interest: the client is gone
	return nil
}

func (r *request) header(contentType string) {
	h := r.w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}
