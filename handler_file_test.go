package xmppupload

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/zap/zapcore"
	"pgregory.net/rapid"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// broken is a body that ends in an error.
type broken struct {
	io.Reader
	err error
}

func (b broken) Read(p []byte) (int, error) {
	n, err := b.Reader.Read(p)
	if errors.Is(err, io.EOF) {
		err = b.err
	}
	return n, err
}

// pieces notes how a file was written.
type pieces [][]byte

func (w *pieces) Write(p []byte) (int, error) {
	*w = append(*w, bytes.Clone(p))
	return len(p), nil
}

func TestABodyIsStoredInWholePiecesHoweverItArrives(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body := make([]byte, rapid.IntRange(0, 3*largeBuffer).Draw(t, "size"))
		for i := range body {
			body[i] = byte(i * i >> 8)
		}
		most := rapid.SampledFrom([]int{1000, smallBuffer - 1, smallBuffer, 2 * smallBuffer, largeBuffer}).Draw(t, "most")
		var arrives io.Reader = readerFunc(func(p []byte) (int, error) {
			if len(body) == 0 {
				return 0, io.EOF
			}
			n := copy(p, body[:min(rapid.IntRange(1, most).Draw(t, "arrive"), len(body))])
			body = body[n:]
			return n, nil
		})
		want := bytes.Clone(body)
		r := request("PUT", "/", arrives)
		r.ContentLength = rapid.SampledFrom([]int64{-1, int64(len(want))}).Draw(t, "length")
		var written pieces
		if err := receive(&written, r, int64(len(want))); err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(bytes.Join(written, nil), want) {
			t.Fatal("the file is not what was sent")
		}
		for i, piece := range written {
			if most < smallBuffer && len(piece) != smallBuffer && i < len(written)-1 {
				t.Fatalf("piece %d of %d has %d bytes though the client trickles, want %d", i, len(written), len(piece), smallBuffer)
			}
		}
		if large := largeInUse.Load(); large != 0 {
			t.Fatalf("%d large buffers are still in use", large)
		}
	})
}

type readerFunc func(p []byte) (int, error)

func (f readerFunc) Read(p []byte) (int, error) { return f(p) }

func TestABrokenBodyLeavesTheSlotUsableAndNothingElse(t *testing.T) {
	h := provisioned(t, everybody)
	logs := observe(h, zapcore.InfoLevel)
	for _, tc := range []struct {
		err    error
		status int
		code   string
	}{
		{fmt.Errorf("reading: %w", os.ErrDeadlineExceeded), 408, "stalled"},
		{io.ErrUnexpectedEOF, 400, "client_gone"},
		{syscall.ECONNRESET, 400, "client_gone"},
		{context.Canceled, 400, "client_gone"},
		{&http.MaxBytesError{Limit: 3}, 413, "size_mismatch"},
		{io.EOF, 400, "size_mismatch"},
	} {
		t.Run(tc.err.Error(), func(t *testing.T) {
			target := newSlot(t, h, "size=5")
			r := request("PUT", target, broken{strings.NewReader("hel"), tc.err})
			r.ContentLength = 5
			w := serveRequest(t, h, r)
			expectStatus(t, w, tc.status)
			if lines := logs.TakeAll(); len(lines) != 1 || lines[0].ContextMap()["code"] != tc.code {
				t.Errorf("logged %v, want one line with %s", lines, tc.code)
			}
			if w.Header().Get("Access-Control-Allow-Origin") != "*" {
				t.Error("no CORS headers")
			}
			expectFiles(t, h, 0)
			expectStatus(t, serve(t, h, "GET", target, ""), 404)
			expectStatus(t, serve(t, h, "PUT", target, "hello"), 201)
			if got := serve(t, h, "GET", target, "").Body.String(); got != "hello" {
				t.Errorf("served as %q", got)
			}
			removeFiles(t, h)
		})
	}
}

// expectFiles expects so many files in the directory, under whatever name.
func expectFiles(t *testing.T, h *Handler, want int) {
	t.Helper()
	var found []string
	err := filepath.WalkDir(h.filesModule.Key(), func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && d.Name() != ".lock" {
			found = append(found, path)
		}
		return err
	})
	if err != nil || len(found) != want {
		t.Errorf("%d files are there (%v), %v, want %d", len(found), found, err, want)
	}
}

// removeFiles removes all by hand.
func removeFiles(t *testing.T, h *Handler) {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(h.filesModule.Key(), "*", "*-*"))
	for _, file := range files {
		err = errors.Join(err, os.Remove(file))
	}
	if err != nil || len(files) == 0 {
		t.Fatalf("%d files, %v", len(files), err)
	}
}

// troubledFiles is a disk that fails at one step of an upload.
type troubledFiles struct {
	store.Files
	at  string
	err error
}

