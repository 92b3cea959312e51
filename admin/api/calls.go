package api

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/acl"
	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

func list(r *request) error {
	q := store.Query{
		JID: r.jid("jid"), State: r.state("state"), Text: r.text("q"),
		From: r.time("from"), To: r.time("to"), After: r.text("after"), Limit: r.limit("limit"),
	}
	if r.wrong != nil {
		return r.wrong
	}
	page, err := r.stores.List(r.Context(), q)
	return r.answer(page, cursorHint(err))
}

func users(r *request) error {
	after, limit := r.text("after"), r.limit("limit")
	if r.wrong != nil {
		return r.wrong
	}
	page, err := r.stores.Users(r.Context(), after, limit)
	return r.answer(page, cursorHint(err))
}

// cursorHint says what to do about a wrong cursor.
func cursorHint(err error) error {
	if errors.Is(err, store.ErrCursor) {
		return &paramError{"after", "take it from next of the page before, and leave it out for the first page"}
	}
	return err
}

func show(r *request) error {
	upload, err := r.stores.Upload(r.Context(), r.PathValue("id"))
	return r.answer(upload, r.unknownID(err))
}

func remove(r *request) error {
	removal, err := r.stores.Delete(r.Context(), r.PathValue("id"))
	return r.answer(removal, r.unknownID(err))
}

func (r *request) unknownID(err error) error {
	if errors.Is(err, store.ErrNotFound) {
		return fmt.Errorf("upload %q: %w; it may have been removed", r.PathValue("id"), store.ErrNotFound)
	}
	return err
}

// pathJID returns the bare JID in the path.
func (r *request) pathJID() (string, error) {
	jid, err := acl.ParseBare(r.PathValue("jid"))
	if err != nil {
		return "", &paramError{"the JID in the path", err.Error()}
	}
	return jid, nil
}

func user(r *request) error {
	jid, err := r.pathJID()
	if err != nil {
		return err
	}
	u, err := r.stores.User(r.Context(), jid)
	return r.answer(u, err)
}

func purge(r *request) error {
	jid, err := r.pathJID()
	if err != nil {
		return err
	}
	removal, err := r.stores.Purge(r.Context(), jid)
	return r.answer(removal, withDone(err, removal))
}

// withDone adds to an error what was removed in spite of it.
func withDone(err error, r admin.Removal) error {
	if err == nil || r == (admin.Removal{}) {
		return err
	}
	return fmt.Errorf("%w; removed all the same: %d slots, %d files of %d bytes", err, r.Slots, r.Files, r.Bytes)
}

func check(r *request) error {
	r.require("jid")
	r.require("size")
	jid, size := r.jid("jid"), r.size("size")
	if r.wrong != nil {
		return r.wrong
	}
	c, err := r.stores.Check(r.Context(), jid, size)
	return r.answer(c, err)
}

func stats(r *request) error {
	s, err := r.stores.Stats(r.Context(), time.Now())
	return r.answer(s, err)
}

func cleanUp(r *request) error {
	o := cleanup.Options{Slots: r.boolean("slots", true), Files: r.boolean("files", true), OlderThan: r.duration("older_than")}
	return r.lasting(func(ctx context.Context, progress cleanup.Progress) (any, error) {
		c, err := r.stores.CleanUp(ctx, o, progress)
		return c, withDone(err, c.Removal)
	})
}

func verify(r *request) error {
	repair := r.boolean("repair", false)
	return r.lasting(func(ctx context.Context, progress cleanup.Progress) (any, error) {
		return r.stores.Verify(ctx, repair, progress)
	})
}
