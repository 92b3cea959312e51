package quota_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-xmpp/xmpp-upload/quota"
)

var start = time.Unix(1_700_000_000, 0)

// claimAt is a claim s seconds after start that lapses after 60 s.
func claimAt(s, size int64) quota.Claim {
	at := start.Add(time.Duration(s) * time.Second)
	return quota.Claim{At: at, Deadline: at.Add(time.Minute), Size: size}
}

func refusal(t *testing.T, err error) *quota.Refusal {
	t.Helper()
	var r *quota.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("got %v, want a refusal", err)
	}
	return r
}

func TestRefusalsNameTheLimitThatIsHit(t *testing.T) {
	limits := quota.Limits{
		MaxFileSize:  500,
		MaxTotalSize: 1000,
		Bytes:        []quota.Window{{Limit: 600, Per: time.Hour}},
		Uploads:      []quota.Window{{Limit: 3, Per: time.Hour}},
	}
	for name, tc := range map[string]struct {
		before []int64 // sizes, one per second, committed
		size   int64
		want   *quota.Refusal // nil is granted
	}{
		"an empty account grants":               {size: 500},
		"a file of the largest size is granted": {before: []int64{100}, size: 500},
		"file size":                             {size: 501, want: &quota.Refusal{Code: quota.FileTooLarge, Limit: 500, Used: 501}},
		"file size comes before all others":     {before: []int64{400, 200}, size: 501, want: &quota.Refusal{Code: quota.FileTooLarge, Limit: 500, Used: 501}},
		"bytes in an hour": {
			before: []int64{400}, size: 201,
			want: &quota.Refusal{Code: quota.RateQuota, Limit: 600, Used: 400, Per: time.Hour, RetryAfter: time.Hour - time.Second},
		},
		"uploads in an hour": {
			before: []int64{1, 1, 1}, size: 1,
			want: &quota.Refusal{Code: quota.RateQuota, Limit: 3, Used: 3, Uploads: true, Per: time.Hour, RetryAfter: time.Hour - 3*time.Second},
		},
		"the window that takes longest": {
			before: []int64{1, 1, 498}, size: 490,
			want: &quota.Refusal{Code: quota.RateQuota, Limit: 600, Used: 500, Per: time.Hour, RetryAfter: time.Hour + 2*time.Second - 3*time.Second},
		},
	} {
		t.Run(name, func(t *testing.T) {
			var a quota.Account
			now := int64(0)
			for _, size := range tc.before {
				c := claimAt(now, size)
				if err := a.Reserve(c, limits); err != nil {
					t.Fatal(err)
				}
				a.Begin(c, c.At)
				a.Commit(c)
				now++
			}
			err := a.Reserve(claimAt(now, tc.size), limits)
			if tc.want == nil {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
			if got := refusal(t, err); *got != *tc.want {
				t.Errorf("got %+v, want %+v", *got, *tc.want)
			}
		})
	}
}

func TestTotalCountsStoredAndWaitingBytes(t *testing.T) {
	limits := quota.Limits{MaxTotalSize: 100}
	var a quota.Account
	stored, waiting := claimAt(0, 30), claimAt(1, 50)
	for _, c := range []quota.Claim{stored, waiting} {
		if err := a.Reserve(c, limits); err != nil {
			t.Fatal(err)
		}
	}
	a.Begin(stored, stored.At)
	a.Commit(stored)
	if r := refusal(t, a.Check(21, limits, start.Add(2*time.Second))); r.Code != quota.TotalQuota || r.Used != 80 || r.RetryAfter != 0 {
		t.Errorf("got %+v", *r)
	}
	if err := a.Check(70, limits, waiting.Deadline); err != nil {
		t.Errorf("a lapsed slot still counts: %v", err)
	}
	a.Remove(30)
	if err := a.Check(100, limits, waiting.Deadline); err != nil {
		t.Errorf("a removed file still counts: %v", err)
	}
}

func TestUploadInFlightHoldsItsQuotaPastTheDeadline(t *testing.T) {
	limits := quota.Limits{MaxTotalSize: 10}
	var a quota.Account
	c := claimAt(0, 10)
	_ = a.Reserve(c, limits)
	if !a.Begin(c, c.Deadline.Add(-1)) {
		t.Fatal("upload may not begin in time")
	}
	if err := a.Check(1, limits, c.Deadline.Add(time.Hour)); err == nil {
		t.Error("the claim has lapsed in flight")
	}
	a.GiveUp(c, c.Deadline.Add(time.Hour))
	if err := a.Check(10, limits, c.Deadline.Add(time.Hour)); err != nil {
		t.Errorf("the claim outlives its upload: %v", err)
	}
	if a.Begin(c, c.Deadline.Add(time.Hour)) {
		t.Error("a lapsed claim may begin")
	}
}

func TestARequestThatCanNeverFitHasNoRetryTime(t *testing.T) {
	limits := quota.Limits{Bytes: []quota.Window{{Limit: 10, Per: time.Hour}}}
	var a quota.Account
	if r := refusal(t, a.Check(11, limits, start)); r.RetryAfter != 0 {
		t.Errorf("RetryAfter is %s", r.RetryAfter)
	}
}

// model is what an account must do, said without any regard to speed: a list of
// claims, summed over at each question.
type model struct {
	claims []*modelClaim
	stored int64
}

type modelClaim struct {
	quota.Claim
	inFlight, committed, gone bool // gone: as if it had never been
}

func (m *model) clone() *model {
	n := &model{stored: m.stored}
	for _, c := range m.claims {
		d := *c
		n.claims = append(n.claims, &d)
	}
	return n
}

func (m *model) advance(now time.Time) {
	for _, c := range m.claims {
		if !c.committed && !c.inFlight && !now.Before(c.Deadline) {
			c.gone = true
		}
	}
}

func (m *model) granted(size int64, l quota.Limits, now time.Time) bool {
	m.advance(now)
	total := m.stored
	for _, c := range m.claims {
		if !c.gone && !c.committed {
			total += c.Size
		}
	}
	if l.MaxTotalSize > 0 && total+size > l.MaxTotalSize {
		return false
	}
	sum := func(per time.Duration, of func(*modelClaim) int64) (n int64) {
		for _, c := range m.claims {
			if !c.gone && c.At.After(now.Add(-per)) {
				n += of(c)
			}
		}
		return n
	}
	for _, w := range l.Bytes {
		if sum(w.Per, func(c *modelClaim) int64 { return c.Size })+size > w.Limit {
			return false
		}
	}
	for _, w := range l.Uploads {
		if sum(w.Per, func(*modelClaim) int64 { return 1 })+1 > w.Limit {
			return false
		}
	}
	return true
}

// pick draws one of the claims that qualify, nil if none does.
func (m *model) pick(t *rapid.T, ok func(*modelClaim) bool) *modelClaim {
	var some []*modelClaim
	for _, c := range m.claims {
		if !c.gone && ok(c) {
			some = append(some, c)
		}
	}
	if len(some) == 0 {
		return nil
	}
	return some[rapid.IntRange(0, len(some)-1).Draw(t, "claim")]
}

func drawLimits(t *rapid.T) quota.Limits {
	window := func(most int64) *rapid.Generator[quota.Window] {
		return rapid.Custom(func(t *rapid.T) quota.Window {
			return quota.Window{
				Limit: rapid.Int64Range(1, most).Draw(t, "limit"),
				Per:   time.Duration(rapid.Int64Range(1, 300).Draw(t, "per")) * time.Second,
			}
		})
	}
	return quota.Limits{
		MaxTotalSize: rapid.Int64Range(0, 200).Draw(t, "total"),
		Bytes:        rapid.SliceOfN(window(100), 0, 2).Draw(t, "bytes"),
		Uploads:      rapid.SliceOfN(window(20), 0, 2).Draw(t, "uploads"),
	}
}

// TestAccountDoesWhatAListOfEventsWould drives an account and the model alike.
func TestAccountDoesWhatAListOfEventsWould(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var a quota.Account
		m := &model{}
		limits := drawLimits(t)
		now := start
		waiting := func(c *modelClaim) bool { return !c.committed && !c.inFlight }
		inFlight := func(c *modelClaim) bool { return c.inFlight }
		t.Repeat(map[string]func(*rapid.T){
			"wait": func(t *rapid.T) {
				now = now.Add(time.Duration(rapid.Int64Range(-5, 100).Draw(t, "s")) * time.Second)
			},
			"new limits": func(t *rapid.T) { limits = drawLimits(t) },
			"reserve": func(t *rapid.T) {
				c := quota.Claim{
					At: now, Size: rapid.Int64Range(1, 60).Draw(t, "size"),
					Deadline: now.Add(time.Duration(rapid.Int64Range(1, 400).Draw(t, "timeout")) * time.Second),
				}
				want := m.granted(c.Size, limits, now)
				err := a.Reserve(c, limits)
				if (err == nil) != want {
					t.Fatalf("reserve: %v, the model grants: %v", err, want)
				}
				if want {
					m.claims = append(m.claims, &modelClaim{Claim: c})
				} else {
					checkRetry(t, m, err, c, limits)
				}
			},
			"begin": func(t *rapid.T) {
				if c := m.pick(t, waiting); c != nil {
					m.advance(now)
					if got := a.Begin(c.Claim, now); got == c.gone {
						t.Fatalf("begin: %v, the model says %v", got, !c.gone)
					}
					c.inFlight = !c.gone
				}
			},
			"give up": func(t *rapid.T) {
				if c := m.pick(t, inFlight); c != nil {
					c.inFlight = false
					m.advance(now)
					a.GiveUp(c.Claim, now)
				}
			},
			"commit": func(t *rapid.T) {
				if c := m.pick(t, inFlight); c != nil {
					c.inFlight, c.committed = false, true
					m.stored += c.Size
					a.Commit(c.Claim)
				}
			},
			"cancel": func(t *rapid.T) {
				if c := m.pick(t, func(c *modelClaim) bool { return !c.committed }); c != nil {
					a.Cancel(c.Claim, c.inFlight)
					c.gone, c.inFlight = true, false
				}
			},
			"remove": func(t *rapid.T) {
				if c := m.pick(t, func(c *modelClaim) bool { return c.committed && m.stored >= c.Size }); c != nil {
					a.Remove(c.Size)
					m.stored -= c.Size
				}
			},
			"forget": func(t *rapid.T) { a.Forget(now.Add(-5*time.Second), 300*time.Second) },
			"": func(t *rapid.T) {
				checkUsage(t, m, a.Usage(limits, now), now)
			},
		})
	})
}

