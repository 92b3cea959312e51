package storetest

import (
	"bytes"
	"context"
	"errors"
	"io"
	"sync"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

func testContents(t *testing.T, f store.Files) {
	for _, size := range []int{0, 1, 4095, 4096, 4097, 1 << 20, 3<<20 + 17} {
		ref := newFileRef("image.png")
		data := fileContents(1, size)
		publishFile(t, f, ref, data)
		wantFile(t, f, ref, data)
	}
}

func testSeek(t *testing.T, f store.Files) {
	ref, data := newFileRef("movie.mp4"), fileContents(2, 300_000)
	publishFile(t, f, ref, data)
	file, err := f.Open(t.Context(), ref)
	noError(t, "Open", err)
	defer file.Close()
	for _, test := range []struct {
		offset int64
		whence int
		want   int
	}{{200_000, io.SeekStart, 200_000}, {-1, io.SeekEnd, 299_999}, {0, io.SeekStart, 0}, {4000, io.SeekCurrent, 5000}, {0, io.SeekEnd, 300_000}} {
		at, err := file.Seek(test.offset, test.whence)
		if err != nil || at != int64(test.want) {
			t.Fatalf("Seek = %d, %v, want %d", at, err, test.want)
		}
		want := data[test.want:min(test.want+1000, len(data))]
		got, err := io.ReadAll(io.LimitReader(file, 1000))
		if err != nil || !bytes.Equal(got, want) {
			t.Errorf("wrong bytes at %d, %v", test.want, err)
		}
	}
}

func testSize(t *testing.T, f store.Files) {
	if u, err := f.Create(t.Context(), newFileRef("a"), -1); err == nil {
		u.Abort()
		t.Error("a negative size was taken")
	}

	short := newFileRef("short")
	u, err := f.Create(t.Context(), short, 10)
	noError(t, "Create", err)
	_, err = u.Write(make([]byte, 9))
	noError(t, "Write", err)
	if u.Commit(t.Context()) == nil {
		t.Error("9 of 10 bytes were committed")
	}
	if u.Publish(t.Context()) == nil {
		t.Error("9 of 10 bytes were published")
	}
	wantNoFile(t, f, short)
	noError(t, "Abort", u.Abort())
	wantNoFile(t, f, short)

	long := newFileRef("long")
	u = writeFile(t, f, long, make([]byte, 10))
	if _, err := u.Write([]byte{1}); err == nil {
		t.Error("11 of 10 bytes were written")
	}
	noError(t, "Abort", u.Abort())
	wantFiles(t, f)
}

func testSameAttempt(t *testing.T, f store.Files) {
	ref, data := newFileRef("a"), fileContents(3, 1000)
	u := writeFile(t, f, ref, data)
	if second, err := f.Create(t.Context(), ref, 10); err == nil {
		second.Abort()
		t.Error("an attempt in progress was begun again")
	}
	noError(t, "Commit", u.Commit(t.Context()))
	noError(t, "Publish", u.Publish(t.Context()))
	wantFile(t, f, ref, data)
}

func testOpenCommitted(t *testing.T, f store.Files) {
	ref, data := newFileRef("a.txt"), fileContents(4, 5000)
	u := writeFile(t, f, ref, data)
	wantNoFile(t, f, ref)
	noError(t, "Commit", u.Commit(t.Context()))
	wantFile(t, f, ref, data)
	noError(t, "Publish", u.Publish(t.Context()))
	wantFile(t, f, ref, data)
	wantFiles(t, f, publishedInfo(ref, len(data)))
	ref.Attempt = ""
	wantFile(t, f, ref, data)
}

func testPublishLater(t *testing.T, f store.Files) {
	ref, data := newFileRef("a.txt"), fileContents(5, 5000)
	if err := f.Publish(t.Context(), ref); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Publish of nothing: %v, want %v", err, store.ErrNotFound)
	}
	u := writeFile(t, f, ref, data)
	if err := f.Publish(t.Context(), ref); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Publish of uncommitted bytes: %v, want %v", err, store.ErrNotFound)
	}
	noError(t, "Commit", u.Commit(t.Context()))
	noError(t, "Files.Publish", f.Publish(t.Context(), ref))
	noError(t, "Files.Publish again", f.Publish(t.Context(), ref))
	noError(t, "Upload.Publish after it", u.Publish(t.Context()))
	noError(t, "Abort after it", u.Abort())
	wantFile(t, f, ref, data)
	wantFiles(t, f, publishedInfo(ref, len(data)))
}

func testPublishCanceled(t *testing.T, f store.Files) {
	ref, data := newFileRef("a.txt"), fileContents(6, 5000)
	u := commitFile(t, f, ref, data)
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	noError(t, "Publish", u.Publish(gone))
	wantFiles(t, f, publishedInfo(ref, len(data)))
}

