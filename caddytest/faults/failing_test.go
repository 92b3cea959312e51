//go:build linux

package faults

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/caddyserver/caddy/v2"
	"golang.org/x/sys/unix"

	"github.com/caddy-xmpp/xmpp-upload/quota"
	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

// The Caddy of these tests has two more stores: failingSlots and failingFiles
// are badger and disk behind their interfaces, and do what a store may do whose
// disk, database or network fails. What that is they are told through the admin
// endpoint, by failures.
func init() {
	caddy.RegisterModule(new(failingSlots))
	caddy.RegisterModule(new(failingFiles))
	caddy.RegisterModule(failures{})
	plan.Nth = -1
}

// failure is what becomes of one call of a store.
type failure struct {
	// Nth is which call, from 0 on; negative is none.
	Nth int `json:"nth"`
	// After lets the call do what it should first, as when only its answer gets
	// lost.
	After bool `json:"after"`
	// NoSpace tells that there is no room; else the error has no meaning.
	NoSpace bool `json:"no_space"`
	// Kill ends the process.
	Kill bool `json:"kill"`
}

func (f failure) String() string {
	what := "an error"
	switch {
	case f.Kill:
		what = "death"
	case f.NoSpace:
		what = "no space"
	}
	if f.After {
		return what + " after"
	}
	return what + " instead"
}

var errFailing = errors.New("the store fails")

// plan is the failure that this process waits for, and the calls since it does.
var plan struct {
	sync.Mutex
	failure
	calls []string
}

// failures is the admin endpoint's way to the plan: POST makes one, GET returns
// the calls since then.
type failures struct{}

func (failures) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "admin.api.failures", New: func() caddy.Module { return failures{} }}
}

func (failures) Routes() []caddy.AdminRoute {
	return []caddy.AdminRoute{{Pattern: "/failures", Handler: caddy.AdminHandlerFunc(
		func(w http.ResponseWriter, r *http.Request) error {
			plan.Lock()
			defer plan.Unlock()
			if r.Method == http.MethodPost {
				plan.calls = nil
				plan.failure = failure{}
				if err := json.NewDecoder(r.Body).Decode(&plan.failure); err != nil {
					return err
				}
			}
			return json.NewEncoder(w).Encode(plan.calls)
		},
	)}}
}

// asPlanned makes a call of a store, as planned. One that must be made whatever comes
// of it, since it ends something, fails afterwards only.
func asPlanned(name string, must bool, do func() error) error {
	plan.Lock()
	f, struck := plan.failure, len(plan.calls) == plan.Nth
	plan.calls = append(plan.calls, name)
	plan.Unlock()
	if !struck {
		return do()
	}
	if f.After || must && !f.Kill {
		if err := do(); err != nil {
			return err
		}
	}
	switch {
	case f.Kill:
		_ = unix.Kill(os.Getpid(), unix.SIGKILL)
		select {}
	case f.NoSpace:
		return store.ErrNoSpace
	}
	return errFailing
}

// answer is asPlanned for a store's method that returns something.
func answer[T any](name string, do func() (T, error)) (v T, err error) {
	err = asPlanned(name, false, func() (err error) {
		v, err = do()
		return err
	})
	if err != nil {
		v = *new(T)
	}
	return v, err
}

// failingSlots opens the slots of badger.
type failingSlots struct{ badger.Module }

func (*failingSlots) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.xmpp_upload.slots.failing", New: func() caddy.Module { return new(failingSlots) }}
}

func (m *failingSlots) AcquireSlots() (*store.Ref[store.Slots], error) {
	ref, err := m.Module.AcquireSlots()
	if err == nil {
		ref.Value = slots{ref.Value}
	}
	return ref, err
}

type slots struct{ store.Slots }

func (s slots) Reserve(ctx context.Context, slot store.Slot, limits store.Limits) error {
	return asPlanned("Reserve", false, func() error { return s.Slots.Reserve(ctx, slot, limits) })
}

func (s slots) Check(ctx context.Context, jid string, size int64, limits store.Limits, now time.Time) error {
	return asPlanned("Check", false, func() error { return s.Slots.Check(ctx, jid, size, limits, now) })
}

func (s slots) Begin(ctx context.Context, id string, now time.Time) (store.Slot, error) {
	return answer("Begin", func() (store.Slot, error) { return s.Slots.Begin(ctx, id, now) })
}

func (s slots) GiveUp(ctx context.Context, id string, now time.Time) error {
	return asPlanned("GiveUp", true, func() error { return s.Slots.GiveUp(ctx, id, now) })
}

