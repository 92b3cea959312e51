package store

import "sync"

// Pool shares what only one may have open at a time, such as a database
// directory, among all who name the same key. The zero value is ready.
//
// Caddy provisions a new configuration before it cleans up the old one, whose
// requests may go on long after that. So configurations and requests each hold
// a reference of their own, and the last one to release it closes.
type Pool[T any] struct {
	mu      sync.Mutex
	entries map[string]*entry[T]
}

type entry[T any] struct {
	value T
	close func() error
	refs  int           // guarded by Pool.mu
	ready chan struct{} // closed once value is open or err is set
	gone  chan struct{} // closed once value is closed
	err   error
}

// Ref is a reference to something that a Pool shares.
type Ref[T any] struct {
	// Value is what is shared. It must not be used after Release.
	Value T

	pool  *Pool[T]
	key   string
	entry *entry[T]
	once  sync.Once
	err   error
}

// Acquire returns a reference to what key names. If nobody holds one, open is
// called, after what key named before has been closed to its end. An error of
// open goes to all who wait for it, and the next Acquire tries again.
func (p *Pool[T]) Acquire(key string, open func() (value T, close func() error, err error)) (*Ref[T], error) {
	for {
		p.mu.Lock()
		e := p.entries[key]
		if e == nil {
			e = &entry[T]{refs: 1, ready: make(chan struct{}), gone: make(chan struct{})}
			if p.entries == nil {
				p.entries = make(map[string]*entry[T])
			}
			p.entries[key] = e
			p.mu.Unlock()

			e.value, e.close, e.err = open()
			if e.err != nil {
				p.remove(key, e)
			}
			close(e.ready)
			return p.ref(key, e)
		}
		if e.refs > 0 {
			e.refs++
			p.mu.Unlock()
			<-e.ready
			return p.ref(key, e)
		}
		p.mu.Unlock()
		<-e.gone
	}
}

func (p *Pool[T]) ref(key string, e *entry[T]) (*Ref[T], error) {
	if e.err != nil {
		return nil, e.err
	}
	return &Ref[T]{Value: e.value, pool: p, key: key, entry: e}, nil
}

func (p *Pool[T]) remove(key string, e *entry[T]) {
	p.mu.Lock()
	delete(p.entries, key)
	p.mu.Unlock()
	close(e.gone)
}

// Hold returns another reference to the same value. It must be called before
// Release, and the new one is released on its own.
func (r *Ref[T]) Hold() *Ref[T] {
	r.pool.mu.Lock()
	defer r.pool.mu.Unlock()
	r.entry.refs++
	return &Ref[T]{Value: r.Value, pool: r.pool, key: r.key, entry: r.entry}
}

// Release gives the reference back. The last one closes what was shared and
// returns the error of closing. A second call does nothing.
func (r *Ref[T]) Release() error {
	r.once.Do(func() {
		r.pool.mu.Lock()
		r.entry.refs--
		last := r.entry.refs == 0
		r.pool.mu.Unlock()
		if last {
			r.err = r.entry.close()
			r.pool.remove(r.key, r.entry)
		}
	})
	return r.err
}
