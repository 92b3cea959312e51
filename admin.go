package xmppupload

import (
	"context"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/admin/api"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

func init() {
	caddy.RegisterModule(AdminAPI{})
}

// AdminAPI is for operators: it lists, searches and removes uploads, tells what
// users may store and do store, cleans up, verifies and counts. It hangs on
// Caddy's admin endpoint, below `/xmpp_upload/`, and has no configuration.
type AdminAPI struct{}

// CaddyModule returns the Caddy module information.
func (AdminAPI) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{
		ID:  "admin.api.xmpp_upload",
		New: func() caddy.Module { return new(AdminAPI) },
	}
}

// Routes implements caddy.AdminRouter.
func (AdminAPI) Routes() []caddy.AdminRoute { return api.Routes() }

// site is what a handler tells an operator.
type site struct{ *Handler }

// Service implements admin.Site.
func (s site) Service() *store.Ref[*cleanup.Service] { return s.service.Hold() }

// Rule implements admin.Site.
func (s site) Rule(jid string) (admin.Rule, bool) {
	i, pattern, ok := s.acl.Match(jid)
	if !ok {
		return admin.Rule{}, false
	}
	return admin.Rule{Index: i, Pattern: pattern, Deny: s.rules[i].deny, Limits: s.rules[i].limits}, true
}

// Check implements admin.Site, by the steps of grantSlot.
func (s site) Check(ctx context.Context, jid string, size int64) error {
	err := s.check(ctx, jid, size)
	if err == nil {
		return nil
	}
	f := refusalOf(err)
	if f.code == codeInternal {
		return err
	}
	limit, used := f.limits()
	return &admin.Refusal{Code: f.code, Message: f.message, Limit: limit, Used: used, RetryAfter: f.retryAfter()}
}

func (h *Handler) check(ctx context.Context, jid string, size int64) error {
	rule, err := h.ruleOf(jid)
	if err != nil {
		return err
	}
	stores, err := h.acquire()
	if err != nil {
		return err
	}
	defer stores.release()
	limits, err := h.limits(ctx, stores, rule)
	if err != nil {
		return err
	}
	return stores.slots.Check(ctx, jid, size, limits, time.Now())
}

// Removed implements admin.Site.
func (s site) Removed(slot store.Slot, reason cleanup.Reason) { s.emitRemoved(slot, reason) }

// Interface guards
var (
	_ caddy.AdminRouter = AdminAPI{}
	_ admin.Site        = site{}
)
