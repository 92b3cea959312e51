package rig

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"testing"
)

// Ask is what a slot is asked for.
type Ask struct {
	JID, Name   string
	Size        int64
	ContentType string // empty: none is announced
}

// Slot is the answer: where to upload, and where to download.
type Slot struct{ Put, Get string }

// StatusError is an answer that is not a success.
type StatusError struct {
	Method, URL string
	Code        int
	Header      http.Header
	Body        string
}

func (e *StatusError) Error() string {
	return fmt.Sprintf("%s %s: %d %s", e.Method, e.URL, e.Code, e.Body)
}

// Client talks HTTP/1.1 to an upload service. It may be used from several
// goroutines; answers that are no success are a *StatusError.
type Client struct {
	base string
	http *http.Client
}

// NewClient returns a client for the service that is mounted at base, such as
// http://127.0.0.1:23456/share. Its connections are closed when the test ends.
func NewClient(t testing.TB, base string) *Client {
	transport := &http.Transport{DisableCompression: true, MaxIdleConnsPerHost: 64}
	t.Cleanup(transport.CloseIdleConnections)
	return &Client{base: strings.TrimSuffix(base, "/"), http: &http.Client{Transport: transport}}
}

// Slot asks for a slot.
func (c *Client) Slot(ctx context.Context, ask Ask) (Slot, error) {
	q := url.Values{"jid": {ask.JID}, "name": {ask.Name}, "size": {strconv.FormatInt(ask.Size, 10)}}
	if ask.ContentType != "" {
		q.Set("content_type", ask.ContentType)
	}
	resp, err := c.Get(ctx, c.base+"/slot/?"+q.Encode(), nil)
	if err != nil {
		return Slot{}, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return Slot{}, err
	}
	put, get, ok := strings.Cut(string(body), "\n")
	if !ok || strings.ContainsAny(get, "\r\n") {
		return Slot{}, fmt.Errorf("a slot is two lines, not %q", body)
	}
	return Slot{Put: put, Get: get}, nil
}

// Put uploads size bytes of body. An empty content type is not sent.
func (c *Client) Put(ctx context.Context, target, contentType string, size int64, body io.Reader) error {
	req, err := http.NewRequestWithContext(ctx, http.MethodPut, target, body)
	if err != nil {
		return err
	}
	req.ContentLength = size
	if contentType != "" {
		req.Header.Set("Content-Type", contentType)
	}
	resp, err := c.do(req)
	if err != nil {
		return err
	}
	return resp.Body.Close()
}

// Get begins a download. The caller closes the body.
func (c *Client) Get(ctx context.Context, target string, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	if header != nil {
		req.Header = header.Clone()
	}
	return c.do(req)
}

func (c *Client) do(req *http.Request) (*http.Response, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, 4096))
	if err != nil {
		return nil, err
	}
	return nil, &StatusError{
		Method: req.Method, URL: req.URL.String(),
		Code: resp.StatusCode, Header: resp.Header, Body: string(body),
	}
}

// Download is what a download was, without its bytes.
type Download struct {
	Header http.Header
	Size   int64
	SHA256 string
}

// Download reads a whole file.
func (c *Client) Download(ctx context.Context, target string) (Download, error) {
	resp, err := c.Get(ctx, target, nil)
	if err != nil {
		return Download{}, err
	}
	defer resp.Body.Close()
	size, sum, err := digest(resp.Body)
	if err != nil {
		return Download{}, err
	}
	return Download{Header: resp.Header, Size: size, SHA256: sum}, nil
}

// Content returns size bytes that look random and depend on seed only.
func Content(seed uint64, size int64) io.Reader {
	var key [32]byte
	binary.BigEndian.PutUint64(key[:], seed)
	return io.LimitReader(rand.NewChaCha8(key), size)
}

// ContentSHA256 returns the SHA-256 of Content, as Download has it.
func ContentSHA256(seed uint64, size int64) string {
	_, sum, _ := digest(Content(seed, size)) // reads from memory
	return sum
}

func digest(r io.Reader) (size int64, sum string, err error) {
	h := sha256.New()
	size, err = io.Copy(h, r)
	return size, hex.EncodeToString(h.Sum(nil)), err
}
