package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// startFilled starts this module with an admin endpoint, and takes slots.
func (b *bench) startFilled(slots int) (addr, admin string, err error) {
	addr, admin = freeAddr(), freeAddr()
	if _, err := b.startCaddyWithAdmin(admin, fmt.Sprintf(ours, "http://"+addr), addr, admin); err != nil {
		return "", "", err
	}
	fill := load{addr: addr, conns: 64, count: slots, request: asks(addr, 1, users(10_000)...), status: 200}
	_, err = fill.run()
	return addr, admin, err
}

// list compares the first page of many uploads with that of few.
func list(b *bench) ([]side, error) {
	const many, few = 1_000_000, 1000
	_, large, err := b.startFilled(many)
	_, small, smallErr := b.startFilled(few)
	if err := errors.Join(err, smallErr); err != nil {
		return nil, err
	}
	page := func(name, admin string) side {
		return side{name, func() (float64, error) {
			times := make([]float64, 200)
			for i := range times {
				begun := time.Now()
				if err := ask(context.Background(), http.MethodGet, "http://"+admin+"/xmpp_upload/uploads"); err != nil {
					return 0, err
				}
				times[i] = float64(time.Since(begun)) / float64(time.Millisecond)
			}
			return median(times), nil
		}}
	}
	return []side{page("1,000,000 slots", large), page("1,000 slots", small)}, nil
}

// watched compares slots while an operator looks every second with slots while
// nobody does.
func watched(b *bench) ([]side, error) {
	addr, admin, err := b.startFilled(100_000)
	if err != nil {
		return nil, err
	}
	return b.beside(addr, "watched", func(ctx context.Context) error { return watch(ctx, admin) }), nil
}

// tended compares slots while one verify after the other goes through 5,000
// files with slots while none does.
func tended(b *bench) ([]side, error) {
	addr, admin, err := b.startFilled(1)
	if err != nil {
		return nil, err
	}
	if _, _, err := upload(addr, 1<<10, 8, 5000); err != nil {
		return nil, err
	}
	return b.beside(addr, "tended", func(ctx context.Context) error {
		for ctx.Err() == nil {
			if err := ask(ctx, http.MethodPost, "http://"+admin+"/xmpp_upload/verify"); err != nil {
				return err
			}
		}
		return nil
	}), nil
}

// beside measures slots while an operator does something, and while he does not.
func (b *bench) beside(addr, how string, do func(context.Context) error) []side {
	l := load{addr: addr, conns: 16, time: 2 * b.duration, request: asks(addr, 1000, users(10_000)...), status: 200}
	return []side{
		{"slots, " + how, func() (float64, error) {
			ctx, cancel := context.WithCancel(context.Background())
			done := make(chan error, 1)
			go func() { done <- do(ctx) }()
			m, err := l.run()
			cancel()
			if failed := <-done; !errors.Is(failed, context.Canceled) {
				err = errors.Join(err, failed)
			}
			return m.perSecond, err
		}},
		of("slots, not "+how, l, rate),
	}
}

// watch asks what an operator and his Prometheus ask, every second.
func watch(ctx context.Context, admin string) error {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	for {
		for _, path := range []string{
			"/xmpp_upload/uploads", "/xmpp_upload/uploads?state=uploaded", "/xmpp_upload/uploads?jid=user1@example.com",
			"/xmpp_upload/users", "/xmpp_upload/users/user1@example.com", "/xmpp_upload/stats", "/metrics",
		} {
			if err := ask(ctx, http.MethodGet, "http://"+admin+path); err != nil {
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

func ask(ctx context.Context, method, url string) error {
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s", method, url, resp.Status)
	}
	_, err = io.Copy(io.Discard, resp.Body)
	return err
}
