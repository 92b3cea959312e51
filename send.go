package xmppupload

import (
	"errors"
	"io"
	"net/http"
	"reflect"
	"strconv"
	"strings"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// errBuffered is the error of a site that would have an upload executed.
var errBuffered = errors.New("a handler before xmpp_upload, such as templates, wants to change the files of users: give xmpp_upload a site or a route without it")

var errSeek = errors.New("files begin at 0")

// send sends the file, with ranges and conditions, as it is.
func send(w http.ResponseWriter, r *http.Request, modified time.Time, file store.File) error {
	forbidCompression(w)
	s := &sender{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, content: content{File: file}, plain: r.TLS == nil}
	http.ServeContent(s, r, "", modified, &s.content)
	if !s.buffered {
		if r.Method == http.MethodGet {
			s.count()
			s.abortUnlessWhole()
		}
		return nil
	}
	for _, key := range []string{"Accept-Ranges", "Cache-Control", "Content-Disposition", "Content-Length", "Content-Range", "Content-Type", "ETag", "Last-Modified"} {
		w.Header().Del(key)
	}
	return errBuffered
}

// sender is a ResponseWriter for one file.
type sender struct {
	*caddyhttp.ResponseWriterWrapper
	content content
	// plain is set unless the connection is encrypted: then the kernel can't send
	// the file.
	plain bool
	// buffered is set if a handler before us keeps the file to change it.
	buffered bool
	// status of the answer, the length of its body, and how much of it was sent.
	status       int
	length, sent int64
}

// abortUnlessWhole has the server break off an answer that was not sent to its
// end, by closing its connection or resetting its stream. Otherwise HTTP/3 would
// end it as if it were whole, and not all clients count its bytes.
func (s *sender) abortUnlessWhole() {
	if s.sent < s.length {
		panic(http.ErrAbortHandler)
	}
}

// count counts the download when it has ended.
func (s *sender) count() {
	switch s.status {
	case http.StatusNotModified:
		downloadResults.inc(resultNotModified)
	case http.StatusPreconditionFailed:
		downloadResults.inc(resultPreconditionFailed)
	case http.StatusRequestedRangeNotSatisfiable:
		downloadResults.inc(resultNotSatisfiable)
	default:
		downloadBytes.Add(float64(s.sent))
		if s.sent < s.length {
			downloadResults.inc(resultBrokenOff)
			return
		}
		downloadResults.inc(resultSent)
	}
}

// WriteHeader notices handlers that wait for the whole answer in order to change
// it. In the order of directives there is none; in a route of the operator's
// there may be, and the file of a stranger must not run as a template.
func (s *sender) WriteHeader(status int) {
	s.status = status
	s.length, _ = strconv.ParseInt(s.Header().Get("Content-Length"), 10, 64)
	s.ResponseWriterWrapper.WriteHeader(status)
	for w := s.ResponseWriter; w != nil; w = unwrap(w) {
		if rec, ok := w.(caddyhttp.ResponseRecorder); ok && rec.Buffered() {
			s.buffered = true
		}
	}
}

func (s *sender) Write(p []byte) (int, error) {
	if s.buffered {
		return 0, errBuffered
	}
	n, err := s.ResponseWriterWrapper.Write(p)
	s.sent += int64(n)
	return n, err
}

// ReadFrom lets the kernel send a file up to its end. http.ServeContent limits
// what it copies to the file's size, and Caddy limits that again; through two
// limits the kernel's way is not found.
func (s *sender) ReadFrom(src io.Reader) (int64, error) {
	if s.buffered {
		return 0, errBuffered
	}
	if limited, ok := src.(*io.LimitedReader); ok && s.plain && limited.R == io.Reader(&s.content) && limited.N == s.content.left() {
		if err := s.content.settle(); err != nil {
			return 0, err
		}
		src = s.content.File
	}
	n, err := s.ResponseWriterWrapper.ReadFrom(src)
	s.sent += n
	return n, err
}

// content is a file that seeks when it must: http.ServeContent seeks to the end
// and back to learn the size.
type content struct {
	store.File
	// at is where the file is, next where it is to be read.
	at, next int64
}

func (c *content) Read(p []byte) (int, error) {
	if err := c.settle(); err != nil {
		return 0, err
	}
	n, err := c.File.Read(p)
	c.at += int64(n)
	c.next = c.at
	return n, err
}

func (c *content) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += c.next
	case io.SeekEnd:
		offset += c.Size()
	}
	if offset < 0 {
		return 0, errSeek
	}
	c.next = offset
	return offset, nil
}

// settle brings the file to where it is to be read.
func (c *content) settle() (err error) {
	if c.at != c.next {
		c.at, err = c.File.Seek(c.next, io.SeekStart)
	}
	return err
}

// left is how much of the file follows.
func (c *content) left() int64 { return c.Size() - c.next }

// forbidCompression keeps the encode handler away where the operator has put it
// before us.
func forbidCompression(w http.ResponseWriter) {
	for ; w != nil; w = unwrap(w) {
		if t := reflect.TypeOf(w); t.Kind() == reflect.Pointer && strings.HasSuffix(t.Elem().PkgPath(), "/caddyhttp/encode") {
			w.Header().Set("Cache-Control", w.Header().Get("Cache-Control")+", no-transform")
			return
		}
	}
}

func unwrap(w http.ResponseWriter) http.ResponseWriter {
	if u, ok := w.(interface{ Unwrap() http.ResponseWriter }); ok {
		return u.Unwrap()
	}
	return nil
}