func (s slots) Commit(ctx context.Context, id string, result store.Result) (store.Slot, error) {
	return answer("Slots.Commit", func() (store.Slot, error) { return s.Slots.Commit(ctx, id, result) })
}

func (s slots) Get(ctx context.Context, id string) (store.Slot, error) {
	return answer("Get", func() (store.Slot, error) { return s.Slots.Get(ctx, id) })
}

func (s slots) Delete(ctx context.Context, id string, now time.Time) (store.Slot, error) {
	return answer("Slots.Delete", func() (store.Slot, error) { return s.Slots.Delete(ctx, id, now) })
}

func (s slots) List(ctx context.Context, q store.Query) (store.Page, error) {
	return answer("Slots.List", func() (store.Page, error) { return s.Slots.List(ctx, q) })
}

func (s slots) Usage(ctx context.Context, jid string, limits quota.Limits, now time.Time) (quota.Usage, error) {
	return answer("Usage", func() (quota.Usage, error) { return s.Slots.Usage(ctx, jid, limits, now) })
}

func (s slots) Totals(ctx context.Context, now time.Time) (store.Totals, error) {
	return answer("Totals", func() (store.Totals, error) { return s.Slots.Totals(ctx, now) })
}

func (s slots) Expired(ctx context.Context, now time.Time, after string, limit int) (page []store.Slot, next string, err error) {
	err = asPlanned("Expired", false, func() (err error) {
		page, next, err = s.Slots.Expired(ctx, now, after, limit)
		return err
	})
	return page, next, err
}

func (s slots) Forget(ctx context.Context, now time.Time) error {
	return asPlanned("Forget", false, func() error { return s.Slots.Forget(ctx, now) })
}

func (s slots) Free(ctx context.Context) (int64, error) {
	return answer("Slots.Free", func() (int64, error) { return s.Slots.Free(ctx) })
}

// failingFiles opens the files of disk.
type failingFiles struct{ disk.Module }

func (*failingFiles) CaddyModule() caddy.ModuleInfo {
	return caddy.ModuleInfo{ID: "http.xmpp_upload.files.failing", New: func() caddy.Module { return new(failingFiles) }}
}

func (m *failingFiles) AcquireFiles() (*store.Ref[store.Files], error) {
	ref, err := m.Module.AcquireFiles()
	if err == nil {
		ref.Value = files{ref.Value}
	}
	return ref, err
}

type files struct{ store.Files }

func (f files) Create(ctx context.Context, ref store.FileRef, size int64) (store.Upload, error) {
	var u store.Upload
	err := asPlanned("Create", false, func() (err error) {
		u, err = f.Files.Create(ctx, ref, size)
		return err
	})
	if err == nil {
		return fileUpload{u}, nil
	}
	if u != nil {
		_ = u.Abort() // who got an error has nothing to end
	}
	return nil, err
}

func (f files) Publish(ctx context.Context, ref store.FileRef) error {
	return asPlanned("Files.Publish", false, func() error { return f.Files.Publish(ctx, ref) })
}

func (f files) Discard(ctx context.Context, ref store.FileRef) error {
	return asPlanned("Discard", false, func() error { return f.Files.Discard(ctx, ref) })
}

func (f files) Open(ctx context.Context, ref store.FileRef) (store.File, error) {
	return answer("Open", func() (store.File, error) { return f.Files.Open(ctx, ref) })
}

func (f files) Delete(ctx context.Context, ref store.FileRef) error {
	return asPlanned("Files.Delete", false, func() error { return f.Files.Delete(ctx, ref) })
}

func (f files) List(ctx context.Context, after string, limit int) (page []store.FileInfo, next string, err error) {
	err = asPlanned("Files.List", false, func() (err error) {
		page, next, err = f.Files.List(ctx, after, limit)
		return err
	})
	return page, next, err
}

func (f files) Free(ctx context.Context) (int64, error) {
	return answer("Files.Free", func() (int64, error) { return f.Files.Free(ctx) })
}

// fileUpload is an upload to failing files.
type fileUpload struct{ store.Upload }

func (u fileUpload) Write(p []byte) (int, error) {
	return answer("Write", func() (int, error) { return u.Upload.Write(p) })
}

func (u fileUpload) Commit(ctx context.Context) error {
	return asPlanned("Upload.Commit", false, func() error { return u.Upload.Commit(ctx) })
}

func (u fileUpload) Publish(ctx context.Context) error {
	return asPlanned("Upload.Publish", true, func() error { return u.Upload.Publish(ctx) })
}

func (u fileUpload) Abort() error {
	return asPlanned("Abort", true, u.Upload.Abort)
}
