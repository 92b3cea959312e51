package promises

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// within is how exact keep and put_timeout are.
const within = time.Second

// A file is served until its time ends, and no longer, though nobody cleans up.
func TestExpiredFileIsNotServed(t *testing.T) {
	t.Parallel()
	const keep = 2 * time.Second
	s := newService(t)
	s.Start(s.site(limited, "keep 2s", "cleanup_interval 1h"))

	begun := time.Now()
	u := s.mustStore(1000, 1)
	stored := time.Now()
	rig.Await(t, "a file to expire", func() bool {
		asked := time.Now()
		err := s.served(u)
		switch code := status(err); {
		case code == http.StatusOK && asked.After(stored.Add(keep+within)):
			t.Fatalf("served %s after its upload, though kept for %s", asked.Sub(stored), keep)
		case code == http.StatusOK:
			return false
		case code != http.StatusNotFound:
			t.Fatal(err)
		case time.Now().Before(begun.Add(keep - within)):
			t.Fatalf("gone %s after its upload began, though kept for %s", time.Since(begun), keep)
		}
		return true
	})
	if len(s.tree()) != 1 {
		t.Error("somebody has cleaned up: this test has shown nothing")
	}
}

func TestCleanUpGivesBackWhatExpired(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.Start(s.site("allow "+user+" {\nmax_total_size 1TiB\nkeep 1s\n}", limited, "keep 1h", "cleanup_interval 1s"))
	other, err := s.ask("other@example.com", 3000, 1)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.send(other); err != nil {
		t.Fatal(err)
	}
	for i := range uint64(10) {
		s.mustStore(1000, i)
	}
	rig.Await(t, "the quota to return", func() bool { return s.mustUsed() == 0 })
	s.awaitTree(other)
	s.expectServed(other)
}

// A slot that expires unused, or whose upload was broken off, gives its quota
// back at once, though nobody cleans up, and takes no upload any more.
func TestUnusedSlotExpires(t *testing.T) {
	t.Parallel()
	const timeout = 2 * time.Second
	s := newService(t)
	s.Start(s.site(limited, "put_timeout 2s", "cleanup_interval 1h"))

	begun := time.Now()
	unused, inFlight, broken := s.mustAsk(1000, 1), s.mustAsk(5000, 2), s.mustAsk(300, 3)
	granted := time.Now()
	p := s.hold(inFlight, 100)
	s.hold(broken, 100).breakOff()
	rig.Await(t, "a slot to expire", func() bool {
		asked := time.Now()
		switch used := s.mustUsed(); {
		case used == inFlight.size && asked.Before(begun.Add(timeout-within)):
			t.Fatalf("the quota of an unused slot returned %s after it was asked for, before %s", asked.Sub(begun), timeout)
		case used == inFlight.size:
			return true
		case asked.After(granted.Add(timeout + within)):
			t.Fatalf("%d bytes are held %s after the slots were granted, want the %d of the upload in flight", used, asked.Sub(granted), inFlight.size)
		}
		return false
	})
	s.expectRefused(s.send(unused), http.StatusForbidden)
	s.expectRefused(s.send(broken), http.StatusForbidden)

	// The other one began in time: it holds its quota and may end late.
	if err := p.finish(); err != nil {
		t.Errorf("an upload that began in time: %v", err)
	}
	s.expectServed(inFlight)
	s.expectUsed(inFlight.size)
}

func TestFileDeletedByHand(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.Start(s.site(limited, "cleanup_interval 1h"))
	gone, stays := s.mustStore(1000, 1), s.mustStore(2000, 2)
	if err := os.Remove(filepath.Join(s.files, gone.id()[:2], gone.fileName())); err != nil {
		t.Fatal(err)
	}
	s.expectNotServed(gone)
	s.expectRefused(s.send(gone), http.StatusConflict)
	s.expectServed(stays)
	s.expectUsed(3000)

	s.restart()
	rig.Await(t, "recovery to return the quota", func() bool { return s.mustUsed() == 2000 })
	s.expectNotServed(gone)
	s.expectServed(stays)
}

// Of two uploads to one slot one wins, and its bytes are served.
func TestRacingUploads(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.Start(s.site(limited))
	rounds := 60
	if testing.Short() {
		rounds = 15
	}
	var winners []upload
	wins := make(map[int]int)
	for i := range rounds {
		size := int64(1) << (i % 18)
		one := s.mustAsk(size, uint64(i))
		two := one
		two.seed += uint64(rounds * len(contentTypes)) // other bytes, the same type
		racers := []*heldPut{s.begin(t.Context(), one), s.begin(t.Context(), two)}
		if i%2 == 0 { // both are far when they race for the end
			rig.Await(t, "two uploads to begin", func() bool { return s.parts(one) == 2 })
		}
		results := make([]chan error, len(racers))
		for k, p := range racers {
			results[k] = make(chan error, 1)
			go func() { results[k] <- p.finish() }()
		}
		first, second := <-results[0], <-results[1]
		switch fmt.Sprint(status(first), status(second)) {
		case "200 409":
			winners = append(winners, one)
			wins[0]++
		case "409 200":
			winners = append(winners, two)
			wins[1]++
		default:
			t.Fatalf("round %d: %v and %v, want one that is stored and one 409", i, first, second)
		}
	}
	t.Logf("wins: %v", wins)
	var sum int64
	for _, u := range winners {
		sum += u.size
	}
	s.expectServed(winners...)
	s.expectUsed(sum)
	s.awaitTree(winners...)
}
