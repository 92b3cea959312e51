//go:build linux

package disk

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// flushJobs returns jobs in shards of a new store, one per name, which
// begins with the shard.
func flushJobs(t *testing.T, f *Files, names ...string) []*flushJob {
	t.Helper()
	var jobs []*flushJob
	for _, name := range names {
		s, err := f.shard(name[:shardChars], true)
		if err != nil {
			t.Fatal(err)
		}
		file, err := os.Create(filepath.Join(f.dir, s.name, name))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		jobs = append(jobs, &flushJob{shard: s, file: file})
	}
	return jobs
}

func failures(jobs []*flushJob) (failed []int) {
	for i, job := range jobs {
		if job.err != nil {
			failed = append(failed, i)
		}
	}
	return failed
}

func TestFailedFlushFailsAllThatReliedOnIt(t *testing.T) {
	closed := func(c interface{ Close() error }) {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	for _, test := range []struct {
		name  string
		flush func(f *Files, jobs []*flushJob)
		want  []int
	}{
		{"each, nothing fails", func(f *Files, jobs []*flushJob) { f.flusher.flushEach(jobs) }, nil},
		{"each, one file fails", func(f *Files, jobs []*flushJob) {
			closed(jobs[1].file)
			f.flusher.flushEach(jobs)
		}, []int{1}},
		{"each, one directory fails", func(f *Files, jobs []*flushJob) {
			closed(jobs[0].shard.root)
			f.flusher.flushEach(jobs)
		}, []int{0, 2}},
		{"each, the name of a new directory fails", func(f *Files, jobs []*flushJob) {
			jobs[1].shard.isNew.Store(false)
			f.flusher.top = closedDir(t, f)
			f.flusher.flushEach(jobs)
		}, []int{0, 2}},
		{"all, nothing fails", func(f *Files, jobs []*flushJob) { f.flusher.flushAll(jobs) }, nil},
		{"all, one file fails", func(f *Files, jobs []*flushJob) {
			closed(jobs[1].file)
			f.flusher.flushAll(jobs)
		}, []int{1}},
		{"all, the file system fails", func(f *Files, jobs []*flushJob) {
			f.flusher.top = closedDir(t, f)
			f.flusher.flushAll(jobs)
		}, []int{0, 1, 2}},
	} {
		t.Run(test.name, func(t *testing.T) {
			f, err := Open(t.TempDir(), false)
			if err != nil {
				t.Fatal(err)
			}
			defer f.Close()
			jobs := flushJobs(t, f, "aa1", "bb2", "aa3")
			test.flush(f, jobs)
			if got := failures(jobs); !slices.Equal(got, test.want) {
				t.Errorf("uploads %v failed, want %v", got, test.want)
			}
		})
	}
}

func closedDir(t *testing.T, f *Files) *os.File {
	t.Helper()
	top, err := f.root.Open(".")
	if err == nil {
		err = top.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return top
}

// A directory of files is new until its name came to the disk with an upload.
func TestNameOfANewDirectoryIsFlushed(t *testing.T) {
	f, err := Open(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bad := errors.New("bad disk")
	flushGroup := f.flusher.flushGroup
	f.flusher.flushGroup = func(jobs []*flushJob) { jobs[0].err = bad }
	ref := store.FileRef{ID: store.NewID(time.Now()), Name: "a"}
	for _, want := range []error{bad, nil} {
		ref.Attempt = store.NewAttempt()
		u, err := f.create(t.Context(), ref, 0)
		if err != nil {
			t.Fatal(err)
		}
		if !u.shard.isNew.Load() {
			t.Error("a directory whose name was not flushed counts as flushed")
		}
		if err := u.Commit(t.Context()); !errors.Is(err, want) {
			t.Errorf("Commit: %v, want %v", err, want)
		}
		if u.shard.isNew.Load() != (want != nil) {
			t.Errorf("after %v the directory's name is to be flushed: %v", want, u.shard.isNew.Load())
		}
		if err := u.Abort(); err != nil {
			t.Error(err)
		}
		f.flusher.flushGroup = flushGroup
	}
}

func TestFailedFlushIsNeverCalledGood(t *testing.T) {
	f, err := Open(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	bad := errors.New("bad disk")
	f.flusher.flushGroup = func(jobs []*flushJob) { jobs[0].err = bad }
	u, err := f.create(t.Context(), store.FileRef{ID: store.NewID(time.Now()), Name: "a", Attempt: store.NewAttempt()}, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := u.Commit(t.Context()); !errors.Is(err, bad) {
		t.Errorf("Commit: %v, want %v", err, bad)
	}
	f.flusher.flushGroup = func([]*flushJob) {}
	if u.Commit(t.Context()) == nil || u.Publish(t.Context()) == nil {
		t.Error("what a failed flush wrote was committed or published")
	}
	if err := u.Abort(); err != nil {
		t.Error(err)
	}
}

// TestFailedPublishKeepsTheBytes: their slot is used, so somebody will ask for
// them.
func TestFailedPublishKeepsTheBytes(t *testing.T) {
	f, err := Open(t.TempDir(), false)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	ref := store.FileRef{ID: store.NewID(time.Now()), Name: "a", Attempt: store.NewAttempt()}
	u, err := f.create(t.Context(), ref, 0)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(u.Commit(t.Context()), u.shard.root.Close()); err != nil {
		t.Fatal(err)
	}
	if u.Publish(t.Context()) == nil {
		t.Error("published in a closed directory")
	}
	if u.shard.root, err = f.root.OpenRoot(u.shard.name); err != nil {
		t.Fatal(err)
	}
	if err := u.Abort(); err != nil {
		t.Fatal(err)
	}
	file, err := f.Open(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	file.Close()
}

func TestUploadsThatWaitShareAFlush(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &flusher{jobs: make(chan *flushJob), quit: make(chan struct{}), done: make(chan struct{})}
		var groups []int
		release := make(chan struct{})
		f.flushGroup = func(jobs []*flushJob) {
			groups = append(groups, len(jobs))
			<-release
		}
		go f.run()
		flush := func() {
			if err := f.flush(new(shard), nil); err != nil {
				t.Error(err)
			}
		}
		go flush()
		synctest.Wait()
		for range 5 {
			go flush()
		}
		synctest.Wait()
		release <- struct{}{}
		release <- struct{}{}
		synctest.Wait()
		f.close()
		if !slices.Equal(groups, []int{1, 5}) {
			t.Errorf("groups of %v, want one alone and the five that waited", groups)
		}
	})
}

func TestKernelSince(t *testing.T) {
	if !kernelSince(2, 6) || kernelSince(99, 0) {
		t.Error("the kernel's version is misread")
	}
}
