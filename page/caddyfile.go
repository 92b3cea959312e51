package page

import (
	"strings"

	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("xmpp_upload_admin", parseCaddyfile)
	// After whatever asks for a login, and before templates: what users call
	// their files must never run as a template.
	httpcaddyfile.RegisterDirectiveOrder("xmpp_upload_admin", httpcaddyfile.Before, "templates")
}

// parseCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	xmpp_upload_admin [<matcher>] {
//		allow @<name...>
//	}
func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	if h.NextArg() {
		return nil, h.Errf("xmpp_upload_admin: surplus argument %q; only a matcher may stand here, all else goes into a block", h.Val())
	}
	page := new(Handler)
	for h.NextBlock(0) {
		switch word := h.Val(); {
		case word == "{":
			return nil, h.Errf("a block begins after a word that has none; remove it")
		case word != "allow":
			return nil, h.Errf("unknown word %q; known here is allow", word)
		case page.Allow != nil:
			return nil, h.Errf("allow: there is another one in this block; name all matchers in one line, any of them is enough")
		}
		sets, err := parseMatchers(h)
		if err != nil {
			return nil, err
		}
		page.Allow = sets
	}
	return page, nil
}

// parseMatchers parses the names of matchers. Only named ones are taken: "*"
// would let everybody in, and a path says nothing of who asks.
func parseMatchers(h httpcaddyfile.Helper) (caddyhttp.RawMatcherSets, error) {
	var sets caddyhttp.RawMatcherSets
	for range h.CountRemainingArgs() {
		set, found, err := h.MatcherToken()
		switch name := h.Val(); {
		case !strings.HasPrefix(name, "@"):
			return nil, h.Errf("allow: %q is not the name of a matcher; define one beside xmpp_upload_admin, such as @office remote_ip 192.0.2.0/24, and write: allow @office", name)
		case err != nil || !found:
			return nil, h.Errf("allow: there is no matcher %s in this site; define it beside xmpp_upload_admin, such as: %s remote_ip 192.0.2.0/24", name, name)
		}
		sets = append(sets, set)
	}
	if len(sets) == 0 {
		return nil, h.Errf("allow: want names of matchers: allow @office")
	}
	return sets, nil
}
