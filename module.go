// Package xmppupload is a Caddy module for the HTTP side of XMPP file sharing
// (XEP-0363, HTTP File Upload): it gives out slots, takes uploads, serves and
// expires files.
package xmppupload

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/modules/caddyevents"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-xmpp/xmpp-upload/acl"
	"github.com/caddy-xmpp/xmpp-upload/admin"
	_ "github.com/caddy-xmpp/xmpp-upload/page" // the operator's page
	"github.com/caddy-xmpp/xmpp-upload/store"
	_ "github.com/caddy-xmpp/xmpp-upload/store/badger" // the default of slots
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
	_ "github.com/caddy-xmpp/xmpp-upload/store/disk" // the default of files
)

func init() {
	caddy.RegisterModule(new(Handler))
}

// Handler is the HTTP side of XEP-0363, HTTP File Upload. The XMPP server asks
// it for slots on behalf of its users (`GET slot/?jid=…&name=…&size=…`), users
// upload to the PUT URL of their slot, and whoever knows the GET URL downloads.
//
// Sizes are in bytes. The placeholders `{env.*}` and `{file.*}` are replaced in
// all strings when the configuration is loaded; one without a value is an error.
type Handler struct {
	// What a request for a slot, or for the maximum size, must match; one of
	// several matcher sets is enough. This guards the quotas of all users, since
	// such a request may name any JID. Default: the peer is loopback and the
	// request passed through no proxy (it has none of the header fields
	// Forwarded, X-Forwarded-For and Via).
	SlotMatch caddyhttp.RawMatcherSets `json:"slot_match,omitempty" caddy:"namespace=http.matchers"`

	// The public URL at which clients reach this handler. Slots get URLs below
	// it, and its path is the mount path. It may hold only letters, digits and
	// `._/:-`, since some XMPP servers escape anything else again. Default: the
	// scheme, host and mount path of the request for the slot.
	BaseURL string `json:"base_url,omitempty"`

	// Where clients download, if another web server or a CDN over the same files
	// does that. GET and HEAD of files are then refused here. The same
	// characters are allowed as in the base URL. Default: clients download here.
	DownloadURL string `json:"download_url,omitempty"`

	// Who may upload, and how much. Rules are tried in order, and the first that
	// matches a JID decides. Whom no rule matches may not upload. Default: nobody
	// may.
	Access []Rule `json:"access,omitempty"`

	// Keeps slots and accounts. Default: `badger` below Caddy's data directory.
	Slots json.RawMessage `json:"slots,omitempty" caddy:"namespace=http.xmpp_upload.slots inline_key=store"`

	// Keeps the bytes of files. Default: `disk` below Caddy's data directory.
	Files json.RawMessage `json:"files,omitempty" caddy:"namespace=http.xmpp_upload.files inline_key=store"`

	// An upload must begin within this time after its slot was given out. It may
	// then take as long as it needs. Default: `6m`.
	PutTimeout *caddy.Duration `json:"put_timeout,omitempty"`

	// How long a file is served after its upload, a duration or `forever`. Fixed
	// when the upload ends; rules may say otherwise. Default: `30d`.
	Keep *Keep `json:"keep,omitempty"`

	// How often expired slots and files are removed. They cease to be served in
	// time, whenever that happens. Default: `10m`.
	CleanupInterval *caddy.Duration `json:"cleanup_interval,omitempty"`

	// Below so much free space on the file system of either store, slots and
	// uploads are refused; 0 turns this off. Default: 256 MiB.
	MinFreeSpace *int64 `json:"min_free_space,omitempty"`

	// How much the files and slots of all users together may take. Default: no
	// limit.
	MaxStorage *int64 `json:"max_storage,omitempty"`

	settings
	logger  *zap.Logger
	service *store.Ref[*cleanup.Service]
	// events is nil if there is no events app; ctx is for it only.
	events *caddyevents.App
	ctx    caddy.Context
	// unregister is nil until operators know of the handler.
	unregister func()
	// lastBase is the base URL that a request gave last: XMPP servers ask at one
	// host.
	lastBase atomic.Pointer[checkedBase]
}

// settings is the configuration, checked, completed and ready to use.
type settings struct {
	// slotMatcher is empty for the default guard.
	slotMatcher caddyhttp.MatcherSets
	// base is nil if it is taken from requests. Its path has no slash at the end.
	base *url.URL
	// download is empty if files are served here, and has no slash at the end.
	download string
	// acl gives the index of the rule in rules.
	acl   *acl.List
	rules []ruleLimits

	slotsModule store.SlotsModule
	filesModule store.FilesModule

	putTimeout      time.Duration
	keep            Keep
	cleanupInterval time.Duration
	minFreeSpace    int64 // 0 is off
	maxStorage      int64 // 0 is no limit
}

// CaddyModule returns the Caddy module information.
func (*Handler) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "http.handlers.xmpp_upload",
		New: func() caddy.Module { return new(Handler) },
	}
}

