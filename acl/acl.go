// Package acl decides which rule applies to a JID. It is pure: it knows no
// Caddy, no HTTP and no store.
//
// A rule is a list of patterns. Rules are tried in order, and the first that
// has a matching pattern decides. Patterns are
//
//	user@example.com   that bare JID
//	example.com        that domain and all of its users
//	*.example.com      subdomains of any depth and their users, not the domain itself
//	*                  everyone
//	~expression        bare JIDs in which the regular expression is found
//
// The JIDs and domains of patterns are prepared as JIDs are, so case and the
// encoding of international domains make no difference.
package acl

import (
	"fmt"
	"strings"
)

// List is an ordered list of rules, ready to be matched. It is safe for
// concurrent use.
type List struct {
	// Patterns by their keys; of equal ones the first.
	users, domains, subdomains map[string]*entry
	everyone                   *entry
	searches                   []searchEntry

	covered []Covered
}

// entry is a pattern's place in the list.
type entry struct {
	rank    int // position among the patterns of all rules
	rule    int
	pattern string
}

type searchEntry struct {
	*entry
	parsed pattern
}

// Covered tells of a pattern that can never decide, since another one of an
// earlier rule matches whatever it matches.
type Covered struct {
	// Rule is the index of the rule, Pattern the pattern as written.
	Rule    int
	Pattern string
	// By is the index of the earlier rule, ByPattern its pattern.
	By        int
	ByPattern string
}

// PatternError tells which pattern of which rule is wrong.
type PatternError struct {
	// Rule and Index are the positions of the rule and of its pattern.
	Rule, Index int
	Err         error
}

func (e *PatternError) Error() string {
	return fmt.Sprintf("pattern %d of rule %d: %v", e.Index, e.Rule, e.Err)
}

func (e *PatternError) Unwrap() error { return e.Err }

// Compile makes a list of rules, each of which is a list of patterns. The
// error is a *PatternError.
func Compile(rules [][]string) (*List, error) {
	l := &List{
		users:      make(map[string]*entry),
		domains:    make(map[string]*entry),
		subdomains: make(map[string]*entry),
	}
	rank := 0
	for i, patterns := range rules {
		for k, s := range patterns {
			p, err := parsePattern(s)
			if err != nil {
				return nil, &PatternError{Rule: i, Index: k, Err: err}
			}
			l.add(p, &entry{rank: rank, rule: i, pattern: s})
			rank++
		}
	}
	return l, nil
}

func (l *List) add(p pattern, e *entry) {
	if by := l.covering(p); by != nil {
		if by.rule < e.rule {
			l.covered = append(l.covered, Covered{Rule: e.rule, Pattern: e.pattern, By: by.rule, ByPattern: by.pattern})
		}
		return
	}
	switch p.kind {
	case everyone:
		l.everyone = e
	case user:
		l.users[p.key] = e
	case domain:
		l.domains[p.key] = e
	case subdomain:
		l.subdomains[p.key] = e
	case search:
		l.searches = append(l.searches, searchEntry{entry: e, parsed: p})
	}
}

// covering returns the first pattern in the list that matches all that p
// matches, or nil. For expressions it finds equal ones only.
func (l *List) covering(p pattern) *entry {
	switch p.kind {
	case everyone:
		return l.everyone
	case user:
		return l.find(p.key)
	case domain:
		return l.findDomain(p.key)
	case subdomain:
		// A label that no domain has makes it one of the subdomains.
		return l.findDomain("*." + p.key)
	case search:
		return earlier(l.everyone, l.findSearch(p.key))
	}
	return nil
}

// findSearch returns the equal expression in the list, or nil.
func (l *List) findSearch(expr string) *entry {
	for _, s := range l.searches {
		if s.parsed.key == expr {
			return s.entry
		}
	}
	return nil
}

// Match returns the index of the first rule that matches, and the pattern of
// it that did, as written. The JID must come from ParseBare. Without a match it
// returns -1, "" and false.
func (l *List) Match(bare string) (rule int, pattern string, ok bool) {
	e := l.find(bare)
	if e == nil {
		return -1, "", false
	}
	return e.rule, e.pattern, true
}

// Covered returns the patterns that can never decide, in the order of the
// rules. That expressions cover each other goes unnoticed unless they are equal.
func (l *List) Covered() []Covered { return l.covered }

func (l *List) find(bare string) *entry {
	first := earlier(l.findDomain(domainOf(bare)), l.users[bare])
	for _, s := range l.searches {
		if first != nil && first.rank < s.rank {
			break
		}
		if s.parsed.regexp.MatchString(bare) {
			return s.entry
		}
	}
	return first
}

// findDomain returns the first pattern that matches all JIDs of a domain.
func (l *List) findDomain(name string) *entry {
	first := earlier(l.everyone, l.domains[name])
	for {
		_, parent, found := strings.Cut(name, ".")
		if !found {
			return first
		}
		first = earlier(first, l.subdomains[parent])
		name = parent
	}
}

// earlier returns the one with the lower rank; either may be nil.
func earlier(a, b *entry) *entry {
	if b == nil || a != nil && a.rank < b.rank {
		return a
	}
	return b
}
