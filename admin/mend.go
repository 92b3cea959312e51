package admin

import (
	"context"
	"errors"

	"go.uber.org/zap"

	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// CleanUp cleans up now, beside what the service does by itself. If it fails it
// returns what it did until then. Progress, which may be nil, is that of one
// store after the other, and its total grows with each.
func (s *Stores) CleanUp(ctx context.Context, o cleanup.Options, progress cleanup.Progress) (CleanUp, error) {
	var sum CleanUp
	err := s.each(ctx, progress, func(p *pair, progress cleanup.Progress) error {
		r, err := p.service.Value.CleanUp(ctx, o, progress)
		sum.plus(Removal{Slots: r.Slots, Files: r.Files, Bytes: r.Bytes})
		sum.Discarded += r.Discarded
		sum.Orphaned += r.Orphaned
		sum.Missing += r.Missing
		sum.Published += r.Published
		return err
	})
	if ctx.Err() != nil {
		// The service tells of those that come to their end.
		logger().Info("clean-up stopped", zap.Strings("stores", s.Names()), zap.Int64("slots", sum.Slots),
			zap.Int64("files", sum.Files), zap.Int64("bytes", sum.Bytes))
	}
	return sum, err
}

// Verify compares slots with files, and mends what it finds if repair is set.
// If it fails it returns what it found until then. Progress is as in CleanUp.
func (s *Stores) Verify(ctx context.Context, repair bool, progress cleanup.Progress) (Verification, error) {
	sum := Verification{Missing: []string{}, Orphaned: []string{}, WrongSize: []string{}}
	err := s.each(ctx, progress, func(p *pair, progress cleanup.Progress) error {
		v, err := p.service.Value.Verify(ctx, repair, progress)
		sum.Slots += v.Slots
		sum.Files += v.Files
		sum.Missing = append(sum.Missing, v.Missing...)
		sum.Orphaned = append(sum.Orphaned, v.Orphaned...)
		sum.WrongSize = append(sum.WrongSize, v.WrongSize...)
		sum.Repaired += v.Repaired
		return err
	})
	if repair {
		logger().Info("stores verified and repaired", zap.Strings("stores", s.Names()),
			zap.Int("missing", len(sum.Missing)), zap.Int("orphaned", len(sum.Orphaned)),
			zap.Int("wrong_size", len(sum.WrongSize)), zap.Int64("repaired", sum.Repaired), zap.Error(err))
	}
	return sum, err
}

// each calls do for one store after the other, with the progress of all.
func (s *Stores) each(ctx context.Context, progress cleanup.Progress, do func(*pair, cleanup.Progress) error) (failed error) {
	var before int64 // the totals of the stores that are done
	for _, p := range s.all {
		var mine int64
		err := do(p, func(done, total int64) {
			mine = total
			if progress != nil {
				progress(before+done, before+total)
			}
		})
		before += mine
		failed = errors.Join(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	return failed
}
