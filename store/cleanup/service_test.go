package cleanup_test

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/caddyserver/caddy/v2"

	"github.com/caddy-xmpp/xmpp-upload/store"
	"github.com/caddy-xmpp/xmpp-upload/store/badger"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
	"github.com/caddy-xmpp/xmpp-upload/store/disk"
)

func slotsModule(t *testing.T, dir string) store.SlotsModule {
	t.Helper()
	m := &badger.Module{Path: dir}
	if err := m.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return m
}

func filesModule(t *testing.T, dir string) store.FilesModule {
	t.Helper()
	m := &disk.Module{Path: dir}
	if err := m.Provision(caddy.Context{}); err != nil {
		t.Fatal(err)
	}
	return m
}

func acquire(t *testing.T, slots store.SlotsModule, files store.FilesModule) *store.Ref[*cleanup.Service] {
	t.Helper()
	ref, err := cleanup.Acquire(slots, files, cleanup.Hooks{})
	if err != nil {
		t.Fatal(err)
	}
	return ref
}

func release[T any](t *testing.T, ref *store.Ref[T]) {
	t.Helper()
	if err := ref.Release(); err != nil {
		t.Error(err)
	}
}

func TestEqualPairsShareAService(t *testing.T) {
	dir := t.TempDir()
	s, f := filepath.Join(dir, "s"), filepath.Join(dir, "f")
	one := acquire(t, slotsModule(t, s), filesModule(t, f))
	two := acquire(t, slotsModule(t, s), filesModule(t, f))
	if one.Value != two.Value {
		t.Error("two services for one pair")
	}
	other := acquire(t, slotsModule(t, s+"2"), filesModule(t, f+"2"))
	if other.Value == one.Value {
		t.Error("one service for two pairs")
	}
	release(t, other)
	release(t, one)
	again := acquire(t, slotsModule(t, s), filesModule(t, f))
	if again.Value != two.Value {
		t.Error("the service ended while somebody held it")
	}
	release(t, again)
	release(t, two)
	anew := acquire(t, slotsModule(t, s), filesModule(t, f))
	if anew.Value == two.Value {
		t.Error("the service did not end with its last holder")
	}
	release(t, anew)
}

func TestCrossedPairsAreRefused(t *testing.T) {
	dir := t.TempDir()
	s1, s2 := slotsModule(t, filepath.Join(dir, "s1")), slotsModule(t, filepath.Join(dir, "s2"))
	f1, f2 := filesModule(t, filepath.Join(dir, "f1")), filesModule(t, filepath.Join(dir, "f2"))
	held := acquire(t, s1, f1)
	for _, crossed := range []struct {
		slots store.SlotsModule
		files store.FilesModule
	}{{s1, f2}, {s2, f1}} {
		ref, err := cleanup.Acquire(crossed.slots, crossed.files, cleanup.Hooks{})
		if err == nil {
			release(t, ref)
		}
		if err == nil || !strings.Contains(err.Error(), "one slots store goes with one files store") ||
			!strings.Contains(err.Error(), crossed.slots.Key()) || !strings.Contains(err.Error(), crossed.files.Key()) {
			t.Errorf("%s with %s: %v, want an error that names both", crossed.slots.Key(), crossed.files.Key(), err)
		}
	}
	release(t, acquire(t, s2, f2)) // a refusal leaves nothing behind
	release(t, held)
	release(t, acquire(t, s1, f2)) // nor does what has ended
	release(t, acquire(t, s2, f1))
}

// failing is a store that can't be opened.
type failing struct{ store.FilesModule }

var errOpen = errors.New("can't be opened")

func (failing) AcquireFiles() (*store.Ref[store.Files], error) { return nil, errOpen }

func TestAStoreThatCannotBeOpenedHoldsNothing(t *testing.T) {
	dir := t.TempDir()
	slots, files := slotsModule(t, filepath.Join(dir, "s")), filesModule(t, filepath.Join(dir, "f"))
	if _, err := cleanup.Acquire(slots, failing{files}, cleanup.Hooks{}); !errors.Is(err, errOpen) {
		t.Fatalf("Acquire() = %v", err)
	}
	// The directory is free for another, and for another partner.
	release(t, acquire(t, slots, filesModule(t, filepath.Join(dir, "f2"))))
	s, err := badger.Open(filepath.Join(dir, "s"))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
}

