package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"path"
	"strconv"
	"strings"
	"time"
)

// startFilled starts this module and takes slots.
func (b *bench) startFilled(slots int) (*process, error) {
	p, err := b.startOurs()
	if err != nil {
		return nil, err
	}
	fill := load{addr: p.addr, conns: 64, count: slots, request: asks(p.addr, 1, users(10_000)...), status: 200}
	_, err = fill.run()
	return p, err
}

// list compares the first page of many uploads with that of few.
func list(b *bench) ([]side, error) {
	many, few := b.of(1_000_000), b.of(1000)
	large, err := b.startFilled(many)
	small, smallErr := b.startFilled(few)
	if err := errors.Join(err, smallErr); err != nil {
		return nil, err
	}
	page := func(slots int, p *process) side {
		return single(grouped(slots)+" slots", func() (ms float64, err error) {
			err = b.profiler.watch(p, "", func() error {
				ms, err = firstPage(p)
				return err
			})
			return ms, err
		})
	}
	return []side{page(many, large), page(few, small)}, nil
}

// firstPage returns the median time of the first page of the list, in ms.
func firstPage(p *process) (float64, error) {
	times := make([]float64, 200)
	for i := range times {
		begun := time.Now()
		if err := p.ask(context.Background(), http.MethodGet, "uploads"); err != nil {
			return 0, err
		}
		times[i] = milliseconds(time.Since(begun))
	}
	return median(times), nil
}

// watched compares slots while an operator looks every second with slots while
// nobody does.
func watched(b *bench) ([]side, error) {
	p, err := b.startFilled(b.of(100_000))
	if err != nil {
		return nil, err
	}
	return b.beside(p, "watched", p.watch), nil
}

// tended compares slots while one verify after the other goes through 5,000
// files with slots while none does.
func tended(b *bench) ([]side, error) {
	p, err := b.startFilled(1)
	if err != nil {
		return nil, err
	}
	if _, _, err := b.upload(p, 1<<10, 8, b.of(5000)); err != nil {
		return nil, err
	}
	return b.beside(p, "tended", func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := p.verify(ctx); err != nil {
				return err
			}
		}
		return nil
	}), nil
}

// beside measures slots while an operator does something, and while he does not.
func (b *bench) beside(p *process, how string, do func(context.Context) error) []side {
	l := load{addr: p.addr, conns: 16, time: 2 * b.duration, request: asks(p.addr, 1000, users(10_000)...), status: 200}
	return []side{
		single("slots, "+how, func() (float64, error) {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- do(ctx) }()
			m, err := b.run(p, l)
			cancel()
			if failed := <-done; !errors.Is(failed, context.Canceled) {
				err = errors.Join(err, failed)
			}
			return m.perSecond, err
		}),
		b.side("slots, not "+how, nil, l, rate),
	}
}

// watch asks what an operator and his Prometheus ask, every second.
func (p *process) watch(ctx context.Context) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		for _, call := range []string{
			"uploads", "uploads?state=uploaded", "uploads?jid=user1@example.com",
			"users", "users/user1@example.com", "stats", "../metrics",
		} {
			if err := p.ask(ctx, http.MethodGet, call); err != nil {
				return err
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
	}
}

// ask makes a call of the admin API.
func (p *process) ask(ctx context.Context, method, call string) error {
	_, err := p.answer(ctx, method, call)
	return err
}

// verify compares slots with files, which must be as they should.
func (p *process) verify(ctx context.Context) error {
	text, err := p.answer(ctx, http.MethodPost, "verify")
	if err != nil {
		return err
	}
	var found struct {
		Missing, Orphaned []string
		WrongSize         []string `json:"wrong_size"`
	}
	err = json.Unmarshal([]byte(text), &found)
	if n := len(found.Missing) + len(found.Orphaned) + len(found.WrongSize); n > 0 {
		err = fmt.Errorf("%d of the uploads are not as they should be", n)
	}
	return err
}

// answer makes a call of the admin API and returns its answer.
func (p *process) answer(ctx context.Context, method, call string) (string, error) {
	url := "http://" + p.admin + path.Join("/xmpp_upload", call)
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return "", err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err == nil && resp.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s %s: %s: %s", method, url, resp.Status, body)
	}
	return string(body), err
}

// metric returns the value of a metric of the module without labels.
func (p *process) metric(name string) (float64, error) {
	text, err := p.answer(context.Background(), http.MethodGet, "../metrics")
	if err != nil {
		return 0, err
	}
	_, rest, _ := strings.Cut(text, "\ncaddy_xmpp_upload_"+name+" ")
	value, _, _ := strings.Cut(rest, "\n")
	return strconv.ParseFloat(value, 64)
}

// until looks at a metric now and then until it has a value. To look costs the
// process about a millisecond.
func (p *process) until(name string, every time.Duration, right func(float64) bool) error {
	for deadline := time.Now().Add(time.Hour); ; time.Sleep(every) {
		value, err := p.metric(name)
		if err != nil || right(value) {
			return err
		}
		if time.Now().After(deadline) {
			return fmt.Errorf("%s is still %v", name, value)
		}
	}
}

// untilClean waits for the end of the clean-up that begins after the start.
func (p *process) untilClean() error {
	return p.until("cleanup_last_success_timestamp_seconds", time.Second/4, func(at float64) bool { return at > 0 })
}
