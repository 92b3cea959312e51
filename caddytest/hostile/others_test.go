//go:build linux

package hostile

import (
	"errors"
	"sync/atomic"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

const (
	bystander     = "alice@example.com"
	bystanderSize = 100 * kib
	// promptly is how soon others are served: it tells service from none, not
	// fast from slow.
	promptly = 5 * time.Second
)

// others are users who have nothing to do with the attack.
type others struct {
	*service
	user
	ended   atomic.Bool
	done    chan struct{}
	served  atomic.Int64
	rounds  int
	slowest time.Duration
	err     error
}

// serveOthers has a user ask, upload and download until it is stopped.
func (s *service) serveOthers() *others {
	o := &others{service: s, user: s.user(), done: make(chan struct{})}
	go func() {
		defer close(o.done)
		for !o.ended.Load() && o.err == nil {
			o.err = o.round()
		}
	}()
	return o
}

func (o *others) round() error {
	ctx := o.t.Context()
	begun := time.Now()
	slot, err := o.user.Slot(ctx, rig.Ask{JID: bystander, Name: "photo.jpg", Size: bystanderSize})
	if err == nil {
		err = o.user.Put(ctx, slot.Put, "", bystanderSize, rig.Content(7, bystanderSize))
	}
	if err != nil {
		return err
	}
	o.rounds++
	d, err := o.user.Download(ctx, slot.Get)
	if err != nil {
		return err
	}
	if d.SHA256 != rig.ContentSHA256(7, bystanderSize) {
		return errors.New("other bytes were served than were uploaded")
	}
	if o.rounds%4 == 0 {
		o.user.CloseIdle() // new connections are accepted too
	}
	o.slowest = max(o.slowest, time.Since(begun))
	o.served.Add(1)
	return nil
}

// areServed waits until others were served some times more.
func (o *others) areServed() {
	o.t.Helper()
	enough := o.served.Load() + 5
	rig.Await(o.t, "others to be served", func() bool {
		select {
		case <-o.done:
			return true
		default:
			return o.served.Load() >= enough
		}
	})
}

func (o *others) stop() {
	o.t.Helper()
	o.ended.Store(true)
	<-o.done
	o.user.CloseIdle()
	if o.err != nil {
		o.t.Errorf("others: %v", o.err)
	}
	most := promptly
	if raceDetector {
		most *= 3
	}
	if o.slowest > most {
		o.t.Errorf("a slot, an upload and a download of others took %s, want %s at most", o.slowest, most)
	}
}