func TestServiceCleansUpAtOnceAndAtEveryInterval(t *testing.T) {
	dir := t.TempDir()
	slots, files := slotsModule(t, filepath.Join(dir, "s")), filesModule(t, filepath.Join(dir, "f"))
	held, err := slots.AcquireSlots()
	if err != nil {
		t.Fatal(err)
	}
	defer release(t, held)

	reserveExpired(t, held.Value)
	service := acquire(t, slots, files)
	defer release(t, service)
	awaitNoSlots(t, held.Value)

	service.Value.SetInterval(time.Hour)
	reserveExpired(t, held.Value)
	service.Value.SetInterval(time.Millisecond) // counts at once, not after the hour
	awaitNoSlots(t, held.Value)
	reserveExpired(t, held.Value)
	awaitNoSlots(t, held.Value)
}

func reserveExpired(t *testing.T, slots store.Slots) {
	t.Helper()
	long := time.Now().Add(-time.Hour)
	slot := store.Slot{
		ID: store.NewID(long), JID: "me@example.com", Name: "a", URLName: "a", Size: 1,
		Reserved: long, Deadline: long.Add(time.Minute),
	}
	if err := slots.Reserve(t.Context(), slot, store.Limits{Room: -1}); err != nil {
		t.Fatal(err)
	}
}

func awaitNoSlots(t *testing.T, slots store.Slots) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		page, err := slots.List(t.Context(), store.Query{})
		if err != nil {
			t.Fatal(err)
		}
		if len(page.Slots) == 0 {
			return
		}
	}
	t.Fatal("an expired slot is still there after a minute")
}

// ends notes the clean-ups that a hook is told of.
type ends chan cleanup.Report

func (e ends) note(_ time.Time, r cleanup.Report, err error) {
	if err != nil {
		r.Missing = -1
	}
	e <- r
}

func TestServiceTellsOfCleanUpsAndRemovals(t *testing.T) {
	dir := t.TempDir()
	slots, files := slotsModule(t, filepath.Join(dir, "s")), filesModule(t, filepath.Join(dir, "f"))
	var told removals
	ended := make(ends, 10)
	service, err := cleanup.Acquire(slots, files, cleanup.Hooks{Removed: told.note, Ended: ended.note})
	if err != nil {
		t.Fatal(err)
	}
	defer release(t, service)
	s := service.Value
	if got := <-ended; got != (cleanup.Report{}) {
		t.Errorf("told of %+v after the start", got)
	}

	reserveExpired(t, s.Slots())
	all := cleanup.Options{Slots: true, Files: true}
	got, err := s.CleanUp(t.Context(), all, nil)
	if want := (cleanup.Report{Slots: 1}); err != nil || got != want || <-ended != want {
		t.Errorf("CleanUp() = %+v, %v, want %+v told and returned", got, err, want)
	}

	canceled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := s.CleanUp(canceled, all, nil); !errors.Is(err, context.Canceled) || len(ended) > 0 {
		t.Errorf("CleanUp() = %v, %d ends told", err, len(ended))
	}

	p := &pair{t: t, slots: s.Slots().(*badger.Slots), files: s.Files().(*disk.Files), under: make(map[string]store.Upload)}
	now := time.Now()
	deleted, kept, missing := p.upload(now, published), p.upload(now, published), p.upload(now, published)
	p.remove(missing)
	if got, err := s.Remove(t.Context(), deleted.ID, cleanup.Deleted); err != nil || got.ID != deleted.ID {
		t.Errorf("Remove() = %+v, %v", got, err)
	}
	v, err := s.Verify(t.Context(), true, nil)
	if err != nil || v.Repaired != 1 || v.Slots != 2 || v.Files != 1 {
		t.Errorf("Verify() = %+v, %v", v, err)
	}
	old := cleanup.Options{Files: true, OlderThan: time.Nanosecond}
	if got, err := s.CleanUp(t.Context(), old, nil); err != nil || got.Files != 1 || <-ended != got {
		t.Errorf("CleanUp() = %+v, %v, want one removed and told", got, err)
	}
	told.expect(t, map[string]cleanup.Reason{deleted.ID: cleanup.Deleted, kept.ID: cleanup.Old, missing.ID: cleanup.Missing})
}
