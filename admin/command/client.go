package command

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
)

// client asks the admin API at an address, one request per connection.
type client struct{ address string }

// apiError is what the API says instead of an answer.
type apiError struct {
	status  int
	message string
}

func (e *apiError) Error() string { return e.message }

// open asks and returns the answer, which the caller closes. What the API
// refuses is an *apiError.
func (c client) open(method, path string, query url.Values) (io.ReadCloser, error) {
	uri := "/xmpp_upload/" + path
	if len(query) > 0 {
		uri += "?" + query.Encode()
	}
	header := http.Header{"Connection": {"close"}}
	resp, err := caddycmd.AdminAPIRequest(c.address, method, uri, header, nil)
	if err != nil {
		return nil, c.explain(err)
	}
	return resp.Body, nil
}

// read asks for an answer that fits into memory.
func (c client) read(method, path string, query url.Values) ([]byte, error) {
	body, err := c.open(method, path, query)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	answer, err := io.ReadAll(body)
	if err != nil {
		return nil, c.cut(err)
	}
	return answer, nil
}

// explain finds out from Caddy's error, which is only a text, what is wrong.
func (c client) explain(err error) error {
	text := err.Error()
	if answer, ok := strings.CutPrefix(text, "caddy responded with error: HTTP "); ok {
		code, body, _ := strings.Cut(answer, ": ")
		return c.refused(code, body)
	}
	if dialing, ok := strings.CutPrefix(text, "performing request: "); ok {
		reason := dialing[strings.LastIndex(dialing, ": ")+1:]
		return fmt.Errorf("no Caddy answers at %s (%s); is it running, and its admin endpoint not off? "+
			"Say where it is with --address, or name its configuration with --config",
			c.address, strings.TrimSpace(reason))
	}
	return err
}

func (c client) refused(code, body string) error {
	var answer struct {
		Error string `json:"error"`
	}
	status, err := strconv.Atoi(code)
	if err != nil || json.Unmarshal([]byte(body), &answer) != nil || answer.Error == "" {
		return c.stranger("HTTP " + code)
	}
	return &apiError{status: status, message: answer.Error}
}

// stranger is the error for something else than our API at the address.
func (c client) stranger(what string) error {
	return fmt.Errorf("what answers at %s is not the admin endpoint of a Caddy with the module xmpp_upload (%s)", c.address, what)
}

func (c client) cut(err error) error {
	return fmt.Errorf("the answer of %s was cut short: %w", c.address, err)
}

// ask asks and decodes the answer.
func ask[T any](c *call, method, path string, query url.Values) (answer T, body []byte, err error) {
	body, err = c.api.read(method, path, c.inStore(query))
	if err != nil {
		return answer, nil, err
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		return answer, nil, c.api.stranger("its answer is not the JSON expected")
	}
	return answer, body, nil
}

// inStore adds the choice of a store.
func (c *call) inStore(query url.Values) url.Values {
	store := c.given(map[string]string{"store": "store"})
	maps.Copy(store, query)
	return store
}

// fetch asks and decodes the answer, and with --json prints it.
func fetch[T any](c *call, method, path string, query url.Values) (T, error) {
	answer, body, err := ask[T](c, method, path, query)
	if err == nil && c.json {
		c.out.JSON(body)
	}
	return answer, err
}

// notFound makes an answer of what the API does not find.
func notFound(err error) error {
	if refused, ok := errors.AsType[*apiError](err); ok && refused.status == http.StatusNotFound {
		return &noError{refused.message}
	}
	return err
}

// given makes parameters of flags: of those that were given, also of empty ones.
// A script whose variable is empty must not get more than it asked for; the API
// refuses it.
func (c *call) given(parameters map[string]string) url.Values {
	query := make(url.Values)
	for flag, parameter := range parameters {
		if f := c.Flag(flag); f.Changed {
			query.Set(parameter, f.Value.String())
		}
	}
	return query
}
