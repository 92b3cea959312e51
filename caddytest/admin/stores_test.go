package admin

import (
	"bytes"
	"encoding/json"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
)

// two is a Caddy with two handlers, each with stores of its own: the first
// below /a, for all of example.com but one, the second below /b for that one
// too.
type two struct {
	*service
	a, b           *rig.Client
	storeA, storeB string
}

func startTwo(t *testing.T) *two {
	t.Helper()
	s := newService(t)
	w := &two{
		service: s, a: rig.NewClient(t, "http://"+s.Addr+"/a"), b: rig.NewClient(t, "http://"+s.Addr+"/b"),
		storeA: filepath.Join(s.Dir, "a", "slots"), storeB: filepath.Join(s.Dir, "b", "slots"),
	}
	s.Start(w.sites(true, true))
	return w
}

func (w *two) sites(a, b bool) string {
	text := "http://" + w.Addr + " {\n"
	if a {
		text += "handle_path /a/* {\n" + w.block(filepath.Join(w.Dir, "a"), "deny b@example.com", "allow example.com {\nmax_total_size 1KiB\nuploads 5 per 1h\n}") + "\n}\n"
	}
	if b {
		text += "handle_path /b/* {\n" + w.block(filepath.Join(w.Dir, "b"), "allow b@example.com example.com {\nmax_total_size 2KiB\nuploads 9 per 1h\n}") + "\n}\n"
	}
	return text + "}\n"
}

func (w *two) uploadTo(c *rig.Client, jid string, size int64) string {
	w.t.Helper()
	slot, err := c.Slot(w.t.Context(), rig.Ask{JID: jid, Name: "a", Size: size})
	check(w.t, err)
	check(w.t, c.Put(w.t.Context(), slot.Put, "", size, rig.Content(1, size)))
	u, err := url.Parse(slot.Put)
	check(w.t, err)
	return filepath.Base(filepath.Dir(u.Path))
}

func store1(name string) string { return "store=" + url.QueryEscape(name) }

func TestStoresAreSeenTogetherAndOneByOne(t *testing.T) {
	t.Parallel()
	w := startTwo(t)
	one := w.uploadTo(w.a, "a@example.com", 10)
	two := w.uploadTo(w.b, "a@example.com", 20)
	three := w.uploadTo(w.b, "b@example.com", 25)
	four := w.uploadTo(w.a, "c@example.com", 5)

	for query, want := range map[string][]string{
		"": {four, three, two, one}, "jid=a@example.com": {two, one},
		store1(w.storeA): {four, one}, store1(w.storeB): {three, two},
	} {
		if got := ids(get[admin.List](w.service, "uploads?"+query)); !sameSet(got, want) {
			t.Errorf("uploads?%s lists %q, want %q", query, got, want)
		}
	}
	if u := get[admin.Upload](w.service, "uploads/"+three); u.Store != w.storeB {
		t.Errorf("%s is in %s", three, u.Store)
	}
	w.refused("GET", "uploads/"+three+"?"+store1(w.storeA), http.StatusNotFound)

	w.expectUser("a@example.com", "", 0, 1024, 30, w.storeA, w.storeB)
	w.expectUser("a@example.com", store1(w.storeB), 0, 2048, 20)
	w.expectUser("b@example.com", "", 0, 2048, 25, w.storeA, w.storeB) // allowed by the second
	w.expectUser("b@example.com", store1(w.storeA), 0, 0, 0)

	sums := func(path string) []admin.UserSum { return get[admin.Users](w.service, path).Users }
	if got, want := sums("users"), []admin.UserSum{{JID: "a@example.com", StoredFiles: 2, StoredBytes: 30}, {JID: "b@example.com", StoredFiles: 1, StoredBytes: 25}, {JID: "c@example.com", StoredFiles: 1, StoredBytes: 5}}; !slices.Equal(got, want) {
		t.Errorf("users are %v, want %v", got, want)
	}
	if got := sums("users?" + store1(w.storeA)); len(got) != 2 {
		t.Errorf("users of one store are %v", got)
	}
	if all, b := get[admin.Stats](w.service, "stats"), get[admin.Stats](w.service, "stats?"+store1(w.storeB)); all.StoredBytes != 60 || b.StoredBytes != 45 || all.Days[29].Uploads != 4 || b.Days[29].Uploads != 2 {
		t.Errorf("the stats are %+v, of one store %+v", all, b)
	}
	if v := call[admin.Verification](w.service, "POST", "verify"); v.Slots != 4 || v.Files != 4 {
		t.Errorf("verify looked at %+v", v)
	}
	if v := call[admin.Verification](w.service, "POST", "verify?"+store1(w.storeA)); v.Slots != 2 || v.Files != 2 {
		t.Errorf("verify of one store looked at %+v", v)
	}
	w.removes("DELETE", "users/a@example.com?"+store1(w.storeA), admin.Removal{Files: 1, Bytes: 10})
	w.removes("DELETE", "users/a@example.com", admin.Removal{Files: 1, Bytes: 20})
	w.removes("DELETE", "uploads/"+three, admin.Removal{Files: 1, Bytes: 25})
	if got := w.cleanUp("?older_than=1us").Removal; got != (admin.Removal{Files: 1, Bytes: 5}) {
		t.Errorf("the clean-up removed %+v", got)
	}
}

