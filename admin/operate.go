package admin

import (
	"context"
	"errors"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// List returns a page of the uploads of all stores. The query's Now is set here.
// It returns store.ErrCursor.
func (s *Stores) List(ctx context.Context, q store.Query) (List, error) {
	return List{}, errors.ErrUnsupported
}

// Upload returns the upload of this ID, or store.ErrNotFound.
func (s *Stores) Upload(ctx context.Context, id string) (Upload, error) {
	return Upload{}, errors.ErrUnsupported
}

// Delete removes one upload, file first, or returns store.ErrNotFound.
func (s *Stores) Delete(ctx context.Context, id string) (Removal, error) {
	return Removal{}, errors.ErrUnsupported
}

// User returns what the bare JID may store and what it uses, summed over the
// stores.
func (s *Stores) User(ctx context.Context, jid string) (User, error) {
	return User{}, errors.ErrUnsupported
}

// Users returns a page of JIDs by what they have stored, or store.ErrCursor.
func (s *Stores) Users(ctx context.Context, after string, limit int) (Users, error) {
	return Users{}, errors.ErrUnsupported
}

// Rule returns the rule that decides on the bare JID, and false if none does.
func (s *Stores) Rule(jid string) (Rule, bool) { return Rule{}, false }

// Purge removes all uploads and slots of the bare JID. Windows remember them.
func (s *Stores) Purge(ctx context.Context, jid string) (Removal, error) {
	return Removal{}, errors.ErrUnsupported
}

// Check returns what a request for a slot would be answered now.
func (s *Stores) Check(ctx context.Context, jid string, size int64) (Check, error) {
	return Check{}, errors.ErrUnsupported
}

// CleanUp cleans up now.
func (s *Stores) CleanUp(ctx context.Context, o cleanup.Options, progress cleanup.Progress) (CleanUp, error) {
	return CleanUp{}, errors.ErrUnsupported
}

// Verify compares slots with files, and mends what it finds if repair is set.
func (s *Stores) Verify(ctx context.Context, repair bool, progress cleanup.Progress) (Verification, error) {
	return Verification{}, errors.ErrUnsupported
}

// Stats returns sums over all stores.
func (s *Stores) Stats(ctx context.Context, now time.Time) (Stats, error) {
	return Stats{}, errors.ErrUnsupported
}
