package page

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"go.uber.org/zap"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// maxForm bounds the body of a form, in bytes.
const maxForm = 64 << 10

// route is what answers a path. GET shows, POST changes; either may be missing.
type route struct{ get, post func(*visit) (content, error) }

var routes = map[string]route{
	"":        {get: showOverview},
	"uploads": {get: listUploads},
	"upload":  {get: showUpload},
	"delete":  {get: confirmDelete, post: deleteUpload},
	"users":   {get: listUsers},
	"user":    {get: showUser},
	"purge":   {get: confirmPurge, post: purgeUser},
	"cleanup": {post: cleanUp},
	"verify":  {post: verify},
}

// visit is a request for a page.
type visit struct {
	context.Context
	// form are the parameters, of the URL or, of a POST, of its body.
	form url.Values
	// stores are what the page is about: one if the visitor chose it, or all.
	stores *admin.Stores
	// store is the name of the chosen one.
	store string
}

// content is what a page shows.
type content struct {
	// page names the template.
	page           string
	title, section string
	data           any
}

// problem is why a page cannot be shown.
type problem struct {
	status  int
	message string
}

func (p *problem) Error() string { return p.message }

// problemOf returns what to tell of an error. What is not the visitor's fault
// is our trouble: status 500.
func problemOf(err error) *problem {
	if p, ok := errors.AsType[*problem](err); ok {
		return p
	}
	switch {
	case errors.Is(err, store.ErrNotFound):
		return &problem{http.StatusNotFound, "There is no such upload. It may have expired or been deleted."}
	case errors.Is(err, admin.ErrNoHandler):
		return &problem{http.StatusNotFound, "No handler xmpp_upload is in service, so there is nothing to show."}
	case errors.Is(err, cleanup.ErrNoSlots), errors.Is(err, cleanup.ErrNoFiles):
		return &problem{http.StatusConflict, "This was refused: " + err.Error()}
	case errors.Is(err, admin.ErrUnknownStore):
		return &problem{http.StatusNotFound, "No upload handler uses this store."}
	case errors.Is(err, store.ErrCursor):
		return &problem{http.StatusBadRequest, "There is no such place in the list; begin with the first page."}
	}
	return &problem{http.StatusInternalServerError, "This failed: " + err.Error() + "."}
}

// servePage answers with the page of the path, or with one that says why not.
func (h *Handler) servePage(w http.ResponseWriter, r *http.Request, path string) {
	v := view{Store: r.URL.Query().Get("store")}
	status := http.StatusOK
	c, err := h.visit(w, r, path, &v)
	if err != nil {
		p := problemOf(err)
		if p.status == http.StatusInternalServerError && r.Context().Err() == nil {
			h.logger.Error("a page failed", zap.String("page", path), zap.Error(err))
		}
		status = p.status
		c = content{page: "problem", title: http.StatusText(status), data: p.message}
	}
	v.Title, v.Section, v.Data = c.title, c.section, c.data
	body, err := render(c.page, v)
	if err != nil {
		h.logger.Error("a page cannot be written", zap.String("page", path), zap.Error(err))
		http.Error(w, "The page cannot be written; the log says why.", http.StatusInternalServerError)
		return
	}
	write(w, status, body)
}

// visit finds what the path shows or does, and lets it work.
func (h *Handler) visit(w http.ResponseWriter, r *http.Request, path string, v *view) (_ content, err error) {
	all, err := admin.Open("")
	if err != nil {
		return content{}, err
	}
	defer func() { err = errors.Join(err, all.Release()) }()
	v.Stores = all.Names()

	serve, form, err := h.find(w, r, path)
	if err != nil {
		return content{}, err
	}
	v.Store = form.Get("store")
	stores := all
	if v.Store != "" {
		if stores, err = admin.Open(v.Store); err != nil {
			return content{}, err
		}
		defer func() { err = errors.Join(err, stores.Release()) }()
	}
	return serve(&visit{Context: r.Context(), form: form, stores: stores, store: v.Store})
}

// find returns what serves the request, and its parameters. It refuses changes
// that another site asks for.
func (h *Handler) find(w http.ResponseWriter, r *http.Request, path string) (func(*visit) (content, error), url.Values, error) {
	known, ok := routes[path]
	switch {
	case !ok && strings.Contains(path, "/"):
		return nil, nil, &problem{http.StatusNotFound, "There is no such page. Below a path, xmpp_upload_admin belongs into handle_path."}
	case !ok:
		return nil, nil, &problem{http.StatusNotFound, "There is no such page."}
	case known.get != nil && (r.Method == http.MethodGet || r.Method == http.MethodHead):
		return known.get, r.URL.Query(), nil
	case known.post == nil || r.Method != http.MethodPost:
		w.Header().Set("Allow", known.methods())
		return nil, nil, &problem{http.StatusMethodNotAllowed, "This page can't be used like that; begin with the overview."}
	}
	if err := h.sameOrigin.Check(r); err != nil {
		return nil, nil, &problem{http.StatusForbidden, "This change was asked for from another site. Nothing was changed."}
	}
	r.Body = http.MaxBytesReader(w, r.Body, maxForm)
	if err := r.ParseForm(); err != nil {
		return nil, nil, &problem{http.StatusBadRequest, "The form is not readable. Nothing was changed."}
	}
	return known.post, r.PostForm, nil
}

func (r route) methods() string {
	switch {
	case r.get == nil:
		return "POST"
	case r.post == nil:
		return "GET, HEAD"
	}
	return "GET, HEAD, POST"
}
