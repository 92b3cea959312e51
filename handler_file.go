package xmppupload

import (
	"cmp"
	"context"
	"errors"
	"io"
	"net/http"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"github.com/caddyserver/caddy/v2/modules/caddyhttp"
	"go.uber.org/zap"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// serveFile serves the URLs of a slot.
func (h *Handler) serveFile(w http.ResponseWriter, r *http.Request, id, name string) error {
	allowOrigins(w.Header())
	switch r.Method {
	case http.MethodOptions:
		w.WriteHeader(http.StatusNoContent)
		return nil
	case http.MethodGet, http.MethodHead, http.MethodPut:
	default:
		w.Header().Set("Allow", "GET, HEAD, PUT, OPTIONS")
		settleBody(w, r)
		return refuse(http.StatusMethodNotAllowed, codeBadMethod, "files are uploaded with PUT and fetched with GET").answer(w, r)
	}
	stores, err := h.acquire()
	if err == nil {
		defer stores.release()
		if r.Method == http.MethodPut {
			return h.servePut(w, r, stores, id, name)
		}
		err = h.serveGet(w, r, stores, id, name)
	}
	if err == nil {
		return nil
	}
	f := refusalOf(err)
	switch r.Method {
	case http.MethodGet:
		downloadResults.inc(f.code)
	case http.MethodPut:
		uploadResults.inc(f.code)
	}
	if f.status >= 500 {
		h.log(r, f, "") // downloads that find nothing are in the access log
	}
	if errors.Is(err, errBuffered) {
		return caddyhttp.Error(f.status, f) // the answer in the buffer has begun with another status
	}
	return f.answer(w, r)
}

// allowOrigins lets web clients of any origin upload and download: whoever
// knows the URL may (XEP-0363, section 10).
func allowOrigins(h http.Header) {
	set(h,
		"Access-Control-Allow-Origin", "*",
		"Access-Control-Allow-Methods", "GET, HEAD, PUT, OPTIONS",
		"Access-Control-Allow-Headers", "Authorization, Content-Type, Range",
		"Access-Control-Expose-Headers", "Accept-Ranges, Content-Length, Content-Range, Content-Disposition, ETag, Last-Modified, Range, Retry-After",
		"Access-Control-Max-Age", "86400")
}

// servePut takes the upload to a slot.
func (h *Handler) servePut(w http.ResponseWriter, r *http.Request, s *stores, id, name string) error {
	slot, err := h.upload(r, s, id, name)
	if err == nil {
		uploadResults.inc(resultStored)
		uploadBytes.Add(float64(slot.Size))
		w.Header().Set("Content-Length", "0")
		w.WriteHeader(http.StatusCreated)
		return nil
	}
	f := refusalOf(err)
	uploadResults.inc(f.code)
	h.log(r, f, slot.JID)
	switch f.code {
	case codeStalled, codeClientGone:
		if r.ProtoMajor == 1 {
			w.Header().Set("Connection", "close") // its body is not at its end
		}
	default:
		settleBody(w, r)
	}
	return f.answer(w, r)
}

// upload stores the body of the request, all of it or nothing.
func (h *Handler) upload(r *http.Request, s *stores, id, name string) (slot store.Slot, err error) {
	slot, err = s.slots.Get(r.Context(), id)
	if errors.Is(err, store.ErrNotFound) || err == nil && name != slot.URLName {
		return slot, unusable(store.ErrNotFound)
	}
	if err != nil {
		return slot, err
	}
	now := time.Now()
	if err := checkUpload(r, slot, now); err != nil {
		return slot, err
	}
	if err := h.checkRoom(r, s, now); err != nil {
		return slot, err
	}
	if _, err := s.slots.Begin(r.Context(), id, now); err != nil {
		return slot, unusable(err)
	}
	uploadsInFlight.Inc()
	defer uploadsInFlight.Dec()
	// What follows must be brought to its end though the client be gone.
	ctx := context.WithoutCancel(r.Context())
	defer func() {
		if err != nil {
			err = errors.Join(err, s.slots.GiveUp(ctx, id, time.Now()))
		}
	}()
	return slot, h.store(ctx, r, s, slot)
}

// store writes the body and commits it.
func (h *Handler) store(ctx context.Context, r *http.Request, s *stores, slot store.Slot) (err error) {
	ref := slot.File()
	ref.Attempt = store.NewAttempt()
	file, err := s.files.Create(r.Context(), ref, slot.Size)
	if err != nil {
		return err
	}
	stays := false
	defer func() {
		if stays {
			return
		}
		if err := file.Abort(); err != nil {
			h.logger.Error("removing a refused upload failed; clean-up will try again", zap.Error(err))
		}
	}()
	if err := receive(file, r, slot.Size); err != nil {
		return err
	}
	if err := file.Commit(ctx); err != nil {
		return err
	}
	now := time.Now()
	committed, err := s.slots.Commit(ctx, slot.ID, store.Result{
		ContentType: servedType(slot.ContentType, r.Header.Get("Content-Type")),
		Attempt:     ref.Attempt,
		At:          now,
		Expires:     h.keepFor(slot.JID).Until(now),
	})
	if err != nil && !s.names(ctx, slot.ID, ref.Attempt) {
		return unusable(err)
	}
	stays = true
	switch publishErr := file.Publish(ctx); {
	case errors.Is(publishErr, store.ErrNotFound):
		return cmp.Or(err, unusable(publishErr)) // an operator deleted it, a moment ago
	case publishErr != nil:
		h.logger.Error("publishing an upload failed; it is served all the same, and clean-up will try again", zap.Error(publishErr))
	}
	if err == nil {
		h.emitStored(committed)
	}
	return err
}

// names reports whether the slot names the attempt, though committing it has
// failed: it may have come as far as that, and then its bytes must stay.
func (s *stores) names(ctx context.Context, id, attempt string) bool {
	slot, err := s.slots.Get(ctx, id)
	return err == nil && slot.Attempt == attempt
}

// keepFor returns how long a file of this user is kept, by the rules of today.
func (h *Handler) keepFor(jid string) Keep {
	if i, _, ok := h.acl.Match(jid); ok {
		return h.rules[i].keep
	}
	return h.keep
}

// unusable makes a refusal of the errors with which stores deny an upload.
func unusable(err error) error {
	switch {
	case errors.Is(err, store.ErrNotFound):
		return refuse(http.StatusForbidden, codeUnknownSlot, "there is no such slot; ask for a new one")
	case errors.Is(err, store.ErrExpired):
		return refuse(http.StatusForbidden, codeSlotExpired, "the slot has expired; ask for a new one")
	case errors.Is(err, store.ErrUsed):
		return refuse(http.StatusConflict, codeSlotUsed, "a file was uploaded to this slot already")
	}
	return err
}

// checkUpload checks what can be known before the body is read.
func checkUpload(r *http.Request, slot store.Slot, now time.Time) error {
	switch sent := r.Header.Get("Content-Type"); {
	case slot.State == store.Uploaded:
		return unusable(store.ErrUsed)
	case slot.ExpiredAt(now):
		return unusable(store.ErrExpired)
	case r.ContentLength >= 0 && r.ContentLength != slot.Size:
		return refuse(http.StatusBadRequest, codeSizeMismatch, "the slot is for %d bytes, not for %d", slot.Size, r.ContentLength)
	case !typesAgree(slot.ContentType, sent):
		return refuse(http.StatusBadRequest, codeTypeMismatch, "the slot is for %s, not for %s", mediaType(slot.ContentType), mediaType(sent))
	}
	return nil
}

// checkRoom refuses what min_free_space forbids. The slot itself is among those
// that the room must suffice for.
func (h *Handler) checkRoom(r *http.Request, s *stores, now time.Time) error {
	if h.minFreeSpace == 0 {
		return nil
	}
	room, err := h.room(r.Context(), s)
	if err != nil || room < 0 {
		return err
	}
	totals, err := s.slots.Totals(r.Context(), now)
	if err != nil {
		return err
	}
	if totals.WaitingBytes > room {
		return store.ErrNoSpace
	}
	return nil
}

// Buffers for bodies: a small one while the client trickles, so that many slow
// uploads fit into memory, and a large one while it runs, as long as there are
// some. A client that stops in the middle keeps its buffer.
const (
	smallBuffer = 8 << 10
	largeBuffer = 256 << 10
	mostLarge   = 64
)

var (
	smallBuffers = sync.Pool{New: func() any { return new([smallBuffer]byte) }}
	largeBuffers = sync.Pool{New: func() any { return new([largeBuffer]byte) }}
	largeInUse   atomic.Int32
)

// takeLarge returns a large buffer, or nil if too many are in use.
func takeLarge() *[largeBuffer]byte {
	if largeInUse.Add(1) > mostLarge {
		largeInUse.Add(-1)
		return nil
	}
	return largeBuffers.Get().(*[largeBuffer]byte)
}

// putLarge gives a large buffer back, unless it is nil.
func putLarge(b *[largeBuffer]byte) {
	if b != nil {
		largeBuffers.Put(b)
		largeInUse.Add(-1)
	}
}

// receive writes exactly size bytes of the body to file, whole buffers at a time
// while the client keeps its pace: few large pieces cost less to write, and to
// read later, than many odd ones.
func receive(file io.Writer, r *http.Request, size int64) error {
	small := smallBuffers.Get().(*[smallBuffer]byte)
	defer smallBuffers.Put(small)
	var large *[largeBuffer]byte
	defer func() { putLarge(large) }()
	buf, filled := small[:], 0
	quick := 0 // reads in a row that filled a small buffer
	for received := int64(0); ; {
		n, err := r.Body.Read(buf[filled:])
		filled += n
		if quick++; n < smallBuffer {
			quick = 0
		}
		if received += int64(n); received > size {
			return refuse(http.StatusBadRequest, codeSizeMismatch, "the body is longer than the %d bytes of the slot", size)
		}
		full := filled == len(buf)
		slower := large != nil && n < smallBuffer && !full
		ended := errors.Is(err, io.EOF) || err == nil && received == size && r.ContentLength == size
		if full || slower || ended {
			if _, err := file.Write(buf[:filled]); err != nil {
				return err
			}
			filled = 0
		}
		switch {
		case ended && received < size:
			return refuse(http.StatusBadRequest, codeSizeMismatch, "the body has %d bytes, the slot is for %d", received, size)
		case ended:
			return nil
		case err != nil:
			return readError(err)
		case slower:
			putLarge(large)
			large, buf = nil, small[:]
		case large == nil && quick > 1:
			if large = takeLarge(); large != nil {
				buf = large[:]
			}
		}
	}
}

// readError tells why a body could not be read to its end.
func readError(err error) error {
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return refuse(http.StatusRequestEntityTooLarge, codeSizeMismatch, "the site allows bodies of %d bytes only", tooLarge.Limit)
	}
	f := refuse(http.StatusBadRequest, codeClientGone, "the upload was broken off")
	if errors.Is(err, os.ErrDeadlineExceeded) {
		f = refuse(http.StatusRequestTimeout, codeStalled, "the upload stalled")
	}
	f.cause = err
	return f
}

// serveGet serves a file, with ranges and conditions (RFC 9110, sections 13, 14).
func (h *Handler) serveGet(w http.ResponseWriter, r *http.Request, s *stores, id, name string) error {
	if h.download != "" {
		return refuse(http.StatusForbidden, codeElsewhere, "files are downloaded from %s", h.download)
	}
	now := time.Now()
	slot, err := s.slots.Get(r.Context(), id)
	if errors.Is(err, store.ErrNotFound) ||
		err == nil && (slot.URLName != name || slot.State != store.Uploaded || slot.ExpiredAt(now)) {
		return errNoFile
	}
	if err != nil {
		return err
	}
	file, err := s.files.Open(r.Context(), slot.File())
	if errors.Is(err, store.ErrNotFound) {
		return errNoFile
	}
	if err != nil {
		return err
	}
	defer file.Close()

	describe(w.Header(), slot, now)
	modified := slot.Uploaded
	if modified.After(now) {
		modified = now // the clock was set back; RFC 9110, section 8.8.2.1
	}
	return send(w, r, modified, file)
}

var errNoFile = refuse(http.StatusNotFound, codeNotFound, "there is no such file, or it has expired")
