package acl

import (
	"errors"
	"fmt"
	"strings"

	"mellium.im/xmpp/jid"
)

var errEmptyLabel = errors.New("the domain has an empty label")

// ParseBare returns the bare JID of s, prepared by RFC 7622, so that all
// spellings of one address are equal: case is folded, domains are Unicode, a
// resource is dropped. A domain alone is a JID too. The error quotes s.
func ParseBare(s string) (string, error) {
	j, err := parse(s)
	if err != nil {
		return "", fmt.Errorf("%q is not a valid JID: %w", s, err)
	}
	return j.Bare().String(), nil
}

// parse is jid.Parse without the empty labels that it lets pass: preparing
// them again would give another domain.
func parse(s string) (jid.JID, error) {
	j, err := jid.Parse(s)
	if err != nil {
		return jid.JID{}, err
	}
	if d := "." + j.Domainpart() + "."; strings.Contains(d, "..") {
		return jid.JID{}, errEmptyLabel
	}
	return j, nil
}

// domainOf returns the domain of a bare JID. A local part has no "@".
func domainOf(bare string) string {
	return bare[strings.IndexByte(bare, '@')+1:]
}
