package badger

import (
	"slices"
	"testing"
)

func TestAStoreRestsOnceItWasBusyAndIsQuiet(t *testing.T) {
	const mib = 1 << 20
	for name, tc := range map[string]struct {
		allocated []uint64 // MiB, at one look after the other
		rests     []int    // at which looks
	}{
		"a start, and nothing more":    {[]uint64{40, 40, 40, 40, 40, 40, 40, 40, 40}, []int{1, 5}},
		"a small start":                {[]uint64{10, 10, 10, 10, 10, 10, 10}, nil},
		"busy all the time":            {[]uint64{40, 80, 120, 160}, nil},
		"busy, then quiet":             {[]uint64{40, 80, 120, 120, 120}, []int{3}},
		"busy a second time":           {[]uint64{40, 40, 80, 80, 80, 80, 80, 80, 80}, []int{1, 3, 7}},
		"disturbed before it is again": {[]uint64{40, 40, 40, 40, 42, 42, 42, 42, 42, 42}, []int{1, 8}},
		"a little now and then":        {[]uint64{40, 40, 44, 44, 48, 48, 52, 52, 56, 56, 60, 60}, []int{1, 9}},
		"nothing is known of the use":  {[]uint64{0, 0, 0}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			var r repose
			var rests []int
			for i, allocated := range tc.allocated {
				if r.due(allocated * mib) {
					rests = append(rests, i)
				}
			}
			if !slices.Equal(rests, tc.rests) {
				t.Errorf("it rests at looks %v, want %v", rests, tc.rests)
			}
		})
	}
}

func TestWhatIsAllocatedIsSeen(t *testing.T) {
	before := allocated()
	if seen := make([]byte, 1<<20); allocated() < before+uint64(len(seen)) {
		t.Errorf("%d, and after an allocation of a MiB %d", before, allocated())
	}
}
