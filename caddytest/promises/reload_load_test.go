package promises

import (
	"context"
	"io"
	"net/http"
	"net/http/httptrace"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// Configurations come and go, the handler with them, while clients are at
// work. No request gets a wrong answer, and none that Caddy has begun with is
// broken off.
func TestReloadUnderLoad(t *testing.T) {
	t.Parallel()
	s := newService(t)
	with := s.site(limited)
	// Without the header, Caddy's respond leaves clients that wait for 100
	// Continue waiting.
	without := "http://" + s.Addr + " {\nheader Connection close\nrespond gone 410\n}\n"
	other := s.site(limited, "keep 1h", "put_timeout 1h", "cleanup_interval 1s")
	s.Start(with)

	ctx, stop := context.WithCancel(t.Context())
	var load sync.WaitGroup
	var stored atomic.Int64
	for worker := range 6 {
		load.Go(func() {
			for i := uint64(0); ctx.Err() == nil; i++ {
				if s.transfer(uint64(worker)<<32 + i) {
					stored.Add(1)
				}
			}
		})
	}
	reloads := []string{other, with, without, with, without, other}
	if !testing.Short() {
		reloads = append(reloads, reloads...)
	}
	for _, sites := range reloads {
		before := stored.Load()
		if err := s.Reload(sites); err != nil {
			t.Error(err)
		}
		if sites != without {
			rig.Await(t, "uploads", func() bool { return stored.Load() >= before+40 || t.Failed() })
		}
	}
	stop()
	load.Wait()
	t.Logf("%d uploads over %d reloads", stored.Load(), len(reloads))
}

// transfer asks, uploads and downloads. It is false if Caddy has not begun with
// one of these: the handler was away, or a listener was closing.
func (s *service) transfer(seed uint64) bool {
	u, err := s.ask(user, 1+int64(seed%7)*100*kib, seed)
	if err != nil {
		return s.excused("slot", err)
	}
	begun, err := s.putAfter100(u)
	if err != nil {
		if begun {
			s.t.Errorf("an upload that Caddy had begun with: %v", err)
		}
		return s.excused("upload", err)
	}
	resp, err := s.Get(s.t.Context(), u.Slot.Get, nil)
	if err != nil {
		return s.excused("download", err)
	}
	if err := newHeldGet(u, resp.Body).finish(); err != nil {
		s.t.Errorf("a download that Caddy had begun with: %v", err)
	}
	return true
}

// excused expects that it was for want of the handler, or without any answer.
func (s *service) excused(what string, err error) bool {
	if code := status(err); code != noAnswer && code != http.StatusGone {
		s.t.Errorf("%s: %v", what, err)
	}
	return false
}

// putAfter100 uploads once Caddy says that it wants the body, so that it is
// known whether Caddy has begun.
func (s *service) putAfter100(u upload) (begun bool, err error) {
	transport := &http.Transport{ExpectContinueTimeout: rig.Patience}
	defer transport.CloseIdleConnections()
	var continued atomic.Bool
	ctx := httptrace.WithClientTrace(s.t.Context(), &httptrace.ClientTrace{
		Got100Continue: func() { continued.Store(true) },
	})
	ctx, cancel := context.WithTimeout(ctx, rig.Patience)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, u.Slot.Put, rig.Content(u.seed, u.size))
	if err != nil {
		return false, err
	}
	req.ContentLength = u.size
	req.Header.Set("Content-Type", u.contentType)
	req.Header.Set("Expect", "100-continue")
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return continued.Load(), err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return continued.Load(), err
	case resp.StatusCode != http.StatusCreated:
		return continued.Load(), &rig.StatusError{Method: req.Method, URL: u.Slot.Put, Code: resp.StatusCode, Body: string(body)}
	}
	return true, nil
}
