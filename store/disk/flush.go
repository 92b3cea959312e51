package disk

import (
	"os"
	"sync"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

// flushWorkers bounds the flushes that wait for the disk at once; each of them
// holds a thread.
const flushWorkers = 16

// flusher brings uploads that finish together to the disk together. While one
// group is flushed the next one gathers, so the busier the disk, the more share
// a flush; an upload that is alone never waits for company.
type flusher struct {
	top  *os.File // the directory of all shards
	jobs chan *flushJob
	quit chan struct{}
	done chan struct{}

	flushGroup func([]*flushJob) // sets their errors
}

// flushJob is a complete part file whose bytes and name are to survive.
type flushJob struct {
	shard *shard
	file  *os.File
	err   error
	done  chan struct{}
}

// newFlusher returns a running flusher for the files below the directory.
func newFlusher(top *os.File) *flusher {
	f := &flusher{
		top:  top,
		jobs: make(chan *flushJob),
		quit: make(chan struct{}),
		done: make(chan struct{}),
	}
	f.flushGroup = f.flushEach
	if syncsTogether(top) {
		f.flushGroup = f.flushEachOrAll()
	}
	go f.run()
	return f
}

// flush returns once the file's bytes and name survive a power cut.
func (f *flusher) flush(s *shard, file *os.File) error {
	job := &flushJob{shard: s, file: file, done: make(chan struct{})}
	select {
	case f.jobs <- job:
		<-job.done
		return job.err
	case <-f.quit:
		return store.ErrClosed
	}
}

func (f *flusher) run() {
	defer close(f.done)
	for {
		select {
		case job := <-f.jobs:
			jobs := f.gather(job)
			f.flushGroup(jobs)
			for _, job := range jobs {
				if job.err == nil {
					job.shard.isNew.Store(false)
				}
				close(job.done)
			}
		case <-f.quit:
			return
		}
	}
}

// gather returns the job and all that wait already.
func (f *flusher) gather(first *flushJob) []*flushJob {
	jobs := []*flushJob{first}
	for {
		select {
		case job := <-f.jobs:
			jobs = append(jobs, job)
		default:
			return jobs
		}
	}
}

// close ends the flusher after the group that it flushes.
func (f *flusher) close() {
	close(f.quit)
	<-f.done
}

// flushEachOrAll returns a function that flushes the whole file system at once
// while uploads come together, and spares one that comes alone what others left
// unwritten. The first of a busy time comes alone too: that the group before it
// had several tells them apart.
func (f *flusher) flushEachOrAll() func([]*flushJob) {
	busy := false
	return func(jobs []*flushJob) {
		several := len(jobs) > 1
		if several || busy {
			f.flushAll(jobs)
		} else {
			f.flushEach(jobs)
		}
		busy = several
	}
}

// flushEach flushes each file, then the directories that name them, each once,
// then the one that names the new ones of these.
func (f *flusher) flushEach(jobs []*flushJob) {
	inParallel(jobs, func(job *flushJob) { job.err = job.file.Sync() })

	byShard := make(map[*shard][]*flushJob, len(jobs))
	firsts := make([]*flushJob, 0, len(jobs))
	var ofNew []*flushJob
	for _, job := range jobs {
		if len(byShard[job.shard]) == 0 {
			firsts = append(firsts, job)
		}
		byShard[job.shard] = append(byShard[job.shard], job)
		if job.shard.isNew.Load() {
			ofNew = append(ofNew, job)
		}
	}
	inParallel(firsts, func(first *flushJob) { fail(byShard[first.shard], first.shard.sync()) })
	if len(ofNew) > 0 {
		fail(ofNew, syncDir(f.top))
	}
}

// fail gives the error, if any, to the jobs that have none.
func fail(jobs []*flushJob, err error) {
	for _, job := range jobs {
		if job.err == nil {
			job.err = err
		}
	}
}

// inParallel calls do for each job, a bounded number of them at once.
func inParallel(jobs []*flushJob, do func(*flushJob)) {
	var wg sync.WaitGroup
	slots := make(chan struct{}, flushWorkers)
	for _, job := range jobs[1:] {
		slots <- struct{}{}
		wg.Go(func() {
			do(job)
			<-slots
		})
	}
	do(jobs[0])
	wg.Wait()
}
