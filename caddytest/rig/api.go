package rig

import (
	"encoding/json"
	"io"
	"net/http"
	"regexp"
	"strconv"
)

// AdminGet returns what the admin endpoint has at the path.
func (c *Caddy) AdminGet(path string) (string, error) {
	resp, err := c.admin.Get("http://" + c.Admin + path)
	if err != nil {
		return "", err
	}
	return readAnswer(resp)
}

// API calls the admin API of the module, and decodes its answer into answer. A
// status other than 200 is a StatusError. Like AdminGet, it may be called from
// any goroutine.
func (c *Caddy) API(method, path string, answer any) error {
	req, err := http.NewRequestWithContext(c.t.Context(), method, "http://"+c.Admin+"/xmpp_upload/"+path, nil)
	if err != nil {
		return err
	}
	resp, err := c.admin.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode != http.StatusOK {
		return &StatusError{Method: method, URL: path, Code: resp.StatusCode, Header: resp.Header, Body: string(body)}
	}
	return json.Unmarshal(body, answer)
}

var goroutinesTotal = regexp.MustCompile(`goroutine profile: total (\d+)`)

// Goroutines returns how many goroutines the running Caddy has, and what they
// do.
func (c *Caddy) Goroutines() (count int, profile string) {
	c.t.Helper()
	profile, err := c.AdminGet("/debug/pprof/goroutine?debug=1")
	if err != nil {
		c.t.Fatalf("looking for goroutines: %v", err)
	}
	total := goroutinesTotal.FindStringSubmatch(profile)
	if total == nil {
		c.t.Fatalf("no profile of goroutines: %s", profile)
	}
	count, _ = strconv.Atoi(total[1])
	return count, profile
}