// checkRetry asks the model whether the same request would be granted at the
// very moment that the refusal names, and not a nanosecond before.
func checkRetry(t *rapid.T, m *model, err error, c quota.Claim, l quota.Limits) {
	var r *quota.Refusal
	if !errors.As(err, &r) {
		t.Fatalf("%v is no refusal", err)
	}
	if r.Code != quota.RateQuota {
		return
	}
	fits := func(limit, amount int64) bool { return amount <= limit }
	if slices.ContainsFunc(l.Bytes, func(w quota.Window) bool { return !fits(w.Limit, c.Size) }) {
		if r.RetryAfter != 0 {
			t.Fatalf("can never fit, yet RetryAfter is %s", r.RetryAfter)
		}
		return
	}
	// The total may still refuse while slots wait: only the windows are asked.
	l.MaxTotalSize = 0
	if m.clone().granted(c.Size, l, c.At.Add(r.RetryAfter-1)) {
		t.Fatalf("granted before RetryAfter %s", r.RetryAfter)
	}
	if !m.clone().granted(c.Size, l, c.At.Add(r.RetryAfter)) {
		t.Fatalf("not granted after RetryAfter %s", r.RetryAfter)
	}
}

func checkUsage(t *rapid.T, m *model, u quota.Usage, now time.Time) {
	m.advance(now)
	var slots, bytes int64
	for _, c := range m.claims {
		if !c.gone && !c.committed {
			slots++
			bytes += c.Size
		}
	}
	if u.WaitingSlots != slots || u.WaitingBytes != bytes || u.StoredBytes != m.stored {
		t.Fatalf("usage %+v, the model has %d waiting with %d bytes, %d stored", u, slots, bytes, m.stored)
	}
	for _, w := range slices.Concat(u.Bytes, u.Uploads) {
		if w.RoomIn < 0 || (w.RoomIn > 0) != (w.Used >= w.Limit) {
			t.Fatalf("room in %s with %d of %d used", w.RoomIn, w.Used, w.Limit)
		}
	}
}

