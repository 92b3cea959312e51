package storetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// Files checks that a store keeps the promises of store.Files. Each test calls
// open for an empty store of its own, which open closes by t.Cleanup.
func Files(t *testing.T, open func(t testing.TB) store.Files) {
	for _, test := range []struct {
		name string
		run  func(*testing.T, store.Files)
	}{
		{"returns what was written, byte for byte", testContents},
		{"reads from any offset", testSeek},
		{"takes the announced size only", testSize},
		{"lets one attempt be uploaded once", testSameAttempt},
		{"opens committed bytes, published or not", testOpenCommitted},
		{"publishes what a dead process committed", testPublishLater},
		{"publishes although the client has gone", testPublishCanceled},
		{"keeps nothing of an aborted upload", testAbort},
		{"keeps what was published when Abort follows", testAbortPublished},
		{"keeps the winner of racing uploads", testRacingAttempts},
		{"discards unpublished bytes only", testDiscard},
		{"deletes published and unpublished bytes", testDelete},
		{"lets readers of a deleted file go on", testDeleteOpen},
		{"lists in pages of any size", testListPages},
		{"lists what stays once while files come and go", testListChanging},
		{"lists no upload in progress", testListInProgress},
		{"calls each file another name", testListPaths},
		{"gives web servers a plain path", testPath},
		{"refuses references of foreign form", testHostile},
		{"counts reserved room as free", testFree},
		{"does nothing once its context has ended", testCanceled},
		{"serves many at once", testMany},
	} {
		t.Run(test.name, func(t *testing.T) { test.run(t, open(t)) })
	}
}

func newFileRef(name string) store.FileRef {
	return store.FileRef{ID: store.NewID(time.Now()), Name: name, Attempt: store.NewAttempt()}
}

// fileContents returns n bytes that differ by seed.
func fileContents(seed uint64, n int) []byte {
	random := rand.New(rand.NewPCG(seed, uint64(n)))
	data := make([]byte, n)
	for i := range data {
		data[i] = byte(random.Uint32())
	}
	return data
}

// beginFile begins an upload and writes all of data, but commits nothing.
func beginFile(ctx context.Context, f store.Files, ref store.FileRef, data []byte) (store.Upload, error) {
	u, err := f.Create(ctx, ref, int64(len(data)))
	if err != nil {
		return nil, fmt.Errorf("Create: %w", err)
	}
	for chunk := range slices.Chunk(data, 100_000) {
		if n, err := u.Write(chunk); n != len(chunk) || err != nil {
			return nil, errors.Join(fmt.Errorf("Write = %d, %w, want %d", n, err, len(chunk)), u.Abort())
		}
	}
	return u, nil
}

func writeFile(t testing.TB, f store.Files, ref store.FileRef, data []byte) store.Upload {
	t.Helper()
	u, err := beginFile(t.Context(), f, ref, data)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

func commitFile(t testing.TB, f store.Files, ref store.FileRef, data []byte) store.Upload {
	t.Helper()
	u := writeFile(t, f, ref, data)
	noError(t, "Commit", u.Commit(t.Context()))
	return u
}

func publishFile(t testing.TB, f store.Files, ref store.FileRef, data []byte) {
	t.Helper()
	u := commitFile(t, f, ref, data)
	noError(t, "Publish", u.Publish(t.Context()))
}

func noError(t testing.TB, what string, err error) {
	t.Helper()
	if err != nil {
		t.Fatalf("%s: %v", what, err)
	}
}

func wantFile(t testing.TB, f store.Files, ref store.FileRef, want []byte) {
	t.Helper()
	file, err := f.Open(t.Context(), ref)
	if err != nil {
		t.Fatalf("Open: %v", err)
	}
	defer file.Close()
	if file.Size() != int64(len(want)) {
		t.Errorf("Size = %d, want %d", file.Size(), len(want))
	}
	got, err := io.ReadAll(file)
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("read %d bytes, %v, that are not the %d written", len(got), err, len(want))
	}
}

func wantNoFile(t testing.TB, f store.Files, ref store.FileRef) {
	t.Helper()
	file, err := f.Open(t.Context(), ref)
	if err == nil {
		file.Close()
	}
	if !errors.Is(err, store.ErrNotFound) {
		t.Errorf("Open: %v, want %v", err, store.ErrNotFound)
	}
}

// listFiles reads all pages of a size; between is called after each. Paths are
// the store's own, so they must be there, and are left out of what it returns.
func listFiles(t testing.TB, f store.Files, limit int, between func()) []store.FileInfo {
	t.Helper()
	var all []store.FileInfo
	for after := ""; ; {
		page, next, err := f.List(t.Context(), after, limit)
		noError(t, "List", err)
		if len(page) > limit {
			t.Fatalf("a page of %d files, limit is %d", len(page), limit)
		}
		if next == after && next != "" {
			t.Fatalf("cursor %q does not move on", next)
		}
		for i := range page {
			if page[i].Path == "" {
				t.Errorf("%+v has no path", page[i])
			}
			page[i].Path = ""
		}
		all = append(all, page...)
		if next == "" {
			return all
		}
		after = next
		between()
	}
}

func wantFiles(t testing.TB, f store.Files, want ...store.FileInfo) {
	t.Helper()
	got := listFiles(t, f, 100, func() {})
	byID := func(a, b store.FileInfo) int { return strings.Compare(a.ID+a.Attempt, b.ID+b.Attempt) }
	slices.SortFunc(got, byID)
	slices.SortFunc(want, byID)
	if !slices.Equal(got, want) {
		t.Errorf("listed %+v,\nwant %+v", got, want)
	}
}

// publishedInfo returns what a listing tells of the published file.
func publishedInfo(ref store.FileRef, size int) store.FileInfo {
	return store.FileInfo{FileRef: store.FileRef{ID: ref.ID, Name: ref.Name}, Size: int64(size), Published: true}
}
