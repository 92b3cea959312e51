package badger

import (
	"container/heap"
	"time"
)

// waiting sums up, over all JIDs, the slots that wait for their upload. Slots
// lapse without anybody touching them, so the sums are kept by the second of
// their deadline: right within a second, at a cost that does not depend on how
// many wait.
type waiting struct {
	// bySecond is what the database knows: every waiting slot, by the second
	// in which it lapses, until its record is removed.
	bySecond map[int64]sum
	// inFlight is the part of bySecond that does not lapse, since an upload
	// to it is in flight.
	inFlight map[int64]sum
	// ahead are the seconds of bySecond that have not passed yet.
	ahead   seconds
	passed  int64
	active  sum // lapses later, no upload in flight
	flights sum
}

// disorder is how many seconds the time of one caller may be before that of the
// one before it, with no clock set back.
const disorder = 2

func newWaiting() *waiting {
	return &waiting{bySecond: make(map[int64]sum), inFlight: make(map[int64]sum)}
}

// lapseSecond is the first whole second at which the deadline has passed.
func lapseSecond(deadline time.Time) int64 {
	return deadline.Add(time.Second - 1).Unix()
}

// add changes the sums of a second and returns its new value.
func (w *waiting) add(second, n, bytes int64) sum {
	s, known := w.bySecond[second]
	if !known && second > w.passed {
		heap.Push(&w.ahead, second)
	}
	s = s.add(n, bytes)
	w.bySecond[second] = s
	if second > w.passed {
		w.active = w.active.add(n, bytes)
	} else if s == (sum{}) {
		delete(w.bySecond, second)
	}
	return s
}

// hold moves a slot from those that lapse to those that do not, or back.
func (w *waiting) hold(second, n, bytes int64) {
	w.flights = w.flights.add(n, bytes)
	held := w.inFlight[second].add(n, bytes)
	if held == (sum{}) {
		delete(w.inFlight, second)
	} else {
		w.inFlight[second] = held
	}
	if second > w.passed {
		w.active = w.active.add(-n, -bytes)
	}
}

// at returns the sum at now.
func (w *waiting) at(now time.Time) sum {
	if now.Unix() < w.passed-disorder {
		w.rewind(now)
	}
	for len(w.ahead) > 0 && w.ahead[0] <= now.Unix() {
		second := heap.Pop(&w.ahead).(int64)
		w.passed = max(w.passed, second)
		lapsed, held := w.bySecond[second], w.inFlight[second]
		w.active = w.active.add(held.n-lapsed.n, held.bytes-lapsed.bytes)
		if lapsed == (sum{}) {
			delete(w.bySecond, second)
		}
	}
	return w.active.add(w.flights.n, w.flights.bytes)
}

// rewind has the seconds after now lie ahead again, since the clock was set back.
// What lapsed in them while the clock was there counts until they come again, or
// clean-up removes it.
func (w *waiting) rewind(now time.Time) {
	w.passed, w.active, w.ahead = now.Unix(), sum{}, w.ahead[:0]
	for second, s := range w.bySecond {
		if second > w.passed {
			held := w.inFlight[second]
			w.active = w.active.add(s.n-held.n, s.bytes-held.bytes)
			w.ahead = append(w.ahead, second)
		}
	}
	heap.Init(&w.ahead)
}

// seconds is a heap of them.
type seconds []int64

func (s seconds) Len() int           { return len(s) }
func (s seconds) Less(i, j int) bool { return s[i] < s[j] }
func (s seconds) Swap(i, j int)      { s[i], s[j] = s[j], s[i] }
func (s *seconds) Push(x any)        { *s = append(*s, x.(int64)) }
func (s *seconds) Pop() any {
	last := len(*s) - 1
	x := (*s)[last]
	*s = (*s)[:last]
	return x
}
