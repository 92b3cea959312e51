package cleanup

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2"
	"go.uber.org/zap"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Service cleans up a pair of stores, at once and then at every interval, as
// long as somebody holds a reference to it.
type Service struct {
	cleaner  *Cleaner
	ended    func(now time.Time, r Report, err error)
	interval atomic.Int64
	changed  chan struct{}
	cancel   context.CancelFunc
	running  sync.WaitGroup
	releases []func() error
}

// services are shared by all handlers with the same pair of stores.
var services store.Pool[*Service]

// Hooks are told what a service does. Those that are nil are not. Several calls
// may be under way at a time.
type Hooks struct {
	// Removed is called after the file of an uploaded slot, and the slot, were
	// removed: once, by whatever has removed them.
	Removed func(slot store.Slot, reason Reason)
	// Ended is called after each clean-up, by itself or on demand, with the
	// time that it ended at, unless it was canceled.
	Ended func(now time.Time, r Report, err error)
}

// Acquire returns the service of the pair, and starts it if it is not running.
// The hooks are those of whoever starts it, and must serve all others. It
// refuses to pair a store with another one than a running service does: each
// would take the other's files for orphans.
func Acquire(slots store.SlotsModule, files store.FilesModule, hooks Hooks) (*store.Ref[*Service], error) {
	return services.Acquire(slots.Key()+"\n"+files.Key(), func() (*Service, func() error, error) {
		return start(slots, files, hooks)
	})
}

func start(slots store.SlotsModule, files store.FilesModule, hooks Hooks) (*Service, func() error, error) {
	if err := pairs.join(slots.Key(), files.Key()); err != nil {
		return nil, nil, err
	}
	s := &Service{ended: hooks.Ended, changed: make(chan struct{}, 1)}
	s.release(func() error { pairs.part(slots.Key(), files.Key()); return nil })
	slotsRef, err := slots.AcquireSlots()
	if err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	s.release(slotsRef.Release)
	filesRef, err := files.AcquireFiles()
	if err != nil {
		return nil, nil, errors.Join(err, s.close())
	}
	s.release(filesRef.Release)

	s.cleaner = &Cleaner{Slots: slotsRef.Value, Files: filesRef.Value, Pause: Throttle, Removed: hooks.Removed}
	ctx, cancel := context.WithCancel(context.Background())
	s.cancel = cancel
	s.running.Go(func() { s.run(ctx) })
	return s, s.close, nil
}

// Slots returns the slots store of the pair.
func (s *Service) Slots() store.Slots { return s.cleaner.Slots }

// Files returns the files store of the pair.
func (s *Service) Files() store.Files { return s.cleaner.Files }

func (s *Service) release(f func() error) { s.releases = append(s.releases, f) }

// close ends a clean-up on its way and gives back the stores.
func (s *Service) close() (err error) {
	if s.cancel != nil {
		s.cancel()
		s.running.Wait()
	}
	for _, release := range slices.Backward(s.releases) {
		err = errors.Join(err, release())
	}
	return err
}

// SetInterval changes the time between two clean-ups.
func (s *Service) SetInterval(d time.Duration) {
	s.interval.Store(int64(d))
	select {
	case s.changed <- struct{}{}:
	default:
	}
}

// startDelay is long enough for a configuration that is only validated to be
// gone, and must not remove anything.
const startDelay = time.Second

func (s *Service) run(ctx context.Context) {
	if sleep(ctx, startDelay) != nil {
		return
	}
	var clock doubt
	for {
		o := everything
		if !clock.trusted(time.Now()) {
			o.Files = false
		}
		_, _ = s.CleanUp(ctx, o, nil) // which logs
		if !s.wait(ctx) {
			return
		}
	}
}

// wait returns at the time of the next clean-up, or false at the end.
func (s *Service) wait(ctx context.Context) bool {
	begun := time.Now()
	for {
		var due <-chan time.Time
		if interval := time.Duration(s.interval.Load()); interval > 0 {
			t := time.NewTimer(interval - time.Since(begun))
			defer t.Stop()
			due = t.C
		}
		select {
		case <-due:
			return true
		case <-s.changed:
		case <-ctx.Done():
			return false
		}
	}
}

// Remove removes the slot of this ID and its file, file first, whatever its
// state. It returns the slot as it was in the end, or store.ErrNotFound. An
// upload in flight to it will fail.
func (s *Service) Remove(ctx context.Context, id string, reason Reason) (store.Slot, error) {
	return s.cleaner.Remove(ctx, id, time.Now(), reason)
}

// CleanUp cleans up now, beside what the service does by itself. If ctx ends it
// stops soon, and returns what it did and the error of ctx.
func (s *Service) CleanUp(ctx context.Context, o Options, progress Progress) (Report, error) {
	r, err := s.cleaner.CleanUp(ctx, time.Now(), o, progress)
	if ctx.Err() != nil {
		return r, err
	}
	// The service outlives configurations, and so must not keep their loggers.
	log := caddy.Log().Named("http.handlers.xmpp_upload")
	if err != nil {
		log.Error("clean-up failed in part; it will be tried again", zap.Error(err))
	}
	if r != (Report{}) {
		log.Info("cleaned up",
			zap.Int64("slots", r.Slots), zap.Int64("files", r.Files), zap.Int64("bytes", r.Bytes),
			zap.Int64("discarded", r.Discarded), zap.Int64("orphaned", r.Orphaned),
			zap.Int64("missing", r.Missing), zap.Int64("published", r.Published))
	}
	if s.ended != nil {
		s.ended(time.Now(), r, err)
	}
	return r, err
}

// Verify compares slots with files, and mends what it finds if repair is set. It
// returns what it found, also with an error: that of a slot whose file can't be
// opened, which tells nothing of it, or, with repair, of what was not mended.
// Repair removes what has the name of a file of ours only. It returns ErrNoSlots
// or ErrNoFiles, and removes nothing, if one of the stores seems to be the wrong
// one. If ctx ends it stops soon.
func (s *Service) Verify(ctx context.Context, repair bool, progress Progress) (Verification, error) {
	return s.cleaner.Verify(ctx, time.Now(), repair, progress)
}

// pairing remembers which stores belong together.
type pairing struct {
	mu    sync.Mutex
	other map[string]string
}

var pairs = pairing{other: make(map[string]string)}

func (p *pairing) join(slots, files string) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	for a, b := range map[string]string{slots: files, files: slots} {
		if other, taken := p.other[a]; taken && other != b {
			return fmt.Errorf("%q is in use together with %q and can't be used with %q as well: one slots store goes with one files store; to move one of them, stop Caddy, move its directory, and start with the new configuration", a, other, b)
		}
	}
	p.other[slots], p.other[files] = files, slots
	return nil
}

func (p *pairing) part(slots, files string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.other, slots)
	delete(p.other, files)
}
