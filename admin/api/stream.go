package api

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"
	"time"

	"go.uber.org/zap"

	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

const (
	// progressInterval is the least time between two lines of progress.
	progressInterval = 200 * time.Millisecond
	// writePatience is how long a client may take none of what it is sent.
	writePatience = time.Minute
)

// allowWrite gives the client time for what is written next.
func (r *request) allowWrite() {
	_ = http.NewResponseController(r.w).SetWriteDeadline(time.Now().Add(writePatience))
}

// lasting answers with what work returns. With progress=true the answer is the
// last of several lines: those before it tell how much is done. An error of
// the work is then such a line too, since the status was sent before.
func (r *request) lasting(work func(context.Context, cleanup.Progress) (any, error)) error {
	progress := r.boolean("progress", false)
	if r.wrong != nil {
		return r.wrong
	}
	if !progress {
		return r.answer(work(r.Context(), nil))
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	r.header("application/x-ndjson")
	l := &lines{request: r, cancel: cancel}
	answer, err := work(ctx, l.progress)
	if err != nil {
		answer = struct {
			Error string `json:"error"`
		}{err.Error()}
	}
	l.write(answer)
	return nil
}

// lines is an answer of several lines.
type lines struct {
	*request
	// cancel ends the work if nobody reads of it.
	cancel context.CancelFunc
	mu     sync.Mutex
	last   time.Time
}

func (l *lines) progress(done, total int64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); now.Sub(l.last) >= progressInterval {
		l.last = now
		l.write(struct {
			Done  int64 `json:"done"`
			Total int64 `json:"total"`
		}{done, total})
	}
}

func (l *lines) write(v any) {
	line, err := json.Marshal(v)
	if err == nil {
		l.allowWrite()
		_, err = l.w.Write(append(line, '\n'))
	}
	if err == nil {
		err = http.NewResponseController(l.w).Flush()
	}
	if err != nil {
		l.cancel()
	}
}

// backup sends a copy of the slots. An error in the middle breaks the
// connection off before the last chunk, so that no client takes what it has for
// the whole.
func backup(r *request) error {
	w := &copyWriter{request: r}
	err := r.stores.Backup(r.Context(), w)
	if err != nil && w.begun {
		logger().Error("a backup broke off", zap.Error(err))
		panic(http.ErrAbortHandler)
	}
	return err
}

// copyWriter gives each piece its time.
type copyWriter struct {
	*request
	begun bool
}

func (c *copyWriter) Write(b []byte) (int, error) {
	if !c.begun {
		c.begun = true
		c.header("application/octet-stream")
	}
	c.allowWrite()
	return c.w.Write(b)
}
