package acl

import (
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// kind is what a pattern is compared with.
type kind uint8

const (
	everyone  kind = iota // "*"
	user                  // "user@example.com", the bare JID
	domain                // "example.com", the JID's domain
	subdomain             // "*.example.com", what the JID's domain ends with
	search                // "~expression", found in the bare JID
)

// pattern is one parsed pattern. Equal kinds and keys match the same JIDs.
type pattern struct {
	kind   kind
	key    string // prepared as JIDs are; the expression of search
	regexp *regexp.Regexp
}

var errForm = errors.New(`want user@example.com, example.com, *.example.com, * or "~expression"`)

// Check returns an error that tells what is wrong with a pattern, or nil.
func Check(s string) error {
	_, err := parsePattern(s)
	return err
}

func parsePattern(s string) (pattern, error) {
	if s == "*" {
		return pattern{kind: everyone}, nil
	}
	if expr, ok := strings.CutPrefix(s, "~"); ok {
		return parseSearch(expr)
	}
	if parent, ok := strings.CutPrefix(s, "*."); ok {
		p, err := parseAddress(s, parent)
		if err == nil && p.kind == user {
			return pattern{}, fmt.Errorf("pattern %q: %w", s, errForm)
		}
		p.kind = subdomain
		return p, err
	}
	return parseAddress(s, s)
}

func parseSearch(expr string) (pattern, error) {
	if expr == "" {
		return pattern{}, errors.New(`pattern "~": the expression is empty; "*" matches everyone`)
	}
	re, err := regexp.Compile(expr)
	if err != nil {
		return pattern{}, fmt.Errorf("pattern %q: %w", "~"+expr, err)
	}
	return pattern{kind: search, key: expr, regexp: re}, nil
}

// parseAddress parses what is a JID in the pattern s.
func parseAddress(s, address string) (pattern, error) {
	local, _, isUser := strings.Cut(address, "@")
	switch {
	case strings.Contains(address, "/"):
		return pattern{}, fmt.Errorf("pattern %q: rules apply to all resources of a JID; leave out what begins with the slash", s)
	case isUser && local == "":
		return pattern{}, fmt.Errorf("pattern %q: nothing is before the @; a domain alone matches all of its users", s)
	case strings.Contains(address, "*"):
		return pattern{}, fmt.Errorf(`pattern %q: "*" stands alone or begins "*.example.com"; use example.com for all users of a domain, and "~expression" for anything else`, s)
	}
	j, err := parse(address)
	if err != nil {
		return pattern{}, fmt.Errorf("pattern %q: %w; %w", s, err, errForm)
	}
	if isUser {
		return pattern{kind: user, key: j.String()}, nil
	}
	return pattern{kind: domain, key: j.String()}, nil
}
