// Package admin is what an operator can see and do: list, search and delete
// uploads, ask what a user may still store, clean up, verify, count. The admin
// API, and through it the command, and the page are made of it. It knows no
// HTTP.
package admin

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// Site is a handler in service. It tells what only its configuration knows.
type Site interface {
	// Service returns a new reference to the clean-up service of the site's
	// stores, and so to the stores. The caller releases it.
	Service() *store.Ref[*cleanup.Service]
	// Rule returns the rule that decides on the bare JID, and false if none
	// does.
	Rule(jid string) (Rule, bool)
	// Check returns a *Refusal if a request for a slot of size bytes would be
	// refused now, and takes no slot.
	Check(ctx context.Context, jid string, size int64) error
	// Removed is called after an upload to the site's stores was removed.
	Removed(slot store.Slot, reason cleanup.Reason)
}

// Rule is the rule that matches a JID.
type Rule struct {
	// Index of the rule in the configuration, from 0.
	Index int `json:"index"`
	// Pattern of the rule that matched, as written.
	Pattern string `json:"pattern"`
	// Deny is whether the rule keeps the JID from uploading.
	Deny bool `json:"deny"`
	// Limits of each JID that the rule allows.
	Limits quota.Limits `json:"-"`
}

// Errors of choosing a store.
var (
	// ErrUnknownStore: no handler in service uses a store of this name.
	ErrUnknownStore = errors.New("no such store is in use")
	// ErrNoHandler: no handler is in service at all.
	ErrNoHandler = errors.New("no xmpp_upload handler is in use")
	// ErrSeveralStores: what was asked for can be done with one store only.
	ErrSeveralStores = errors.New("several stores are in use: choose one")
)

// sites are all handlers in service, by the names of their stores; the newest
// is the last.
var sites = struct {
	sync.Mutex
	byStore map[string][]*registration
}{byStore: make(map[string][]*registration)}

type registration struct{ Site }

// Register makes a site known until unregister is called, which must be before
// the site gives up its reference to the service. The name is the key of its
// slots store.
func Register(name string, s Site) (unregister func()) {
	sites.Lock()
	defer sites.Unlock()
	r := &registration{s}
	sites.byStore[name] = append(sites.byStore[name], r)
	return func() {
		sites.Lock()
		defer sites.Unlock()
		rest := slices.DeleteFunc(slices.Clone(sites.byStore[name]), func(other *registration) bool { return other == r })
		if len(rest) == 0 {
			delete(sites.byStore, name)
			return
		}
		sites.byStore[name] = rest
	}
}

// Removed tells the newest site of the named store that an upload was removed.
func Removed(name string, slot store.Slot, reason cleanup.Reason) {
	sites.Lock()
	list := sites.byStore[name]
	sites.Unlock()
	if len(list) > 0 {
		list[len(list)-1].Removed(slot, reason)
	}
}

// Stores are one or several pairs of stores, held for the time of a request.
type Stores struct {
	// all is in the order of the names.
	all []*pair
}

// pair is a slots store and its files store.
type pair struct {
	name    string
	service *store.Ref[*cleanup.Service]
	sites   []*registration // the newest first
}

func (p *pair) slots() store.Slots { return p.service.Value.Slots() }
func (p *pair) files() store.Files { return p.service.Value.Files() }

func severalStores(names []string) error {
	return fmt.Errorf("%w: %s", ErrSeveralStores, strings.Join(names, ", "))
}

// Open holds the store of this name, or, if it is empty, all that are in use,
// of which there is at least one. The caller releases them. It returns
// ErrUnknownStore and ErrNoHandler.
func Open(name string) (*Stores, error) {
	sites.Lock()
	defer sites.Unlock()
	var s Stores
	for _, known := range slices.Sorted(maps.Keys(sites.byStore)) {
		if name == "" || name == known {
			list := slices.Clone(sites.byStore[known])
			slices.Reverse(list)
			s.all = append(s.all, &pair{name: known, service: list[0].Service(), sites: list})
		}
	}
	switch {
	case len(sites.byStore) == 0:
		return nil, ErrNoHandler
	case len(s.all) == 0:
		return nil, fmt.Errorf("%w: %s; in use: %s", ErrUnknownStore, name, strings.Join(slices.Sorted(maps.Keys(sites.byStore)), ", "))
	}
	return &s, nil
}

// Release ends the hold.
func (s *Stores) Release() error {
	var err error
	for _, p := range s.all {
		err = errors.Join(err, p.service.Release())
	}
	return err
}

// Names returns the names of the stores, in order.
func (s *Stores) Names() []string {
	names := make([]string, 0, len(s.all))
	for _, p := range s.all {
		names = append(names, p.name)
	}
	return names
}

// decider returns the site whose rule counts for the JID, and the rule. Of
// several sites it is the newest that allows the JID, else the newest that has
// a rule; without any, the newest and nil.
func (p *pair) decider(jid string) (Site, *Rule) {
	site, rule := Site(p.sites[0]), (*Rule)(nil)
	for _, s := range p.sites {
		if r, ok := s.Rule(jid); ok && counts(&r, rule) {
			site, rule = s, &r
		}
	}
	return site, rule
}

// decider returns that of the first store that allows the JID, else of the
// first that has a rule, else of the first.
func (s *Stores) decider(jid string) (Site, *Rule) {
	site, rule := s.all[0].decider(jid)
	for _, p := range s.all[1:] {
		if other, r := p.decider(jid); counts(r, rule) {
			site, rule = other, r
		}
	}
	return site, rule
}

// counts reports whether a rule counts more than the one found before; either
// may be nil.
func counts(r, before *Rule) bool {
	return r != nil && (before == nil || before.Deny && !r.Deny)
}
