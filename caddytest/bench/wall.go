package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"sync"
	"sync/atomic"
	"time"
)

const (
	wallSize    = 100 << 10 // of a file, as in put-small
	wallWriters = 8
	logSize     = 64 << 20
	recordSize  = 300
)

// wall compares ways to make small files durable, with nothing around them: no
// HTTP, no slots. The first one is what an upload does. They write, make names
// and share flushes as a server does whose clients wait for them.
func wall(b *bench) ([]side, error) {
	way := func(name string, open func(*ways) (flush, record trip, err error)) side {
		return single(name, func() (float64, error) { return b.writeFiles(open) })
	}
	return []side{
		way("a flush, then that of a record", func(w *ways) (trip, trip, error) {
			record, err := w.log("records")
			return w.shared(w.flushAll), w.shared(record), err
		}),
		way("a flush alone", func(w *ways) (trip, trip, error) { return w.shared(w.flushAll), nothing, nil }),
		way("flush of one log of bytes", func(w *ways) (trip, trip, error) {
			bytes, err := w.log("bytes")
			return w.shared(bytes), nothing, err
		}),
		way("no flush", func(*ways) (trip, trip, error) { return nothing, nothing, nil }),
	}, nil
}

// trip returns when the bytes are where they should be.
type trip func([]byte) error

func nothing([]byte) error { return nil }

// ways make trips to the disk of a directory.
type ways struct {
	dir  *os.File
	ends []func() error
}

// writeFiles returns how many files the writers make in a second.
func (b *bench) writeFiles(open func(*ways) (flush, record trip, err error)) (perSecond float64, err error) {
	name, err := os.MkdirTemp(b.dir, "wall-")
	if err != nil {
		return 0, err
	}
	dir, err := os.Open(name)
	if err != nil {
		return 0, err
	}
	w := &ways{dir: dir, ends: []func() error{dir.Close}}
	defer func() { err = errors.Join(err, w.end()) }()
	flush, record, err := open(w)
	if err := errors.Join(err, makeShards(name), flushDisk()); err != nil {
		return 0, err
	}
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(runtime.NumCPU()))
	var writers sync.WaitGroup
	var next atomic.Int64
	errs, count := make([]error, wallWriters), int64(b.of(2000))
	begun := time.Now()
	for i := range errs {
		writers.Go(func() {
			body := make([]byte, wallSize)
			for n := next.Add(1); n <= count && errs[i] == nil; n = next.Add(1) {
				errs[i] = writeFile(shardFile(name, n), body, flush, record)
			}
		})
	}
	writers.Wait()
	return float64(count) / time.Since(begun).Seconds(), errors.Join(errs...)
}

// shardFile spreads files over the directories that makeShards makes.
func shardFile(dir string, n int64) string {
	return filepath.Join(dir, fmt.Sprintf("%d%d", n%10, n/10%10), fmt.Sprint(n))
}

// writeFile is an upload without a client.
func writeFile(name string, body []byte, flush, record trip) error {
	part, err := os.OpenFile(name+".part", os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = part.Write(body)
	if err := errors.Join(err, flush(body), part.Close()); err != nil {
		return err
	}
	if err := record(make([]byte, recordSize)); err != nil {
		return err
	}
	return os.Rename(part.Name(), name)
}

// flushAll flushes all that was written to the file system.
func (w *ways) flushAll([][]byte) error { return flushFileSystem(w.dir) }

// log makes a log whose space is written already, so that to overwrite it
// changes nothing else on the disk, and returns how to append to it.
func (w *ways) log(name string) (appendAll func([][]byte) error, err error) {
	file, err := os.Create(filepath.Join(w.dir.Name(), name))
	if err != nil {
		return nil, err
	}
	w.ends = append(w.ends, file.Close)
	if _, err := file.Write(make([]byte, logSize)); err != nil {
		return nil, err
	}
	var at int64
	return func(all [][]byte) error {
		for _, data := range all {
			if at+int64(len(data)) > logSize {
				at = 0
			}
			if _, err := file.WriteAt(data, at); err != nil {
				return err
			}
			at += int64(len(data))
		}
		return flushBytes(file)
	}, nil
}

// errand is a trip that waits for its turn.
type errand struct {
	data []byte
	done chan error
}

// shared returns a trip that all who wait make together.
func (w *ways) shared(do func([][]byte) error) trip {
	errands := make(chan errand)
	w.ends = append(w.ends, func() error { close(errands); return nil })
	go func() {
		for first := range errands {
			group, data := []errand{first}, [][]byte{first.data}
			for waiting := true; waiting; {
				select {
				case e := <-errands:
					group, data = append(group, e), append(data, e.data)
				default:
					waiting = false
				}
			}
			err := do(data)
			for _, e := range group {
				e.done <- err
			}
		}
	}()
	return func(data []byte) error {
		e := errand{data, make(chan error, 1)}
		errands <- e
		return <-e.done
	}
}

func (w *ways) end() (err error) {
	for _, end := range w.ends {
		err = errors.Join(err, end())
	}
	return err
}