// Provision checks the configuration, opens the stores, or shares them with
// whoever has them open, and starts their clean-up. Errors name the key that is
// wrong, such as access[1].quota.bytes[0].
func (h *Handler) Provision(ctx caddy.Context) error {
	h.logger = ctx.Logger()
	if err := h.configure(); err != nil {
		return err
	}
	if err := h.loadModules(ctx); err != nil {
		return err
	}
	for _, warning := range h.warnings() {
		h.logger.Warn(warning)
	}
	if err := registerMetrics(ctx); err != nil {
		return err
	}
	if err := h.loadEvents(ctx); err != nil {
		return err
	}
	if h.download != "" {
		h.filesModule.Public()
	}
	name := h.slotsModule.Key()
	service, err := cleanup.Acquire(h.slotsModule, h.filesModule, cleanup.Hooks{
		Removed: func(slot store.Slot, reason cleanup.Reason) { admin.Removed(name, slot, reason) },
		Ended:   func(now time.Time, r cleanup.Report, err error) { countCleanUp(name, now, r, err) },
	})
	if err != nil {
		return err
	}
	h.service = service // Cleanup releases it, also if Provision fails below
	stores, err := h.acquire()
	if err != nil {
		return err
	}
	defer stores.release()
	if err := stores.slots.Remember(ctx, h.longestSpan()); err != nil {
		return err
	}
	service.Value.SetInterval(h.cleanupInterval)
	h.unregister = admin.Register(name, site{h})
	return nil
}

// longestSpan is how far the windows of all rules reach back.
func (h *Handler) longestSpan() (span time.Duration) {
	for _, r := range h.rules {
		span = max(span, r.limits.Span())
	}
	return span
}

// Cleanup gives back what Provision took. Requests that are under way hold the
// stores themselves.
func (h *Handler) Cleanup() error {
	if h.unregister != nil {
		h.unregister()
	}
	if h.service == nil {
		return nil
	}
	return h.service.Release()
}

// stores is a hold on both stores, for the time of one request.
type stores struct {
	slots store.Slots
	files store.Files

	slotsRef *store.Ref[store.Slots]
	filesRef *store.Ref[store.Files]
}

// acquire holds the stores for a request.
func (h *Handler) acquire() (*stores, error) {
	cleanup.Serving()
	slots, err := h.slotsModule.AcquireSlots()
	if err != nil {
		return nil, err
	}
	files, err := h.filesModule.AcquireFiles()
	if err != nil {
		return nil, errors.Join(err, slots.Release())
	}
	return &stores{slots: slots.Value, files: files.Value, slotsRef: slots, filesRef: files}, nil
}

// release ends the hold. It may close the stores, if the configuration is gone.
func (s *stores) release() {
	if err := errors.Join(s.slotsRef.Release(), s.filesRef.Release()); err != nil {
		caddy.Log().Named("http.handlers.xmpp_upload").Error("closing the stores failed", zap.Error(err))
	}
}

// loadModules loads the matchers of slot_match and both stores.
func (h *Handler) loadModules(ctx caddy.Context) error {
	if len(h.SlotMatch) > 0 {
		sets, err := ctx.LoadModule(h, "SlotMatch")
		if err != nil {
			return &keyError{"slot_match", err}
		}
		if err := h.slotMatcher.FromInterface(sets); err != nil {
			return &keyError{"slot_match", err}
		}
	}
	if h.Slots == nil {
		h.Slots = json.RawMessage(`{"store":"badger"}`)
	}
	if h.Files == nil {
		h.Files = json.RawMessage(`{"store":"disk"}`)
	}
	var err error
	if h.slotsModule, err = loadStore[store.SlotsModule](ctx, h, "Slots"); err != nil {
		return &keyError{"slots", err}
	}
	if h.filesModule, err = loadStore[store.FilesModule](ctx, h, "Files"); err != nil {
		return &keyError{"files", err}
	}
	return nil
}

func loadStore[T any](ctx caddy.Context, h *Handler, field string) (T, error) {
	module, err := ctx.LoadModule(h, field)
	m, ok := module.(T)
	if err == nil && !ok {
		err = fmt.Errorf("%T is not such a store", module)
	}
	return m, err
}

// ServeHTTP serves the slot API and the URLs of slots. Any other path goes to
// the next handler.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request, next caddyhttp.Handler) error {
	mount, path, ok := h.mountedPath(r)
	if !ok {
		return next.ServeHTTP(w, r)
	}
	switch path {
	case "slot", "slot/":
		return h.serveSlot(w, r, mount)
	case "max_size", "max_size/":
		return h.serveMaxSize(w, r)
	}
	if id, name, ok := strings.Cut(path, "/"); ok && store.IsID(id) && name != "" && !strings.Contains(name, "/") {
		return h.serveFile(w, r, id, name)
	}
	return next.ServeHTTP(w, r)
}

// mountedPath splits the path as the client sent it, before handle_path or a
// rewrite, into mount path and what is ours. Without a base_url, what handlers
// before have stripped is the mount path.
func (h *Handler) mountedPath(r *http.Request) (mount, path string, ok bool) {
	sent := r.URL.Path
	if original, ok := r.Context().Value(caddyhttp.OriginalRequestCtxKey).(http.Request); ok {
		sent = original.URL.Path
	}
	if h.base != nil {
		mount = h.base.Path
	} else if rest, stripped := strings.CutSuffix(sent, r.URL.Path); stripped {
		mount = rest
	}
	path, ok = strings.CutPrefix(sent, mount+"/")
	return mount, path, ok
}

// Interface guards
var (
	_ caddy.Provisioner           = (*Handler)(nil)
	_ caddy.CleanerUpper          = (*Handler)(nil)
	_ caddyhttp.MiddlewareHandler = (*Handler)(nil)
)
