package page

import (
	"net/http"
	"net/url"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// pageSize is how many rows a page of a list has.
const pageSize = 50

// filter is what the list of uploads is narrowed to, as the visitor wrote it.
type filter struct {
	Text, State, JID, From, To, Store string
}

func filterOf(form url.Values) filter {
	return filter{
		Text: form.Get("q"), State: form.Get("state"), JID: form.Get("jid"),
		From: form.Get("from"), To: form.Get("to"), Store: form.Get("store"),
	}
}

// Active tells whether the list is narrowed at all.
func (f filter) Active() bool { return f != filter{Store: f.Store} }

// link returns the URL of the list from a cursor on.
func (f filter) link(after string) string {
	return link("uploads", "q", f.Text, "state", f.State, "jid", f.JID, "from", f.From, "to", f.To, "store", f.Store, "after", after)
}

// AllUsers is the list without the JID.
func (f filter) AllUsers() string {
	f.JID = ""
	return f.link("")
}

// query returns what the stores are asked. The dates are days in UTC, both of
// them included.
func (f filter) query() (q store.Query, err error) {
	q = store.Query{Text: f.Text, Limit: pageSize}
	states := map[string]store.State{"": 0, "waiting": store.Waiting, "uploaded": store.Uploaded, "expired": store.Expired}
	var ok bool
	if q.State, ok = states[f.State]; !ok {
		return q, &problem{http.StatusBadRequest, "There is no such state; known are waiting, uploaded and expired."}
	}
	if f.JID != "" {
		if q.JID, err = parseJID(f.JID); err != nil {
			return q, err
		}
	}
	if q.From, err = parseDay(f.From); err != nil {
		return q, err
	}
	if q.To, err = parseDay(f.To); err == nil && !q.To.IsZero() {
		q.To = q.To.AddDate(0, 0, 1)
	}
	return q, err
}

func parseDay(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	day, err := time.Parse(time.DateOnly, s)
	if err != nil {
		return day, &problem{http.StatusBadRequest, "A date is written like 2026-01-31."}
	}
	return day, nil
}

// listUploads shows a page of uploads, the newest first.
func listUploads(v *visit) (content, error) {
	f := filterOf(v.form)
	q, err := f.query()
	if err != nil {
		return content{}, err
	}
	q.After = v.form.Get("after")
	list, err := v.stores.List(v, q)
	if err != nil {
		return content{}, err
	}
	data := struct {
		Filter        filter
		States        []string
		Table         uploadTable
		Newest, Older string
	}{Filter: f, States: []string{"waiting", "uploaded", "expired"}}
	data.Table = uploadTable{"Uploads, the newest first", list.Uploads, v.store, f.link(q.After)}
	if q.After != "" {
		data.Newest = f.link("")
	}
	if list.Next != "" {
		data.Older = f.link(list.Next)
	}
	return content{"uploads", "Uploads", "uploads", data}, nil
}

// uploadTable shows uploads, with links back to the list that they are of.
type uploadTable struct {
	Caption     string
	Uploads     []admin.Upload
	Store, Back string
}

// uploadData is one upload, and the list that it was chosen from.
type uploadData struct {
	Upload admin.Upload
	Back   string
}

func findUpload(v *visit) (data uploadData, err error) {
	data.Back = backLink(v.form.Get("back"))
	data.Upload, err = v.stores.Upload(v, v.form.Get("id"))
	return data, err
}

// backLink takes the link to a list apart and makes it anew, so that it leads
// nowhere else.
func backLink(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return "uploads"
	}
	return filterOf(u.Query()).link(u.Query().Get("after"))
}

func showUpload(v *visit) (content, error) {
	data, err := findUpload(v)
	return content{"upload", "Upload " + data.Upload.Name, "uploads", data}, err
}

func confirmDelete(v *visit) (content, error) {
	data, err := findUpload(v)
	return content{"delete", "Delete an upload", "uploads", data}, err
}

func deleteUpload(v *visit) (content, error) {
	removal, err := v.stores.Delete(v, v.form.Get("id"))
	return content{"removed", "Deleted", "uploads", removedData{removal, "", backLink(v.form.Get("back"))}}, err
}

// removedData is what was removed, and where to go on.
type removedData struct {
	admin.Removal
	// JID whose uploads they were, if all of them were meant.
	JID  string
	Back string
}
