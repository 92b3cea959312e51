package admin

import (
	"context"
	"errors"
	"math"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/quota"
)

// Rule returns the rule that decides on the bare JID, and false if none does.
func (s *Stores) Rule(jid string) (Rule, bool) {
	if _, rule := s.decider(jid); rule != nil {
		return *rule, true
	}
	return Rule{}, false
}

// User returns what the bare JID may store and what it uses. Over several
// stores the use is summed; rule, limits and windows are those of the store
// whose rule decides.
func (s *Stores) User(ctx context.Context, jid string) (User, error) {
	var sum User
	var each []StoreUser
	now := time.Now()
	for i, p := range s.all {
		u, err := p.user(ctx, jid, now)
		if err != nil {
			return User{}, err
		}
		if i == 0 {
			sum = u
		} else {
			sum = sum.plus(u)
		}
		each = append(each, StoreUser{Store: p.name, User: u})
	}
	if len(each) > 1 {
		sum.Stores = each
	}
	return sum, nil
}

// plus returns the sum of what is used, with the rule that counts more and all
// that comes from it.
func (u User) plus(other User) User {
	sum := u
	if counts(other.Rule, u.Rule) {
		sum = other
	}
	sum.StoredFiles = u.StoredFiles + other.StoredFiles
	sum.StoredBytes = u.StoredBytes + other.StoredBytes
	sum.WaitingSlots = u.WaitingSlots + other.WaitingSlots
	sum.WaitingBytes = u.WaitingBytes + other.WaitingBytes
	return sum
}

func (p *pair) user(ctx context.Context, jid string, now time.Time) (User, error) {
	_, rule := p.decider(jid)
	var limits quota.Limits
	if rule != nil {
		limits = rule.Limits
	}
	usage, err := p.slots().Usage(ctx, jid, limits, now)
	if err != nil {
		return User{}, err
	}
	return User{
		JID: jid, Rule: rule, MaxFileSize: limits.MaxFileSize, MaxTotalSize: limits.MaxTotalSize,
		StoredFiles: usage.StoredFiles, StoredBytes: usage.StoredBytes,
		WaitingSlots: usage.WaitingSlots, WaitingBytes: usage.WaitingBytes,
		Bytes: windows(usage.Bytes), Uploads: windows(usage.Uploads),
	}, nil
}

func windows(usage []quota.WindowUsage) []Window {
	list := make([]Window, len(usage))
	for i, w := range usage {
		list[i] = Window{Limit: w.Limit, Per: span(w.Per), Used: w.Used, RoomIn: int64(math.Ceil(w.RoomIn.Seconds()))}
	}
	return list
}

// Check returns what a request for a slot of size bytes would be answered now,
// and takes no slot.
func (s *Stores) Check(ctx context.Context, jid string, size int64) (Check, error) {
	site, rule := s.decider(jid)
	err := site.Check(ctx, jid, size)
	if refusal, ok := errors.AsType[*Refusal](err); ok {
		return Check{Rule: rule, Refusal: refusal}, nil
	}
	if err != nil {
		return Check{}, err
	}
	return Check{Granted: true, Rule: rule}, nil
}
