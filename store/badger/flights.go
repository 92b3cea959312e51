package badger

import (
	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// flight is what uploads to one slot hold.
type flight struct {
	jid     string
	claim   quota.Claim
	uploads int
	// landed is the writer's own: the flight has ended in the batch at hand.
	// Others see it until the batch is committed, so that nobody takes a slot
	// that was used in its last moment for one that was never used.
	landed bool
}

// takeOff notes that an upload to the slot is in flight.
func (s *Slots) takeOff(slot store.Slot) {
	f := &flight{jid: slot.JID, claim: slot.Claim(), uploads: 1}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.flights[slot.ID] = f
	if s.flightsOf[f.jid] == nil {
		s.flightsOf[f.jid] = make(map[string]*flight)
	}
	s.flightsOf[f.jid][slot.ID] = f
	s.waiting.hold(lapseSecond(slot.Deadline), 1, slot.Size)
}

// flight returns what is in flight to a slot, as the jobs before in this batch
// have left it, or nil.
func (b *batch) flight(id string) *flight {
	if f := b.flights[id]; f != nil && !f.landed {
		return f
	}
	return nil
}

// land ends all uploads to a slot.
func (b *batch) land(id string) (inFlight bool) {
	f := b.flight(id)
	if f == nil {
		return false
	}
	f.landed = true
	b.landed = append(b.landed, id)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.waiting.hold(lapseSecond(f.claim.Deadline), -1, -f.claim.Size)
	return true
}

// clear lets others see which flights have ended.
func (b *batch) clear() {
	if len(b.landed) == 0 {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, id := range b.landed {
		f := b.flights[id]
		if f == nil || !f.landed {
			continue // another upload has begun in the same batch
		}
		delete(b.flights, id)
		delete(b.flightsOf[f.jid], id)
		if len(b.flightsOf[f.jid]) == 0 {
			delete(b.flightsOf, f.jid)
		}
	}
}

// inFlight returns the JID of a slot that has an upload in flight.
func (s *Slots) inFlight(id string) (jid string, ok bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if f := s.flights[id]; f != nil {
		return f.jid, true
	}
	return "", false
}

// inFlightNow returns the IDs of all slots with uploads in flight. Who reads
// slots after that finds each of them waiting, or knows what became of it.
func (s *Slots) inFlightNow() map[string]bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	ids := make(map[string]bool, len(s.flights))
	for id := range s.flights {
		ids[id] = true
	}
	return ids
}
