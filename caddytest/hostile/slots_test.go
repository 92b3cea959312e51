//go:build linux

package hostile

import (
	"errors"
	"fmt"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// An XMPP server that lets one user ask without end.
func TestFloodOfSlotsForOneJID(t *testing.T) {
	s := start(t)
	n := many(5000, 200_000)
	s.withstands(400*mib, func(o *others) use {
		s.must(each(n, func(int) error {
			_, err := s.Slot(t.Context(), rig.Ask{JID: attacker, Name: "a.bin", Size: 10})
			return err
		}))
		o.areServed()
		return use{Waiting: int64(n), WaitingBytes: int64(n) * 10}
	})
}

// The same under a limit: exactly so many are granted as it says.
func TestFloodOfSlotsBeyondTheLimit(t *testing.T) {
	const limit = 100
	s := start(t, "allow limited.example.com {\nuploads 100 per 1h\n}")
	s.withstands(200*mib, func(o *others) use {
		var granted atomic.Int64
		s.must(each(many(5000, 100_000), func(int) error {
			_, err := s.Slot(t.Context(), rig.Ask{JID: "mallory@limited.example.com", Name: "a.bin", Size: 10})
			if err == nil {
				granted.Add(1)
			}
			var refused *rig.StatusError
			if errors.As(err, &refused) && refused.Code == http.StatusPaymentRequired {
				return nil
			}
			return err
		}))
		if granted.Load() != limit {
			t.Errorf("%d slots were granted, want %d", granted.Load(), limit)
		}
		s.expectUse("mallory@limited.example.com", use{Waiting: limit, WaitingBytes: 10 * limit})
		o.areServed()
		return use{}
	})
}

// An XMPP server with open registration. The memory for accounts is bounded,
// and a forgotten account is exact when it is needed again.
func TestFloodOfJIDs(t *testing.T) {
	s := start(t)
	n := many(10_000, 1_000_000)
	jid := func(i int) string { return fmt.Sprintf("mallory%d@example.com", i) }
	// Go's collector lets the heap double, and the database merges large tables.
	bound := int64(many(400, 1200)) * mib
	s.withstands(bound, func(o *others) use {
		s.must(each(n, func(i int) error {
			_, err := s.Slot(t.Context(), rig.Ask{JID: jid(i), Name: "a.bin", Size: 10})
			return err
		}))
		o.areServed()
		for i := 0; i < n; i += n / 100 {
			s.expectUse(jid(i), use{Waiting: 1, WaitingBytes: 10})
		}
		return use{}
	})
	var sum use
	if s.api(http.MethodGet, "stats", &sum); sum.Waiting != int64(n) {
		t.Errorf("%d slots wait, want %d", sum.Waiting, n)
	}
}
