package xmppupload

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Codes of refusals, in logs and in JSON answers. Those of quotas are
// quota.Code.
const (
	codeBadRequest    = "bad_request"
	codeSlotForbidden = "slot_forbidden"
	codeNotAllowed    = "not_allowed"
	codeNameTooLong   = "name_too_long"
	codeStorageFull   = "storage_full"
	codeInternal      = "internal"
	codeBadMethod     = "method_not_allowed"

	codeUnknownSlot  = "unknown_slot"
	codeSlotExpired  = "slot_expired"
	codeSlotUsed     = "slot_used"
	codeSizeMismatch = "size_mismatch"
	codeTypeMismatch = "type_mismatch"
	codeClientGone   = "client_gone"
	codeStalled      = "stalled"

	codeNotFound  = "not_found"
	codeElsewhere = "downloaded_elsewhere"
)

// refusal is why a request is not granted. Its message is for the client, and
// repeats nothing that the client sent: it may become part of a page, or pass
// through a site's templates.
type refusal struct {
	status  int
	code    string
	message string
	// cause, if not nil, is for the log only.
	cause error
	// quota, if not nil, tells of the limit.
	quota *quota.Refusal
}

func (f *refusal) Error() string { return f.message }
func (f *refusal) Unwrap() error { return f.cause }

func refuse(status int, code, format string, args ...any) *refusal {
	return &refusal{status: status, code: code, message: fmt.Sprintf(format, args...)}
}

// refusalOf makes a refusal of any error.
func refusalOf(err error) *refusal {
	if f, ok := errors.AsType[*refusal](err); ok {
		return f
	}
	if q, ok := errors.AsType[*quota.Refusal](err); ok {
		status := http.StatusPaymentRequired
		if q.Code == quota.FileTooLarge {
			status = http.StatusRequestEntityTooLarge
		}
		return &refusal{status: status, code: string(q.Code), message: q.Error(), quota: q}
	}
	if errors.Is(err, store.ErrNoSpace) {
		return &refusal{status: http.StatusInsufficientStorage, code: codeStorageFull, message: "no storage space is left", cause: err}
	}
	return &refusal{status: http.StatusInternalServerError, code: codeInternal, message: "internal error", cause: err}
}

// limits returns the limit that was met and what is used of it, where they exist.
func (f *refusal) limits() (limit, used *int64) {
	switch {
	case f.quota == nil:
		return nil, nil
	case f.quota.Code == quota.FileTooLarge:
		return &f.quota.Limit, nil
	}
	return &f.quota.Limit, &f.quota.Used
}

// retryAfter returns whole seconds, rounded up; 0 where waiting is no help.
func (f *refusal) retryAfter() int64 {
	if f.quota == nil {
		return 0
	}
	return int64(math.Ceil(f.quota.RetryAfter.Seconds()))
}

// log writes the one line that tells of the refusal. Who was refused is told at
// debug level only.
func (h *Handler) log(r *http.Request, f *refusal, jid string) {
	level := zapcore.InfoLevel
	if f.status >= 500 && f.status != http.StatusInsufficientStorage {
		level = zapcore.ErrorLevel
	}
	line := h.logger.Check(level, "refused")
	if line == nil {
		return
	}
	fields := []zap.Field{zap.String("code", f.code), zap.Int("status", f.status), zap.String("method", r.Method)}
	limit, used := f.limits()
	if limit != nil {
		fields = append(fields, zap.Int64("limit", *limit))
	}
	if used != nil {
		fields = append(fields, zap.Int64("used", *used))
	}
	if after := f.retryAfter(); after > 0 {
		fields = append(fields, zap.Duration("retry_after", time.Duration(after)*time.Second))
	}
	if f.cause != nil {
		fields = append(fields, zap.Error(f.cause))
	}
	if jid != "" && h.logger.Core().Enabled(zapcore.DebugLevel) {
		fields = append(fields, zap.String("jid", jid))
	}
	line.Write(fields...)
}

// answer tells the client. Where the site has error routes they write the body;
// where it has none the reason is the body, since Caddy would send none.
func (f *refusal) answer(w http.ResponseWriter, r *http.Request) error {
	if after := f.retryAfter(); after > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(after, 10))
	}
	if srv, ok := r.Context().Value(caddyhttp.ServerCtxKey).(*caddyhttp.Server); ok && srv.Errors != nil && len(srv.Errors.Routes) > 0 {
		return caddyhttp.Error(f.status, f)
	}
	writeBody(w, r, f.status, "text/plain; charset=utf-8", []byte(f.message))
	return nil
}

// answerJSON tells a client that asked for JSON, whatever error routes there are.
func (f *refusal) answerJSON(w http.ResponseWriter, r *http.Request) error {
	body := struct {
		Error      string `json:"error"`
		Message    string `json:"message"`
		Limit      *int64 `json:"limit,omitempty"`
		Used       *int64 `json:"used,omitempty"`
		RetryAfter int64  `json:"retry_after,omitempty"`
	}{Error: f.code, Message: f.message, RetryAfter: f.retryAfter()}
	body.Limit, body.Used = f.limits()
	if body.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.FormatInt(body.RetryAfter, 10))
	}
	return writeJSON(w, r, f.status, body)
}

func writeJSON(w http.ResponseWriter, r *http.Request, status int, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return caddyhttp.Error(http.StatusInternalServerError, err)
	}
	writeBody(w, r, status, "application/json", b)
	return nil
}

// writeBody writes a whole answer. An error of writing is of no interest: the
// client is gone.
func writeBody(w http.ResponseWriter, r *http.Request, status int, contentType string, body []byte) {
	header := w.Header()
	header.Set("Content-Type", contentType)
	header.Set("Content-Length", strconv.Itoa(len(body)))
	header.Set("X-Content-Type-Options", "nosniff")
	w.WriteHeader(status)
	if r.Method != http.MethodHead {
		_, _ = w.Write(body)
	}
}

// drainLimit is how much of a refused body is read before the answer.
const drainLimit = 256 << 10

// settleBody lets the client see an answer that is given before its body was
// read. An HTTP/1 client that waits for 100 Continue would hang without the end
// of the connection. An HTTP/2 client would be told of a stream reset instead
// of the answer, unless its body has been read; so would one of HTTP/1 that
// sends Connection: close, as nginx does, be told of a reset connection.
func settleBody(w http.ResponseWriter, r *http.Request) {
	expects := r.Header.Get("Expect") != ""
	switch {
	case r.Body == nil || r.ContentLength == 0:
	case r.ProtoMajor == 1 && expects:
		w.Header().Set("Connection", "close")
	case r.ProtoMajor <= 2 && !expects:
		_, _ = io.CopyN(io.Discard, r.Body, drainLimit)
	}
}