// TestLongHistoriesAreExact crosses the borders of chunks in every way.
func TestLongHistoriesAreExact(t *testing.T) {
	limits := quota.Limits{Uploads: []quota.Window{{Limit: 5000, Per: time.Hour}}}
	var a quota.Account
	var claims []quota.Claim
	for i := range 5000 {
		c := claimAt(0, 1)
		c.At = start.Add(time.Duration(i*7919%5000) * time.Millisecond)
		c.Deadline = c.At.Add(2 * time.Hour)
		if err := a.Reserve(c, limits); err != nil {
			t.Fatalf("claim %d: %v", i, err)
		}
		claims = append(claims, c)
	}
	r := refusal(t, a.Check(1, limits, start.Add(6*time.Second)))
	if want := time.Hour - 6*time.Second; r.RetryAfter != want {
		t.Errorf("RetryAfter is %s, want %s", r.RetryAfter, want)
	}
	for i, c := range claims {
		if i%2 == 0 {
			a.Cancel(c, false)
		}
	}
	if u := a.Usage(limits, start.Add(6*time.Second)); u.Uploads[0].Used != 2500 || u.WaitingSlots != 2500 {
		t.Errorf("usage %+v", u)
	}
	a.Forget(start.Add(time.Hour+6*time.Second), time.Hour)
	if u := a.Usage(limits, start.Add(time.Hour+6*time.Second)); u.Uploads[0].Used != 0 || u.WaitingSlots != 2500 {
		t.Errorf("usage %+v", u)
	}
}

// BenchmarkReserve shows that history costs nothing: ns/op must not follow it.
func BenchmarkReserve(b *testing.B) {
	for name, history := range map[string]int{"10": 10, "100000": 100_000} {
		b.Run(name, func(b *testing.B) {
			limits := quota.Limits{
				Bytes:   []quota.Window{{Limit: 1 << 40, Per: time.Hour}},
				Uploads: []quota.Window{{Limit: 1 << 40, Per: time.Hour}},
			}
			var a quota.Account
			for i := range history {
				a.RestoreGranted(quota.Claim{At: start.Add(time.Duration(i) * time.Millisecond), Size: 1})
			}
			now := start.Add(10 * time.Minute)
			for b.Loop() {
				c := quota.Claim{At: now, Deadline: now.Add(time.Minute), Size: 1}
				if err := a.Reserve(c, limits); err != nil {
					b.Fatal(err)
				}
				a.Cancel(c, false)
			}
		})
	}
}
