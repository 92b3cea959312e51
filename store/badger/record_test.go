package badger

import (
	"bytes"
	"math"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// anyTime draws a time as the store is given, or none.
func anyTime(t *rapid.T, name string) time.Time {
	ns := rapid.Int64().Draw(t, name)
	if ns == 0 {
		return time.Time{}
	}
	return time.Unix(0, ns)
}

func anySlot(t *rapid.T) store.Slot {
	name := rapid.String().Draw(t, "name")
	return store.Slot{
		ID: store.NewID(time.Now()), JID: rapid.String().Draw(t, "jid"), Name: name,
		URLName:     rapid.SampledFrom([]string{store.URLName(name), name}).Draw(t, "url name"),
		Size:        rapid.Int64Range(0, 1<<62).Draw(t, "size"),
		ContentType: rapid.String().Draw(t, "type"), Attempt: rapid.String().Draw(t, "attempt"),
		State:    rapid.SampledFrom([]store.State{store.Waiting, store.Uploaded}).Draw(t, "state"),
		Reserved: anyTime(t, "reserved"), Deadline: anyTime(t, "deadline"),
		Uploaded: anyTime(t, "uploaded"), Expires: anyTime(t, "expires"),
	}
}

func TestRecordsAreReadAsTheyWereWritten(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		slot := anySlot(t)
		record := encodeSlot(slot)
		if got, err := decodeSlot(slot.ID, record); err != nil || got != slot {
			t.Fatalf("slot %+v is read as %+v, %v", slot, got, err)
		}
		line := journal{
			state: rapid.SampledFrom([]journalState{journalWaiting, journalGranted}).Draw(t, "journal"),
			Claim: quota.Claim{At: slot.Reserved, Deadline: slot.Deadline, Size: slot.Size},
		}
		if got, err := decodeJournal(encodeJournal(line)); err != nil || got != line {
			t.Fatalf("journal %+v is read as %+v, %v", line, got, err)
		}
		total := sum{rapid.Int64().Draw(t, "n"), rapid.Int64().Draw(t, "bytes")}
		if got, err := decodeSum(encodeSum(total)); err != nil || got != total {
			t.Fatalf("sum %+v is read as %+v, %v", total, got, err)
		}
	})
}

func TestDamagedRecordsAreErrors(t *testing.T) {
	slot := store.Slot{ID: store.NewID(time.Now()), JID: "me@example.com", Name: "a b", URLName: "a_b", Size: 1, State: store.Waiting, Reserved: time.Now(), Deadline: time.Now()}
	line := journal{state: journalWaiting, Claim: slot.Claim()}
	for name, tc := range map[string]struct {
		record []byte
		decode func([]byte) error
	}{
		"slot":    {encodeSlot(slot), func(b []byte) error { _, err := decodeSlot(slot.ID, b); return err }},
		"journal": {encodeJournal(line), func(b []byte) error { _, err := decodeJournal(b); return err }},
		"sum":     {encodeSum(sum{1, math.MaxInt64}), func(b []byte) error { _, err := decodeSum(b); return err }},
	} {
		for n := range tc.record {
			if tc.decode(tc.record[:n]) == nil {
				t.Errorf("%s: the first %d of %d bytes are taken for all", name, n, len(tc.record))
			}
		}
		if tc.decode(append(bytes.Clone(tc.record), 0)) == nil {
			t.Errorf("%s: a byte too much is taken", name)
		}
	}
	newer := encodeSlot(slot)
	newer[0]++
	if _, err := decodeSlot(slot.ID, newer); err == nil || !strings.Contains(err.Error(), "version 2") {
		t.Errorf("a record of a newer version: %v", err)
	}
}

// FuzzRecord reads anything as a record: it is damaged, or means the same when
// it is written again.
func FuzzRecord(f *testing.F) {
	at := time.Unix(1_700_000_000, 1)
	f.Add(encodeSlot(store.Slot{JID: "me@example.com", Name: "ü", URLName: "file", Size: 1 << 40, State: store.Uploaded, Reserved: at, Deadline: at, Uploaded: at, Attempt: "x"}))
	f.Add(encodeJournal(journal{state: journalGranted, Claim: quota.Claim{At: at, Deadline: at, Size: 1}}))
	f.Add(encodeSum(sum{-1, math.MinInt64}))
	f.Add([]byte{})
	f.Add([]byte{slotVersion, 1})
	f.Add(bytes.Repeat([]byte{0xff}, 64))
	f.Add(append([]byte{slotVersion, 1, 1, 0, 0, 0, 0}, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01))
	f.Fuzz(func(t *testing.T, b []byte) {
		if slot, err := decodeSlot("id", b); err == nil {
			if again, err := decodeSlot("id", encodeSlot(slot)); err != nil || again != slot {
				t.Errorf("slot %+v, again %+v, %v", slot, again, err)
			}
		}
		if line, err := decodeJournal(b); err == nil {
			if again, err := decodeJournal(encodeJournal(line)); err != nil || again != line {
				t.Errorf("journal %+v, again %+v, %v", line, again, err)
			}
		}
		if total, err := decodeSum(b); err == nil {
			if again, err := decodeSum(encodeSum(total)); err != nil || again != total {
				t.Errorf("sum %+v, again %+v, %v", total, again, err)
			}
		}
	})
}