// sameSet compares IDs whose order may be chance within a millisecond.
func sameSet(a, b []string) bool {
	a, b = slices.Sorted(slices.Values(a)), slices.Sorted(slices.Values(b))
	return slices.Equal(a, b)
}

func (w *two) expectUser(jid, query string, maxFile, maxTotal, bytes int64, stores ...string) {
	w.t.Helper()
	u := get[admin.User](w.service, "users/"+jid+"?"+query)
	var names []string
	var sum int64
	for _, s := range u.Stores {
		names = append(names, s.Store)
		sum += s.StoredBytes
	}
	if u.MaxFileSize != maxFile || u.MaxTotalSize != maxTotal || u.StoredBytes != bytes || !slices.Equal(names, stores) || len(stores) > 0 && sum != bytes {
		w.t.Errorf("%s is %+v", jid, u)
	}
}

func TestCheckOverSeveralStores(t *testing.T) {
	t.Parallel()
	w := startTwo(t)
	for query, code := range map[string]string{
		"jid=a@example.com&size=1025":                     "total_quota", // the first decides
		"jid=a@example.com&size=1025&" + store1(w.storeB): "",
		"jid=b@example.com&size=1025":                     "", // the first does not allow
		"jid=b@example.com&size=1025&" + store1(w.storeA): "not_allowed",
		"jid=nobody@example.org&size=1":                   "not_allowed",
	} {
		c := get[admin.Check](w.service, "check?"+query)
		if c.Granted != (code == "") || c.Refusal != nil && c.Code != code {
			t.Errorf("check?%s answers %s, want %q", query, text(t, c), code)
		}
	}
}

func TestABackupIsOfOneStore(t *testing.T) {
	t.Parallel()
	w := startTwo(t)
	want := w.uploadTo(w.a, "a@example.com", 10)
	w.uploadTo(w.b, "a@example.com", 10)
	w.refused("GET", "backup", http.StatusBadRequest, "choose one", w.storeA, w.storeB)
	status, header, copied := w.request("GET", "backup?"+store1(w.storeA))
	if status != http.StatusOK || header.Get("Content-Type") != "application/octet-stream" {
		t.Fatalf("backup: %d %v", status, header)
	}
	dir := filepath.Join(t.TempDir(), "slots")
	check(t, badger.Restore(dir, bytes.NewReader(copied)))

	// The copy serves as a store, with the files of the original.
	c := newService(t)
	check(t, os.CopyFS(filepath.Join(c.Dir, "files"), os.DirFS(filepath.Join(w.Dir, "a", "files"))))
	check(t, os.Rename(dir, filepath.Join(c.Dir, "slots")))
	c.Start(c.site())
	if got := ids(get[admin.List](c, "uploads")); !slices.Equal(got, []string{want}) {
		t.Errorf("the copy lists %q, want %q", got, want)
	}
	if _, err := c.Download(t.Context(), "http://"+c.Addr+"/"+want+"/a"); err != nil {
		t.Error(err)
	}
}