func (f troubledFiles) Create(ctx context.Context, ref store.FileRef, size int64) (store.Upload, error) {
	if f.at == "create" {
		return nil, f.err
	}
	u, err := f.Files.Create(ctx, ref, size)
	return &troubledUpload{Upload: u, f: f}, err
}

type troubledUpload struct {
	store.Upload
	f         troubledFiles
	published bool
}

func (u *troubledUpload) Write(p []byte) (int, error) {
	if u.f.at == "write" {
		return 0, u.f.err
	}
	return u.Upload.Write(p)
}

func (u *troubledUpload) Commit(ctx context.Context) error {
	if u.f.at == "commit" {
		return u.f.err
	}
	return u.Upload.Commit(ctx)
}

func (u *troubledUpload) Publish(ctx context.Context) error {
	if u.f.at == "publish" {
		u.published = true
		return u.f.err
	}
	return u.Upload.Publish(ctx)
}

func (u *troubledUpload) Abort() error {
	if u.published {
		return nil
	}
	return u.Upload.Abort()
}

func TestADiskInTroubleLeavesTheSlotUsable(t *testing.T) {
	noSpace := fmt.Errorf("writing: %w", store.ErrNoSpace)
	for _, tc := range []struct {
		at     string
		err    error
		status int
	}{
		{"create", noSpace, 507},
		{"write", noSpace, 507},
		{"commit", noSpace, 507},
		{"create", errStore, 500},
		{"write", errStore, 500},
		{"commit", errStore, 500},
		{"publish", errStore, 201}, // it is served all the same
	} {
		t.Run(fmt.Sprint(tc.at, tc.status), func(t *testing.T) {
			h := provisioned(t, everybody)
			target := newSlot(t, h, "size=5")
			sound := h.filesModule
			h.filesModule = otherFiles{sound, func(f store.Files) (store.Files, error) { return troubledFiles{f, tc.at, tc.err}, nil }}
			w := serve(t, h, "PUT", target, "hello")
			expectStatus(t, w, tc.status)
			if strings.Contains(w.Body.String(), "secret") || w.Header().Get("Retry-After") != "" {
				t.Errorf("body %q, Retry-After %q", w.Body, w.Header().Get("Retry-After"))
			}
			h.filesModule = sound
			if tc.status != 201 {
				expectFiles(t, h, 0)
				expectStatus(t, serve(t, h, "GET", target, ""), 404)
				expectStatus(t, serve(t, h, "PUT", target, "hello"), 201)
			}
			if got := serve(t, h, "GET", target, "").Body.String(); got != "hello" {
				t.Errorf("served as %q", got)
			}
		})
	}
}

func TestAnUploadThatTheSlotsDoNotTakeIsNotServed(t *testing.T) {
	for _, tc := range []struct {
		err    error
		status int
	}{{errStore, 500}, {store.ErrUsed, 409}, {store.ErrNotFound, 403}} {
		h := provisioned(t, everybody)
		target := newSlot(t, h, "size=5")
		sound := h.slotsModule
		h.slotsModule = otherSlots{sound, func(s store.Slots) (store.Slots, error) { return troubledSlots{Slots: s, commit: tc.err}, nil }}
		expectStatus(t, serve(t, h, "PUT", target, "hello"), tc.status)
		h.slotsModule = sound
		expectFiles(t, h, 0)
		expectStatus(t, serve(t, h, "GET", target, ""), 404)
		expectStatus(t, serve(t, h, "PUT", target, "other"), 201)
	}
}

// A commit may fail after the slot has been changed, such as in the last flush.
// Then the slot names the bytes, and they must be there.
func TestBytesThatTheSlotNamesStayThoughItsCommitFailed(t *testing.T) {
	h := provisioned(t, everybody)
	target := newSlot(t, h, "size=5")
	sound := h.slotsModule
	h.slotsModule = otherSlots{sound, func(s store.Slots) (store.Slots, error) { return troubledSlots{Slots: s, committed: errStore}, nil }}
	expectStatus(t, serve(t, h, "PUT", target, "hello"), 500)
	h.slotsModule = sound
	expectFiles(t, h, 1)
	if got := serve(t, h, "GET", target, "").Body.String(); got != "hello" {
		t.Errorf("served as %q", got)
	}
}

// An upload in flight holds its quota past the slot's time, a refused one does
// not.
func TestARefusedUploadHoldsNoQuotaPastItsTime(t *testing.T) {
	h := provisioned(t, everybody)
	target := newSlot(t, h, "size=5")
	r := request("PUT", target, &midway{"hell", func() {
		if n := waitingInAnHour(t, h); n != 1 {
			t.Errorf("while the upload is in flight, %d slots hold quota, want 1", n)
		}
	}})
	r.ContentLength = 5
	expectStatus(t, serveRequest(t, h, r), 400)
	if n := waitingInAnHour(t, h); n != 0 {
		t.Errorf("after the upload, %d slots hold quota", n)
	}
}

