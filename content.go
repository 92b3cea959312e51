package xmppupload

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// octetStream is the type of what nobody knows the type of. ejabberd announces
// it when the client has announced none.
const octetStream = "application/octet-stream"

// knownType returns the content type if it is one that can be told to others,
// else nothing.
func knownType(contentType string) string {
	if len(contentType) > maxTypeLen || mediaType(contentType) == "" {
		return ""
	}
	return contentType
}

// mediaType returns a content type without its parameters, empty if it is none.
func mediaType(contentType string) string {
	media, _, err := mime.ParseMediaType(contentType)
	if err != nil && media == "" || !strings.Contains(media, "/") {
		return ""
	}
	for i := range len(contentType) {
		if c := contentType[i]; c < ' ' || c > '~' {
			return "" // no header of ours carries that
		}
	}
	return media
}

// typesAgree reports whether a slot that was announced with one type may be
// used with another. Clients announce none, or none that they keep to, and know
// different parameters: only two known media types can disagree.
func typesAgree(announced, sent string) bool {
	a, s := mediaType(announced), mediaType(sent)
	return a == "" || s == "" || a == octetStream || s == octetStream || a == s
}

// servedType chooses between the announced type and that of the upload.
func servedType(announced, sent string) string {
	announced, sent = knownType(announced), knownType(sent)
	switch {
	case announced != "" && mediaType(announced) != octetStream:
		return announced
	case sent != "":
		return sent
	}
	return octetStream
}

// describe sets the headers of a file. No file runs in a browser: it is what
// its type says, and a document has no rights.
func describe(h http.Header, slot store.Slot, now time.Time) {
	left := 365 * 24 * time.Hour
	if !slot.Expires.IsZero() {
		left = slot.Expires.Sub(now)
		if keep := slot.Expires.Sub(slot.Uploaded); left > keep {
			left = keep // the clock was set back
		}
	}
	set(h,
		"Content-Type", slot.ContentType,
		"Content-Disposition", disposition(slot),
		"Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'; sandbox",
		"X-Content-Type-Options", "nosniff",
		"Etag", `"`+slot.ID+`"`,
		"Cache-Control", "public, max-age="+strconv.Itoa(int(left/time.Second))+", immutable")
}

// set sets header fields, each a name in its canonical form and a value, in one
// piece of memory.
func set(h http.Header, fields ...string) {
	values := make([]string, len(fields)/2)
	for i := range values {
		values[i] = fields[2*i+1]
		h[fields[2*i]] = values[i : i+1 : i+1]
	}
}

// disposition shows media in place, has all else downloaded, and tells the true
// name (RFC 6266).
func disposition(slot store.Slot) string {
	kind := "attachment"
	media, _, _ := mime.ParseMediaType(slot.ContentType)
	switch class, _, _ := strings.Cut(media, "/"); {
	case class == "image", class == "audio", class == "video", media == "text/plain":
		kind = "inline"
	}
	kind += `; filename="` + slot.URLName + `"`
	if slot.Name != slot.URLName {
		kind += "; filename*=UTF-8''" + escapeExtValue(slot.Name)
	}
	return kind
}

// escapeExtValue escapes what is no attr-char (RFC 8187, section 3.2).
func escapeExtValue(s string) string {
	const hex = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', strings.IndexByte("!#$&+-.^_`|~", c) >= 0:
			b.WriteByte(c)
		default:
			b.Write([]byte{'%', hex[c>>4], hex[c&15]})
		}
	}
	return b.String()
}