// After each reload the API knows the stores of the new configuration, and
// after one that fails those it knew before.
func TestReloadsChangeWhatIsKnown(t *testing.T) {
	t.Parallel()
	w := startTwo(t)
	w.uploadTo(w.a, "a@example.com", 10)
	w.uploadTo(w.b, "a@example.com", 20)
	bytesOf := func(want int64) {
		t.Helper()
		if got := get[admin.Stats](w.service, "stats").StoredBytes; got != want {
			t.Errorf("%d bytes are stored, want %d", got, want)
		}
	}
	bytesOf(30)
	check(t, w.Reload(w.sites(true, false)))
	bytesOf(10)
	w.refused("GET", "uploads?"+store1(w.storeB), http.StatusNotFound, w.storeB, w.storeA)
	if w.Reload(w.sites(true, true)+"http://"+w.Addr+"/c {\nxmpp_upload {\nslots badger /dev/null\n}\n}") == nil {
		t.Fatal("a wrong configuration was loaded")
	}
	bytesOf(10)
	check(t, w.Reload(w.sites(false, false)))
	w.refused("GET", "stats", http.StatusNotFound, "no xmpp_upload handler is in use")
	check(t, w.Reload(w.sites(false, true)))
	bytesOf(20)
	check(t, w.Reload(w.sites(true, true)))
	bytesOf(30)
}

// The rule that is told is that of the configuration in use.
func TestReloadsChangeTheRules(t *testing.T) {
	t.Parallel()
	s := start(t)
	for i := range 5 {
		limit := int64(1000 + i)
		check(t, s.Reload(s.site("deny example.org", "allow example.com {\nmax_file_size "+strconv.FormatInt(limit, 10)+"\n}")))
		if u := get[admin.User](s, "users/"+user); u.MaxFileSize != limit || u.Rule.Index != 1 {
			t.Errorf("after a reload the user is %+v", u)
		}
	}
}

// Two handlers on one store are one store.
func TestHandlersThatShareAStoreAreCountedOnce(t *testing.T) {
	t.Parallel()
	s := newService(t)
	other := rig.Loopback(rig.FreePort(t))
	s.Start(s.site() + "http://" + other + " {\n" + s.block(s.Dir, "allow example.org") + "\n}\n")
	slot := s.upload(user, "a", 10)
	if got := ids(get[admin.List](s, "uploads")); !slices.Equal(got, []string{id(slot)}) {
		t.Errorf("the uploads are %q", got)
	}
	if got := get[admin.Stats](s, "stats"); got.StoredFiles != 1 {
		t.Errorf("the stats are %+v", got)
	}
	for _, jid := range []string{user, "me@example.org"} {
		if u := get[admin.User](s, "users/"+jid); u.Rule == nil || u.Rule.Deny || u.Stores != nil {
			t.Errorf("%s is %+v, want a user of one store whom one handler allows", jid, u)
		}
	}
}

// Calls during reloads get the right answer, if any: Caddy itself may reset a
// connection that waits for a listener that it closes.
func TestCallsDuringReloads(t *testing.T) {
	t.Parallel()
	s := start(t)
	const count = 30
	for range count {
		s.upload(user, "a", 10)
	}
	list, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+s.Admin+"/xmpp_upload/uploads", nil)
	check(t, err)
	var ended atomic.Bool
	var answered int
	var calls sync.WaitGroup
	calls.Go(func() {
		for !ended.Load() {
			resp, err := http.DefaultClient.Do(list)
			if err != nil {
				continue
			}
			var answer admin.List
			err = json.NewDecoder(resp.Body).Decode(&answer)
			resp.Body.Close()
			if answered++; resp.StatusCode != http.StatusOK || err != nil || len(answer.Uploads) != count {
				t.Errorf("during a reload: %s, %v, %d uploads", resp.Status, err, len(answer.Uploads))
			}
		}
	})
	for i := range 10 {
		if err := s.Reload(s.site("keep " + strconv.Itoa(i+1) + "h")); err != nil {
			t.Error(err)
		}
	}
	ended.Store(true)
	if calls.Wait(); answered == 0 {
		t.Error("no call was answered")
	}
}
