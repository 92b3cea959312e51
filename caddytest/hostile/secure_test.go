//go:build linux

package hostile

import (
	"context"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/quic-go/quic-go/http3"

	"github.com/caddy-xmpp/xmpp-upload/caddytest/rig"
)

// startSecure starts a Caddy that serves over TLS and QUIC too. The protocol,
// h2 or h3, is that of the attack, and of the others who shall be served.
func startSecure(t *testing.T, proto string, lines ...string) *service {
	t.Helper()
	s := prepare(t, stall)
	s.secure, s.proto = rig.Loopback(rig.FreePort(t)), proto
	s.Start("(uploads) {\n" + s.uploads(lines) + "}\n" +
		"http://" + s.Addr + " {\nimport uploads\n}\n" +
		"https://" + s.secure + " {\ntls internal\nimport uploads\n}\n")
	s.tls = &tls.Config{RootCAs: x509.NewCertPool(), ServerName: "127.0.0.1"}
	root := filepath.Join(s.Dir, "data", "caddy", "pki", "authorities", "local", "root.crt")
	rig.Await(t, "Caddy's own authority", func() bool {
		pem, _ := os.ReadFile(root)
		return s.tls.RootCAs.AppendCertsFromPEM(pem)
	})
	rig.Await(t, "the certificate", func() bool {
		conn, err := tls.Dial("tcp", s.secure, s.tls)
		if err != nil {
			return false
		}
		return conn.Close() == nil
	})
	return s
}

// tlsFor trusts the service and wants this protocol.
func (s *service) tlsFor(proto string) *tls.Config {
	c := s.tls.Clone()
	c.NextProtos = []string{proto}
	return c
}

// user is who takes slots, uploads and downloads.
type user interface {
	Slot(ctx context.Context, ask rig.Ask) (rig.Slot, error)
	Put(ctx context.Context, target, contentType string, size int64, body io.Reader) error
	Download(ctx context.Context, target string) (rig.Download, error)
	CloseIdle()
}

// user returns one who uses the way that is attacked.
func (s *service) user() user {
	switch s.proto {
	case "h2":
		tr := &http.Transport{TLSClientConfig: s.tls.Clone(), ForceAttemptHTTP2: true}
		return &secureUser{base: "https://" + s.secure, Client: http.Client{Transport: tr}}
	case "h3":
		tr := &http3.Transport{TLSClientConfig: s.tls.Clone()}
		s.t.Cleanup(func() { _ = tr.Close() })
		return &secureUser{base: "https://" + s.secure, Client: http.Client{Transport: tr}}
	}
	return s.Client
}

// secureUser is a user of HTTP/2 over TLS, or of HTTP/3.
type secureUser struct {
	http.Client
	base string
}

func (u *secureUser) CloseIdle() { u.CloseIdleConnections() }

// send returns the body of the answer, which must be a success.
func (u *secureUser) send(ctx context.Context, method, target string, size int64, body io.Reader) (io.ReadCloser, error) {
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return nil, err
	}
	req.ContentLength = size
	resp, err := u.Do(req)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		resp.Body.Close()
		return nil, fmt.Errorf("%s %s: %s", method, target, resp.Status)
	}
	return resp.Body, nil
}

func (u *secureUser) Slot(ctx context.Context, ask rig.Ask) (slot rig.Slot, err error) {
	q := url.Values{"jid": {ask.JID}, "name": {ask.Name}, "size": {strconv.FormatInt(ask.Size, 10)}}
	body, err := u.send(ctx, http.MethodGet, u.base+"/slot/?"+q.Encode(), 0, nil)
	if err != nil {
		return slot, err
	}
	defer body.Close()
	text, err := io.ReadAll(body)
	slot.Put, slot.Get, _ = strings.Cut(string(text), "\n")
	return slot, err
}

func (u *secureUser) Put(ctx context.Context, target, _ string, size int64, body io.Reader) error {
	answer, err := u.send(ctx, http.MethodPut, target, size, body)
	if err != nil {
		return err
	}
	return answer.Close()
}

func (u *secureUser) Download(ctx context.Context, target string) (d rig.Download, err error) {
	body, err := u.send(ctx, http.MethodGet, target, 0, nil)
	if err != nil {
		return d, err
	}
	defer body.Close()
	h := sha256.New()
	d.Size, err = io.Copy(h, body)
	d.SHA256 = hex.EncodeToString(h.Sum(nil))
	return d, err
}

var (
	_ user = (*rig.Client)(nil)
	_ user = (*secureUser)(nil)
)
