package storetest

import (
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// race calls f(0) to f(n-1) at once and returns their errors.
func race(n int, f func(int) error) []error {
	errs := make([]error, n)
	var wg sync.WaitGroup
	start := make(chan struct{})
	for i := range n {
		wg.Go(func() {
			<-start
			errs[i] = f(i)
		})
	}
	close(start)
	wg.Wait()
	return errs
}

func reserve(t *testing.T, s store.Slots, slot store.Slot) store.Slot {
	t.Helper()
	if err := s.Reserve(t.Context(), slot, free); err != nil {
		t.Fatal(err)
	}
	return slot
}

// upload uploads to the slot at now, to be kept for keep, 0 for ever.
func upload(t *testing.T, s store.Slots, slot store.Slot, now time.Time, keep time.Duration) store.Slot {
	t.Helper()
	if _, err := s.Begin(t.Context(), slot.ID, now); err != nil {
		t.Fatal(err)
	}
	r := store.Result{ContentType: "image/png", Attempt: store.NewAttempt(), At: now}
	if keep > 0 {
		r.Expires = now.Add(keep)
	}
	slot, err := s.Commit(t.Context(), slot.ID, r)
	if err != nil {
		t.Fatal(err)
	}
	return slot
}

func usage(t *testing.T, s store.Slots, jid string, l quota.Limits, now time.Time) quota.Usage {
	t.Helper()
	u, err := s.Usage(t.Context(), jid, l, now)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func remember(t *testing.T, s store.Slots, d time.Duration) {
	t.Helper()
	if err := s.Remember(t.Context(), d); err != nil {
		t.Fatal(err)
	}
}

func second[T any](_ T, err error) error { return err }

func expectErr(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

func expectTotals(t *testing.T, s store.Slots, now time.Time, want store.Totals) {
	t.Helper()
	if got, err := s.Totals(t.Context(), now); err != nil || got != want {
		t.Errorf("totals are %+v, %v; want %+v", got, err, want)
	}
}

func expectSlot(t *testing.T, s store.Slots, want store.Slot) {
	t.Helper()
	got, err := s.Get(t.Context(), want.ID)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []*time.Time{&got.Reserved, &got.Deadline, &got.Uploaded, &got.Expires, &want.Reserved, &want.Deadline, &want.Uploaded, &want.Expires} {
		*p = p.UTC()
	}
	if want.Attempt == "" {
		want.Attempt = got.Attempt
	}
	if got != want {
		t.Errorf("slot is\n%+v, want\n%+v", got, want)
	}
}
