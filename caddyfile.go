package xmppupload

import (
	"errors"
	"fmt"
	"math/big"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/caddyserver/caddy/v2"
	"github.com/caddyserver/caddy/v2/caddyconfig"
	"github.com/caddyserver/caddy/v2/caddyconfig/caddyfile"
	"github.com/caddyserver/caddy/v2/caddyconfig/httpcaddyfile"
	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"github.com/dustin/go-humanize"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

func init() {
	httpcaddyfile.RegisterHandlerDirective("xmpp_upload", parseCaddyfile)
	// Before encode, and so before templates: what users upload must never run
	// as a template, nor lose its ranges to compression.
	httpcaddyfile.RegisterDirectiveOrder("xmpp_upload", httpcaddyfile.Before, "encode")
}

// parseCaddyfile sets up the handler from Caddyfile tokens. Syntax:
//
//	xmpp_upload [<matcher>] {
//		slot         @<name...>
//		base_url     <url>
//		download_url <url>
//
//		allow <pattern...> {
//			max_file_size  <size>
//			max_total_size <size>
//			bytes   <size>   per <duration>
//			uploads <number> per <duration>
//			keep    <duration>|forever
//		}
//		deny <pattern...>
//
//		slots <store> ...
//		files <store> ...
//
//		put_timeout      <duration>
//		keep             <duration>|forever
//		cleanup_interval <duration>
//		min_free_space   <size>
//		max_storage      <size>
//	}
//
// The words allow and deny may repeat, and so may bytes and uploads with other
// spans. All other words come once.
func parseCaddyfile(h httpcaddyfile.Helper) (caddyhttp.MiddlewareHandler, error) {
	h.Next() // the directive's name
	if h.NextArg() {
		return nil, h.Errf("xmpp_upload: surplus argument %q; only a matcher may stand here, all else goes into a block", h.Val())
	}
	p := parser{Helper: h, handler: new(Handler)}
	seen := make(map[string]bool)
	for h.NextBlock(0) {
		if err := p.once(seen, "allow", "deny"); err != nil {
			return nil, err
		}
		if err := p.option(); err != nil {
			return nil, err
		}
	}
	return p.handler, nil
}

type parser struct {
	httpcaddyfile.Helper
	handler *Handler
	// word is the one whose arguments are parsed.
	word string
}

// once makes the current token the word, and complains if it was seen before
// and is not one of those that may repeat.
func (p *parser) once(seen map[string]bool, repeatable ...string) error {
	p.word = p.Val()
	if p.word == "{" {
		return p.Errf("a block begins after a word that has none; remove it")
	}
	if seen[p.word] && !slices.Contains(repeatable, p.word) {
		return p.Errf("%s: there is another one in this block; keep one of them", p.word)
	}
	seen[p.word] = true
	return nil
}

// option parses a word of the directive's block.
func (p *parser) option() (err error) {
	h := p.handler
	switch p.word {
	case "slot":
		h.SlotMatch, err = p.matchers()
	case "base_url":
		h.BaseURL, err = p.arg("https://upload.example.com")
	case "download_url":
		h.DownloadURL, err = p.arg("https://cdn.example.com/files")
	case "allow", "deny":
		return p.rule()
	case "slots":
		h.Slots, err = module[store.SlotsModule](p, "http.xmpp_upload.slots", "badger")
	case "files":
		h.Files, err = module[store.FilesModule](p, "http.xmpp_upload.files", "disk")
	case "put_timeout":
		h.PutTimeout, err = parseArg(p, "6m", parseDuration)
	case "keep":
		h.Keep, err = parseArg(p, "30d", parseKeep)
	case "cleanup_interval":
		h.CleanupInterval, err = parseArg(p, "10m", parseDuration)
	case "min_free_space":
		h.MinFreeSpace, err = parseArg(p, "256MiB", parseSize)
	case "max_storage":
		h.MaxStorage, err = parseArg(p, "100GiB", parseSize)
	default:
		return p.unknown("slot, base_url, download_url, allow, deny, slots, files, put_timeout, keep, cleanup_interval, min_free_space and max_storage")
	}
	if err != nil {
		return err
	}
	return p.place(h.checkOptions())
}

// rule parses allow or deny, and its block.
func (p *parser) rule() error {
	rule := Rule{JIDs: p.RemainingArgs(), Deny: p.word == "deny"}
	if err := p.place(rule.check("")); err != nil {
		return err
	}
	seen := make(map[string]bool)
	for nesting := p.Nesting(); p.NextBlock(nesting); {
		if err := p.once(seen, "bytes", "uploads"); err != nil {
			return err
		}
		if err := p.limit(&rule); err != nil {
			return err
		}
		if err := p.place(rule.check("")); err != nil {
			return err
		}
	}
	p.handler.Access = append(p.handler.Access, rule)
	return nil
}

// limit parses a word of the block of allow.
func (p *parser) limit(r *Rule) (err error) {
	q := &r.Quota
	switch p.word {
	case "max_file_size":
		q.MaxFileSize, err = parseArg(p, "512KiB", parseSize)
	case "max_total_size":
		q.MaxTotalSize, err = parseArg(p, "10MiB", parseSize)
	case "bytes":
		q.Bytes, err = p.window(q.Bytes, "1MiB per 1h", parseSize)
	case "uploads":
		q.Uploads, err = p.window(q.Uploads, "3 per 1h", parseNumber)
	case "keep":
		r.Keep, err = parseArg(p, "30d", parseKeep)
	default:
		return p.unknown("max_file_size, max_total_size, bytes, uploads and keep")
	}
	return err
}

// window parses "<limit> per <duration>".
func (p *parser) window(windows []Window, example string, limit func(string) (int64, error)) ([]Window, error) {
	args := p.RemainingArgs()
	if len(args) != 3 || args[1] != "per" {
		return nil, p.Errf(`%s: want a limit, "per" and a span of time: %s %s`, p.word, p.word, example)
	}
	n, err := limit(args[0])
	if err != nil {
		return nil, p.place(err)
	}
	per, err := parseDuration(args[2])
	if err != nil {
		return nil, p.place(err)
	}
	return append(windows, Window{Limit: n, Per: per}), nil
}

// matchers parses the names of matchers; any of them is enough. Only named ones
// are taken: "*" would let everybody in, and a path says nothing of the peer.
func (p *parser) matchers() (caddyhttp.RawMatcherSets, error) {
	const example = "@localhost remote_ip 127.0.0.0/8 ::1"
	var sets caddyhttp.RawMatcherSets
	for range p.CountRemainingArgs() {
		set, found, err := p.MatcherToken()
		switch name := p.Val(); {
		case !strings.HasPrefix(name, "@"):
			return nil, p.Errf("slot: %q is not the name of a matcher; define one beside xmpp_upload, such as %s, and write: slot @localhost", name, example)
		case err != nil || !found:
			return nil, p.Errf("slot: there is no matcher %s in this site; define it beside xmpp_upload, such as: %s", name, strings.Replace(example, "@localhost", name, 1))
		}
		sets = append(sets, set)
	}
	if len(sets) == 0 {
		return nil, p.Errf("slot: want names of matchers: slot @localhost")
	}
	return sets, nil
}

// module parses a store module, which implements T.
func module[T any](p *parser, namespace, example string) ([]byte, error) {
	if !p.NextArg() {
		return nil, p.Errf("%s: want the name of a store: %s %s", p.word, p.word, example)
	}
	name := p.Val()
	id := namespace + "." + name
	if _, err := caddy.GetModule(id); err != nil {
		var known []string
		for _, info := range caddy.GetModules(namespace) {
			known = append(known, info.ID.Name())
		}
		return nil, p.Errf("%s: there is no store %q in this Caddy, which has: %s; the name of the store comes first: %s %s", p.word, name, strings.Join(known, ", "), p.word, example)
	}
	m, err := caddyfile.UnmarshalModule(p.Dispenser, id)
	if err != nil {
		return nil, err
	}
	if _, ok := m.(T); !ok {
		return nil, p.Errf("%s: module %s is not such a store but a %T", p.word, id, m)
	}
	return caddyconfig.JSONModuleObject(m, "store", name, nil), nil
}

// arg returns the only argument of the word.
func (p *parser) arg(example string) (string, error) {
	args := p.RemainingArgs()
	if len(args) != 1 || args[0] == "" {
		return "", p.Errf("%s: want one argument: %s %s", p.word, p.word, example)
	}
	return args[0], nil
}

// parseArg parses the only argument of the word.
func parseArg[T any](p *parser, example string, parse func(string) (T, error)) (*T, error) {
	s, err := p.arg(example)
	if err != nil {
		return nil, err
	}
	v, err := parse(s)
	if err != nil {
		return nil, p.place(err)
	}
	return &v, nil
}

func (p *parser) unknown(known string) error {
	return p.Errf("unknown word %q; known here are %s", p.word, known)
}

// place tells the word, the file and the line of an error; no JSON key then.
func (p *parser) place(err error) error {
	if err == nil {
		return nil
	}
	if e, ok := errors.AsType[*keyError](err); ok {
		err = e.err
	}
	return p.WrapErr(fmt.Errorf("%s: %w", p.word, err))
}

var sizeForm = regexp.MustCompile(`^([0-9]+(?:\.[0-9]+)?)([A-Za-z]*)$`)

// parseSize parses a size with the units that Caddy knows, such as KB and KiB.
// It must be a whole number of bytes.
func parseSize(s string) (int64, error) {
	m := sizeForm.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("%q is not a size such as 1048576, 10MB or 512KiB", s)
	}
	unit, err := humanize.ParseBytes("1" + m[2])
	if err != nil {
		return 0, fmt.Errorf("%q has an unknown unit; known are KB, MB, GB and TB (of 1000) and KiB, MiB, GiB and TiB (of 1024)", s)
	}
	n, ok := new(big.Rat).SetString(m[1])
	if !ok {
		return 0, fmt.Errorf("%q is not a size such as 1048576, 10MB or 512KiB", s)
	}
	n.Mul(n, new(big.Rat).SetUint64(unit))
	if !n.IsInt() {
		return 0, fmt.Errorf("%q is not a whole number of bytes", s)
	}
	if !n.Num().IsInt64() {
		return 0, fmt.Errorf("%q is too large; sizes end below 8EiB", s)
	}
	return n.Num().Int64(), nil
}

func parseNumber(s string) (int64, error) {
	n, err := strconv.ParseUint(s, 10, 63)
	if errors.Is(err, strconv.ErrRange) {
		return 0, fmt.Errorf("%q is too large", s)
	}
	if err != nil {
		return 0, fmt.Errorf("%q is not a whole number such as 3", s)
	}
	return int64(n), nil
}

func parseDuration(s string) (caddy.Duration, error) {
	d, err := caddy.ParseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%q is not a duration such as 90s, 1h30m or 30d (292 years at most)", s)
	}
	return caddy.Duration(d), nil
}

func parseKeep(s string) (Keep, error) {
	if s == forever {
		return Forever, nil
	}
	d, err := parseDuration(s)
	if err != nil {
		return 0, fmt.Errorf("%w; or %q", err, forever)
	}
	return Keep(d), nil
}
