package api

import (
	"fmt"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-xmpp/xmpp-upload/acl"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// paramError is a parameter that is wrong, and what to do about it.
type paramError struct{ name, remedy string }

func (e *paramError) Error() string { return e.name + ": " + e.remedy }

// params are the query parameters of a call. Each method returns one of them,
// or what stands for one that is not given. The first that is wrong is kept.
type params struct {
	values url.Values
	wrong  error
}

// parseParams refuses what the call does not know, and what is given twice or
// without a value: it may be a mistake that removes more than was meant.
func parseParams(query string, known []string) (*params, error) {
	values, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("the query is not well-formed: %w", err)
	}
	for name, list := range values {
		switch {
		case !slices.Contains(known, name):
			return nil, &paramError{strconv.Quote(name), "this call has no such parameter; it has " + strings.Join(known, ", ")}
		case len(list) > 1:
			return nil, &paramError{name, "given more than once; give it once"}
		case list[0] == "":
			return nil, &paramError{name, "given without a value; leave it out, or give it one"}
		}
	}
	return &params{values: values}, nil
}

func (p *params) text(name string) string { return p.values.Get(name) }

// require notes that a parameter is missing.
func (p *params) require(name string) {
	if p.text(name) == "" {
		p.refuse(name, "this is required")
	}
}

// refuse notes that a parameter is wrong.
func (p *params) refuse(name, format string, args ...any) {
	if p.wrong == nil {
		p.wrong = &paramError{name, fmt.Sprintf(format, args...)}
	}
}

func (p *params) jid(name string) string {
	v := p.text(name)
	if v == "" {
		return ""
	}
	jid, err := acl.ParseBare(v)
	if err != nil {
		p.refuse(name, "%v", err)
	}
	return jid
}

func (p *params) state(name string) store.State {
	switch v := p.text(name); v {
	case "":
		return 0
	case "waiting":
		return store.Waiting
	case "uploaded":
		return store.Uploaded
	case "expired":
		return store.Expired
	default:
		p.refuse(name, "%q is no state; use waiting, uploaded or expired", v)
		return 0
	}
}

// maxLimit is the most that a page holds, whatever is asked for.
const maxLimit = 10_000

func (p *params) limit(name string) int {
	v := p.text(name)
	if v == "" {
		return 0
	}
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil || n == 0 {
		p.refuse(name, "%q is not a positive integer", v)
	}
	return int(min(n, maxLimit))
}

func (p *params) size(name string) int64 {
	v := p.text(name)
	n, err := strconv.ParseUint(v, 10, 63)
	if err != nil || n == 0 {
		p.refuse(name, "%q is not a positive integer; give the size of the file in bytes", v)
	}
	return int64(n)
}

func (p *params) boolean(name string, standard bool) bool {
	switch v := p.text(name); v {
	case "":
		return standard
	case "true":
		return true
	case "false":
		return false
	default:
		p.refuse(name, "%q is neither true nor false", v)
		return standard
	}
}

// time reads a moment, or a day, which begins at midnight in UTC.
func (p *params) time(name string) time.Time {
	v := p.text(name)
	if v == "" {
		return time.Time{}
	}
	for _, layout := range []string{time.RFC3339Nano, time.DateOnly} {
		if t, err := time.Parse(layout, v); err == nil {
			return t
		}
	}
	p.refuse(name, "%q is not a time; use a date such as 2026-01-02 (UTC), or RFC 3339 such as 2026-01-02T15:04:05Z, with %%2B for a plus sign", v)
	return time.Time{}
}

func (p *params) duration(name string) time.Duration {
	v := p.text(name)
	if v == "" {
		return 0
	}
	d, err := caddy.ParseDuration(v)
	if err != nil || d <= 0 {
		p.refuse(name, "%q is not a duration of more than zero; use one such as 36h or 30d", v)
	}
	return d
}
