package disk

import "sync"

// active is the set of this process's uploads in progress, by attempt.
type active struct {
	mu        sync.Mutex
	committed map[string]bool
}

// enter notes an upload, before anything of it can be listed. It is false if
// the attempt has one already.
func (a *active) enter(attempt string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	if _, ok := a.committed[attempt]; ok {
		return false
	}
	if a.committed == nil {
		a.committed = make(map[string]bool)
	}
	a.committed[attempt] = false
	return true
}

// commit notes that the upload's bytes are complete.
func (a *active) commit(attempt string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.committed[attempt] = true
}

// leave forgets the upload, after it was published or its part file removed.
func (a *active) leave(attempt string) {
	a.mu.Lock()
	defer a.mu.Unlock()
	delete(a.committed, attempt)
}

// has reports whether the upload is in progress.
func (a *active) has(attempt string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	_, ok := a.committed[attempt]
	return ok
}

// writing reports whether the upload is in progress and not committed yet.
func (a *active) writing(attempt string) bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	committed, ok := a.committed[attempt]
	return ok && !committed
}
