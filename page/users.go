package page

import (
	"net/http"

	"github.com/caddy-xmpp/xmpp-upload/acl"
	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// fewUploads is how many uploads the page of a user shows.
const fewUploads = 10

// parseJID returns the bare JID.
func parseJID(s string) (string, error) {
	jid, err := acl.ParseBare(s)
	if err != nil {
		return "", &problem{http.StatusBadRequest, "This is not a JID such as user@example.com."}
	}
	return jid, nil
}

// level is how much of a limit is taken, in bytes; a limit of 0 is none.
type level struct{ Taken, Limit int64 }

// Percent of the limit that is taken, which is more than 100 where a new
// configuration has lowered it.
func (l level) Percent() int64 {
	return int64(100 * float64(l.Taken) / float64(max(l.Limit, 1)))
}

// High is from where on little is left.
func (l level) High() int64 { return l.Limit - l.Limit/10 }

// userRow is a user, and what he has stored of what he may.
type userRow struct {
	admin.UserSum
	level
	// Allowed is whether he may upload at all.
	Allowed bool
}

// listUsers shows users by what they have stored.
func listUsers(v *visit) (content, error) {
	after := v.form.Get("after")
	users, err := v.stores.Users(v, after, pageSize)
	if err != nil {
		return content{}, err
	}
	data := struct {
		Users       []userRow
		First, Next string
	}{}
	for _, u := range users.Users {
		rule, ok := v.stores.Rule(u.JID)
		data.Users = append(data.Users, userRow{u, level{u.StoredBytes, rule.Limits.MaxTotalSize}, ok && !rule.Deny})
	}
	if after != "" {
		data.First = link("users", "store", v.store)
	}
	if users.Next != "" {
		data.Next = link("users", "store", v.store, "after", users.Next)
	}
	return content{"users", "Users", "users", data}, nil
}

// userData is a user with the newest of his uploads.
type userData struct {
	admin.User
	level
	// Allowed is whether he may upload at all.
	Allowed bool
	Newest  uploadTable
	// More tells whether there are others.
	More bool
}

func findUser(v *visit) (data userData, err error) {
	jid, err := parseJID(v.form.Get("jid"))
	if err != nil {
		return data, err
	}
	if data.User, err = v.stores.User(v, jid); err != nil {
		return data, err
	}
	data.level = level{data.StoredBytes + data.WaitingBytes, data.MaxTotalSize}
	data.Allowed = data.Rule != nil && !data.Rule.Deny
	list, err := v.stores.List(v, store.Query{JID: jid, Limit: fewUploads})
	all := filter{JID: jid, Store: v.store}
	data.Newest = uploadTable{"The newest uploads", list.Uploads, v.store, all.link("")}
	data.More = list.Next != ""
	return data, err
}

func showUser(v *visit) (content, error) {
	data, err := findUser(v)
	return content{"user", "User " + data.JID, "users", data}, err
}

func confirmPurge(v *visit) (content, error) {
	data, err := findUser(v)
	return content{"purge", "Delete all of a user", "users", data}, err
}

func purgeUser(v *visit) (content, error) {
	jid, err := parseJID(v.form.Get("jid"))
	if err != nil {
		return content{}, err
	}
	removal, err := v.stores.Purge(v, jid)
	return content{"removed", "Deleted", "users", removedData{removal, jid, link("users", "store", v.store)}}, err
}
