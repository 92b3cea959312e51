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

// send sends the file, with ranges and conditions, as it is.
func send(w http.ResponseWriter, r *http.Request, modified time.Time, file store.File) error {
	forbidCompression(w)
	s := &sender{ResponseWriterWrapper: &caddyhttp.ResponseWriterWrapper{ResponseWriter: w}, file: file}
	http.ServeContent(s, r, "", modified, file)
	if !s.buffered {
		if r.Method == http.MethodGet {
			s.count()
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
	file store.File
	// buffered is set if a handler before us keeps the file to change it.
	buffered bool
	// status of the answer, the length of its body, and how much of it was sent.
	status       int
	length, sent int64
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
	if limited, ok := src.(*io.LimitedReader); ok && limited.R == io.Reader(s.file) && s.left() == limited.N {
		src = s.file
	}
	n, err := s.ResponseWriterWrapper.ReadFrom(src)
	s.sent += n
	return n, err
}

// left is how much of the file follows; negative if it can't be told.
func (s *sender) left() int64 {
	at, err := s.file.Seek(0, io.SeekCurrent)
	if err != nil {
		return -1
	}
	return s.file.Size() - at
}

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