func waitingInAnHour(t *testing.T, h *Handler) int64 {
	t.Helper()
	s, err := h.acquire()
	if err != nil {
		t.Fatal(err)
	}
	defer s.release()
	u, err := s.slots.Usage(t.Context(), "me@example.com", quota.Limits{}, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	return u.WaitingSlots
}

// midway calls do before its last byte.
type midway struct {
	rest string
	do   func()
}

func (m *midway) Read(p []byte) (int, error) {
	if m.rest == "" {
		return 0, io.EOF
	}
	if len(m.rest) == 1 {
		m.do()
	}
	p[0] = m.rest[0]
	m.rest = m.rest[1:]
	return 1, nil
}

func TestTheUploadThatEndsFirstWins(t *testing.T) {
	for _, length := range []int64{5, -1} {
		h := provisioned(t, everybody)
		target := newSlot(t, h, "size=5")
		r := request("PUT", target, &midway{"slow!", func() {
			expectStatus(t, serve(t, h, "PUT", target, "quick"), 201)
		}})
		r.ContentLength = length
		expectStatus(t, serveRequest(t, h, r), 409)
		if got := serve(t, h, "GET", target, "").Body.String(); got != "quick" {
			t.Errorf("served as %q, want the winner", got)
		}
		expectFiles(t, h, 1)
	}
}

func TestAWholeBodyIsStoredThoughTheClientBeGone(t *testing.T) {
	h := provisioned(t, everybody)
	target := newSlot(t, h, "size=5")
	ctx, cancel := context.WithCancel(t.Context())
	r := request("PUT", target, &midway{"hello", cancel}).WithContext(ctx)
	r.ContentLength = 5
	expectStatus(t, serveRequest(t, h, r), 201)
	if got := serve(t, h, "GET", target, "").Body.String(); got != "hello" {
		t.Errorf("served as %q", got)
	}
}

// A file that was removed by hand is not there, whatever its slot says.
func TestARemovedFileIsNotFound(t *testing.T) {
	h := provisioned(t, everybody)
	target := newSlot(t, h, "size=5")
	expectStatus(t, serve(t, h, "PUT", target, "hello"), 201)
	removeFiles(t, h)
	expectStatus(t, serve(t, h, "GET", target, ""), 404)
	expectStatus(t, serve(t, h, "PUT", target, "hello"), 409)
}

// The keep of a file is that of the rules at its end.
func TestKeepFollowsTheRuleOfTheUser(t *testing.T) {
	h := provisioned(t, `{"access":[{"jids":["me@example.com"],"keep":"1h"},{"jids":["*"]}],"min_free_space":0,"keep":"2h"}`)
	target := newSlot(t, h, "size=5")
	expectStatus(t, serve(t, h, "PUT", target, "hello"), 201)
	got := serve(t, h, "GET", target, "").Header().Get("Cache-Control")
	if got != "public, max-age=3599, immutable" && got != "public, max-age=3600, immutable" {
		t.Errorf("Cache-Control %q", got)
	}
}

// deletedFiles deletes an upload just before it is published.
type deletedFiles struct {
	store.Files
	remove func(id string)
}

func (f deletedFiles) Create(ctx context.Context, ref store.FileRef, size int64) (store.Upload, error) {
	u, err := f.Files.Create(ctx, ref, size)
	return deletedUpload{u, func() { f.remove(ref.ID) }}, err
}

type deletedUpload struct {
	store.Upload
	remove func()
}

func (u deletedUpload) Publish(ctx context.Context) error {
	u.remove()
	return u.Upload.Publish(ctx)
}

// An operator may delete an upload at any moment of it. It gets no 201, and the
// log tells of nothing but a refusal.
func TestAnUploadThatIsDeletedMeanwhileIsRefused(t *testing.T) {
	for _, when := range []string{"while it is received", "before it is published"} {
		t.Run(when, func(t *testing.T) {
			h := provisioned(t, everybody)
			logs := observe(h, zapcore.InfoLevel)
			target := newSlot(t, h, "size=5")
			remove := func(id string) {
				if _, err := h.service.Value.Remove(t.Context(), id, cleanup.Deleted); err != nil {
					t.Error(err)
				}
			}
			r := request("PUT", target, strings.NewReader("hello"))
			if when == "while it is received" {
				r = request("PUT", target, &midway{"hello", func() { remove(strings.Split(target, "/")[1]) }})
				r.ContentLength = 5
			} else {
				h.filesModule = otherFiles{h.filesModule, func(f store.Files) (store.Files, error) { return deletedFiles{f, remove}, nil }}
			}
			expectStatus(t, serveRequest(t, h, r), http.StatusForbidden)
			expectFiles(t, h, 0)
			if lines := logs.All(); len(lines) != 1 || lines[0].ContextMap()["code"] != codeUnknownSlot {
				t.Errorf("logged %v, want one refusal", lines)
			}
		})
	}
}