func testAbort(t *testing.T, f store.Files) {
	begun := func(ref store.FileRef) store.Upload {
		u, err := f.Create(t.Context(), ref, 2<<20)
		noError(t, "Create", err)
		return u
	}
	written := func(ref store.FileRef) store.Upload { return writeFile(t, f, ref, make([]byte, 2<<20)) }
	committed := func(ref store.FileRef) store.Upload { return commitFile(t, f, ref, make([]byte, 2<<20)) }

	for _, upload := range []func(store.FileRef) store.Upload{begun, written, committed} {
		ref := newFileRef("a")
		u := upload(ref)
		noError(t, "Abort", u.Abort())
		noError(t, "Abort again", u.Abort())
		wantNoFile(t, f, ref)
		if u.Commit(t.Context()) == nil || u.Publish(t.Context()) == nil {
			t.Error("an aborted upload was committed or published")
		}
		if _, err := u.Write([]byte{1}); err == nil {
			t.Error("an aborted upload was written")
		}
	}
	wantFiles(t, f)
}

func testAbortPublished(t *testing.T, f store.Files) {
	ref, data := newFileRef("a"), fileContents(7, 1000)
	u := commitFile(t, f, ref, data)
	noError(t, "Publish", u.Publish(t.Context()))
	noError(t, "Abort", u.Abort())
	wantFile(t, f, ref, data)
}

func testRacingAttempts(t *testing.T, f store.Files) {
	const attempts = 8
	refs := make([]store.FileRef, attempts)
	winner := -1
	var slot sync.Mutex // of several attempts, a slot takes the first
	var wg sync.WaitGroup
	id := newFileRef("").ID
	for i := range refs {
		refs[i] = store.FileRef{ID: id, Name: "a", Attempt: store.NewAttempt()}
		wg.Go(func() {
			u, err := beginFile(t.Context(), f, refs[i], fileContents(uint64(i), 50_000))
			if err == nil {
				defer u.Abort()
				err = u.Commit(t.Context())
			}
			slot.Lock()
			wins := err == nil && winner < 0
			if wins {
				winner = i
			}
			slot.Unlock()
			if wins {
				err = u.Publish(t.Context())
			}
			if err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if winner < 0 {
		t.Fatal("none was committed")
	}
	wantFile(t, f, refs[winner], fileContents(uint64(winner), 50_000))
	wantFiles(t, f, publishedInfo(refs[winner], 50_000))
}

func testDiscard(t *testing.T, f store.Files) {
	ref, data := newFileRef("a"), fileContents(8, 1000)
	publishFile(t, f, ref, data)
	noError(t, "Discard of published bytes", f.Discard(t.Context(), ref))
	noError(t, "Discard of nothing", f.Discard(t.Context(), newFileRef("b")))
	wantFile(t, f, ref, data)

	for _, upload := range []func(store.FileRef) store.Upload{
		func(ref store.FileRef) store.Upload { return writeFile(t, f, ref, make([]byte, 1000)) },
		func(ref store.FileRef) store.Upload { return commitFile(t, f, ref, make([]byte, 1000)) },
	} {
		other := newFileRef("b")
		u := upload(other)
		noError(t, "Discard", f.Discard(t.Context(), store.FileRef{ID: other.ID, Attempt: other.Attempt}))
		if u.Publish(t.Context()) == nil {
			t.Error("discarded bytes were published")
		}
		noError(t, "Abort", u.Abort())
		wantNoFile(t, f, other)
	}
	wantFiles(t, f, publishedInfo(ref, len(data)))
}

func testDelete(t *testing.T, f store.Files) {
	published := newFileRef("a")
	publishFile(t, f, published, make([]byte, 1000))
	committed := newFileRef("b")
	u := commitFile(t, f, committed, make([]byte, 1000))
	nameless := newFileRef("c") // as a listing names unpublished bytes
	defer commitFile(t, f, nameless, make([]byte, 1000)).Abort()

	for _, ref := range []store.FileRef{
		{ID: published.ID, Name: published.Name},
		committed,
		{ID: nameless.ID, Attempt: nameless.Attempt},
		newFileRef("d"),
	} {
		noError(t, "Delete", f.Delete(t.Context(), ref))
		noError(t, "Delete again", f.Delete(t.Context(), ref))
	}
	if err := u.Publish(t.Context()); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Publish of deleted bytes: %v, want %v", err, store.ErrNotFound)
	}
	for _, ref := range []store.FileRef{published, committed, nameless} {
		wantNoFile(t, f, ref)
	}
	wantFiles(t, f)
}

func testDeleteOpen(t *testing.T, f store.Files) {
	ref, data := newFileRef("a"), fileContents(10, 500_000)
	publishFile(t, f, ref, data)
	file, err := f.Open(t.Context(), ref)
	noError(t, "Open", err)
	defer file.Close()
	first := make([]byte, 1000)
	_, err = io.ReadFull(file, first)
	noError(t, "Read", err)

	noError(t, "Delete", f.Delete(t.Context(), ref))
	wantNoFile(t, f, ref)
	rest, err := io.ReadAll(file)
	if err != nil || !bytes.Equal(append(first, rest...), data) {
		t.Errorf("read %d bytes and %v after the deletion", len(rest), err)
	}
}
