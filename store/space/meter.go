package space

import (
	"sync/atomic"
	"time"
)

// recently is how old a measurement may be that is good enough for those who
// only look.
const recently = 10 * time.Millisecond

// Meter spares those who look often the asking of the system. It is safe for
// concurrent use.
type Meter struct {
	measure func() (int64, error)
	last    atomic.Pointer[measurement]
}

// measurement is how many bytes were free at a time.
type measurement struct {
	at   time.Time
	free int64
}

// NewMeter returns a Meter of what measure returns.
func NewMeter(measure func() (int64, error)) *Meter { return &Meter{measure: measure} }

// Measure measures now.
func (m *Meter) Measure() (int64, error) {
	free, err := m.measure()
	if err != nil {
		return 0, err
	}
	m.last.Store(&measurement{time.Now(), free})
	return free, nil
}

// Recent returns what was measured a moment ago, or measures.
func (m *Meter) Recent() (int64, error) {
	if last := m.last.Load(); last != nil && time.Since(last.at) < recently {
		return last.free, nil
	}
	return m.Measure()
}

// Forget makes the next look a measurement: some space has become free.
func (m *Meter) Forget() { m.last.Store(nil) }
