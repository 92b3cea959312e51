package page

import (
	"net"
	"net/http"
	"net/netip"
	"strings"
)

// Refusals, with their remedy.
const (
	notLocal = "This page answers only browsers on the machine that it runs on: no proxy in between, and localhost or a loopback address in the URL. " +
		"Come through a tunnel (ssh -L), or let others in by \"allow @matcher\" in the block of xmpp_upload_admin."
	notAllowed = "This page does not answer you. The matchers of \"allow\" in the block of xmpp_upload_admin say whom it answers."
)

// refuse returns why the request is not answered; empty if it is.
func (h *Handler) refuse(r *http.Request) (string, error) {
	if len(h.allow) > 0 {
		ok, err := h.allow.AnyMatchWithError(r)
		if err != nil || ok {
			return "", err
		}
		return notAllowed, nil
	}
	if isLocal(r) {
		return "", nil
	}
	return notLocal, nil
}

// isLocal reports whether the request comes from this machine, not through a
// proxy on it, and not from a web site whose name was made to point here.
func isLocal(r *http.Request) bool {
	for _, key := range []string{"Forwarded", "X-Forwarded-For", "Via"} {
		if r.Header.Values(key) != nil {
			return false
		}
	}
	return isLoopback(hostOf(r.RemoteAddr)) && (isLoopback(hostOf(r.Host)) || strings.EqualFold(hostOf(r.Host), "localhost"))
}

// hostOf returns the host of an address with or without a port.
func hostOf(address string) string {
	if host, _, err := net.SplitHostPort(address); err == nil {
		return host
	}
	return strings.TrimSuffix(strings.TrimPrefix(address, "["), "]")
}

func isLoopback(host string) bool {
	addr, err := netip.ParseAddr(host)
	return err == nil && addr.Unmap().IsLoopback()
}
