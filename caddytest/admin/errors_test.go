package admin

import (
	"net/http"
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

func TestMistakesAreToldWithTheirRemedy(t *testing.T) {
	t.Parallel()
	s := start(t)
	for _, tc := range []struct {
		method, path string
		status       int
		words        []string
	}{
		{"GET", "uploads?jids=a", 400, []string{`"jids"`, "no such parameter", "jid, state, q, from, to, limit, after"}},
		{"GET", "uploads?jid=a&jid=b", 400, []string{"jid", "once"}},
		{"GET", "uploads?jid=", 400, []string{"jid", "without a value"}},
		{"GET", "uploads?jid=@", 400, []string{"jid", "not a valid JID"}},
		{"GET", "uploads?jid=%zz", 400, []string{"well-formed"}},
		{"GET", "uploads?limit=0", 400, []string{"limit", "positive integer"}},
		{"GET", "uploads?limit=-1", 400, []string{"limit", "positive integer"}},
		{"GET", "uploads?limit=1.5", 400, []string{"limit", "positive integer"}},
		{"GET", "uploads?limit=99999999999999999999", 400, []string{"limit"}},
		{"GET", "uploads?state=used", 400, []string{"state", "waiting, uploaded or expired"}},
		{"GET", "uploads?from=yesterday", 400, []string{"from", "2026-01-02"}},
		{"GET", "uploads?to=2026-01-02T00:00:00+01:00", 400, []string{"to", "%2B"}},
		{"GET", "uploads?after=x", 400, []string{"after", "next"}},
		{"GET", "users?after=x", 400, []string{"after", "next"}},
		{"GET", "users?limit=x", 400, []string{"limit"}},
		{"GET", "uploads?store=/elsewhere", 404, []string{"/elsewhere", s.store}},
		{"GET", "uploads/x", 404, []string{`"x"`, "not found"}},
		{"GET", "uploads/" + store.NewID(now()), 404, []string{"not found"}},
		{"DELETE", "uploads/" + store.NewID(now()), 404, []string{"not found"}},
		{"GET", "users/@", 400, []string{"JID"}},
		{"DELETE", "users/a%20b@example.com", 400, []string{"JID"}},
		{"GET", "check?size=1", 400, []string{"jid", "required"}},
		{"GET", "check?jid=a@example.com", 400, []string{"size", "required"}},
		{"GET", "check?jid=a@example.com&size=1KiB", 400, []string{"size", "positive integer"}},
		{"POST", "cleanup?slots=yes", 400, []string{"slots", "true nor false"}},
		{"POST", "cleanup?files=0", 400, []string{"files", "true nor false"}},
		{"POST", "cleanup?older_than=30", 400, []string{"older_than", "30d"}},
		{"POST", "cleanup?older_than=0s", 400, []string{"older_than"}},
		{"POST", "cleanup?older_than=-1h", 400, []string{"older_than"}},
		{"POST", "cleanup?older_than=", 400, []string{"older_than", "without a value"}},
		{"POST", "cleanup?progress=maybe", 400, []string{"progress"}},
		{"POST", "verify?repair=1", 400, []string{"repair", "true nor false"}},
		{"GET", "", 404, []string{"uploads, users"}},
		{"GET", "upload", 404, []string{"/xmpp_upload/upload"}},
		{"GET", "uploads/", 404, []string{"without a slash"}},
		{"DELETE", "users/", 404, []string{"without a slash"}},
	} {
		s.refused(tc.method, tc.path, tc.status, tc.words...)
	}
}

func TestWrongMethodsAreToldTheRightOnes(t *testing.T) {
	t.Parallel()
	s := start(t)
	for path, allow := range map[string]string{
		"uploads": "GET", "uploads/x": "DELETE, GET", "users": "GET", "users/" + user: "DELETE, GET",
		"check": "GET", "stats": "GET", "backup": "GET", "cleanup": "POST", "verify": "POST",
	} {
		for _, method := range []string{"GET", "POST", "PUT", "PATCH", "DELETE"} {
			if strings.Contains(allow, method) {
				continue
			}
			status, header, body := s.request(method, path)
			if status != http.StatusMethodNotAllowed || header.Get("Allow") != allow || !strings.Contains(string(body), allow) {
				t.Errorf("%s %s: %d, Allow %q, %s", method, path, status, header.Get("Allow"), body)
			}
		}
	}
}

func TestWithoutAHandlerThereIsNothingToSee(t *testing.T) {
	t.Parallel()
	s := newService(t)
	s.Start("http://" + s.Addr + " {\nrespond hello\n}\n")
	s.refused("GET", "uploads", http.StatusNotFound, "no xmpp_upload handler is in use")
	s.refused("POST", "cleanup", http.StatusNotFound, "no xmpp_upload handler is in use")
}

// What guards Caddy's admin endpoint against web pages guards this too.
func TestWebPagesCannotChangeAnything(t *testing.T) {
	t.Parallel()
	s := start(t)
	upload := id(s.upload(user, "a.txt", 10))
	for _, tc := range []struct{ method, path string }{
		{"DELETE", "uploads/" + upload}, {"DELETE", "users/" + user}, {"POST", "cleanup?older_than=1s"}, {"GET", "uploads"},
	} {
		for name, header := range map[string]http.Header{
			"a foreign origin": {"Origin": {"https://evil.example.org"}},
			"no CORS":          {"Sec-Fetch-Mode": {"no-cors"}},
			"a null origin":    {"Origin": {"null"}},
			"a rebound host":   {"Host": {"evil.example.org"}},
		} {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, "http://"+s.Admin+"/xmpp_upload/"+tc.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Header, req.Host = header, header.Get("Host")
			resp, err := http.DefaultClient.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			resp.Body.Close()
			if resp.StatusCode != http.StatusForbidden && resp.StatusCode != http.StatusBadRequest {
				t.Errorf("%s %s with %s: %s", tc.method, tc.path, name, resp.Status)
			}
		}
	}
	if _, err := s.Download(t.Context(), "http://"+s.Addr+"/"+upload+"/a.txt"); err != nil {
		t.Errorf("the upload is gone: %v", err)
	}
}
