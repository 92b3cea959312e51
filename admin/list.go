package admin

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// defaultPage is how much a page of a listing holds if nobody says.
const defaultPage = 100

// List returns a page of the uploads of all stores. The query's Now is set here.
// It returns store.ErrCursor.
func (s *Stores) List(ctx context.Context, q store.Query) (List, error) {
	if q.Limit <= 0 {
		q.Limit = defaultPage
	}
	q.Now = time.Now()
	list := List{Uploads: []Upload{}}
	var more bool
	for _, p := range s.all {
		page, err := p.slots().List(ctx, q)
		if err != nil {
			return List{}, err
		}
		more = more || page.Next != ""
		for _, slot := range page.Slots {
			list.Uploads = append(list.Uploads, p.upload(slot, q.Now))
		}
	}
	if len(s.all) > 1 {
		slices.SortFunc(list.Uploads, newestFirst)
	}
	if len(list.Uploads) > q.Limit {
		list.Uploads, more = list.Uploads[:q.Limit], true
	}
	if more {
		list.Next = list.Uploads[len(list.Uploads)-1].ID
	}
	return list, nil
}

// newestFirst is the order in which each store lists, so that one cursor fits
// all of them.
func newestFirst(a, b Upload) int {
	return cmp.Compare(store.TimeOrdered(b.ID), store.TimeOrdered(a.ID))
}

// Upload returns the upload of this ID, or store.ErrNotFound.
func (s *Stores) Upload(ctx context.Context, id string) (Upload, error) {
	if !store.IsID(id) {
		return Upload{}, store.ErrNotFound
	}
	for _, p := range s.all {
		slot, err := p.slots().Get(ctx, id)
		if err == nil {
			return p.upload(slot, time.Now()), nil
		}
		if !errors.Is(err, store.ErrNotFound) {
			return Upload{}, err
		}
	}
	return Upload{}, store.ErrNotFound
}

func (p *pair) upload(slot store.Slot, now time.Time) Upload {
	u := Upload{
		ID: slot.ID, JID: slot.JID, Name: slot.Name, Size: slot.Size, ContentType: slot.ContentType,
		State: stateName(slot.StateAt(now)), InFlight: slot.InFlight,
		ReservedAt: slot.Reserved.UTC(), ExpiresAt: timeOrNil(slot.Deadline), Store: p.name,
	}
	if slot.State == store.Uploaded {
		u.UploadedAt, u.ExpiresAt = timeOrNil(slot.Uploaded), timeOrNil(slot.Expires)
	}
	return u
}

func stateName(s store.State) string {
	switch s {
	case store.Waiting:
		return "waiting"
	case store.Uploaded:
		return "uploaded"
	default:
		return "expired"
	}
}

func timeOrNil(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	t = t.UTC()
	return &t
}
