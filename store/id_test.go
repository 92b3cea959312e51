package store_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

var now = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func TestIDsHaveTheirOwnForm(t *testing.T) {
	id, attempt := store.NewID(now), store.NewAttempt()
	if !store.IsID(id) || store.IsAttempt(id) {
		t.Errorf("NewID() = %q", id)
	}
	if !store.IsAttempt(attempt) || store.IsID(attempt) {
		t.Errorf("NewAttempt() = %q", attempt)
	}
	for name, s := range map[string]string{
		"empty":                 "",
		"one too short":         id[1:],
		"one too long":          id + "0",
		"an upper-case letter":  "A" + id[1:],
		"a letter of no digit":  "w" + id[1:],
		"a path":                "/" + id[1:],
		"a dot":                 id[:20] + "." + id[21:],
		"a letter beyond ASCII": "ü" + id[2:],
		"the old app's":         strings.Repeat("a", 32),
	} {
		if store.IsID(s) {
			t.Errorf("IsID takes %s: %q", name, s)
		}
	}
}

func TestIDsAreNotGuessed(t *testing.T) {
	seen := make(map[string]bool)
	for range 1000 {
		id, attempt := store.NewID(now), store.NewAttempt()
		if seen[id] || seen[attempt] || seen[id[:store.AttemptLen]] {
			t.Fatalf("%q or %q came twice", id, attempt)
		}
		seen[id], seen[attempt], seen[id[:store.AttemptLen]] = true, true, true
	}
}

// An ID must differ from another one of the same moment in every character of
// its random part, some time: a constant one would carry no randomness.
func TestIDsAreRandomInEveryCharacter(t *testing.T) {
	first := store.NewID(now)
	varied := make([]bool, store.AttemptLen)
	for range 1000 {
		id := store.NewID(now)
		for i := range varied {
			varied[i] = varied[i] || id[i] != first[i]
		}
	}
	if slices.Contains(varied, false) {
		t.Errorf("constant characters: %v", varied)
	}
}

func TestTimeOrderedSortsByTime(t *testing.T) {
	// The last moment that fits is in the year 3084.
	moments := rapid.Int64Range(0, 1<<45-1)
	rapid.Check(t, func(t *rapid.T) {
		a, b := time.UnixMilli(moments.Draw(t, "a")), time.UnixMilli(moments.Draw(t, "b"))
		idA, idB := store.NewID(a), store.NewID(b)
		keyA, keyB := store.TimeOrdered(idA), store.TimeOrdered(idB)
		if got := store.FromTimeOrdered(keyA); got != idA {
			t.Errorf("FromTimeOrdered(%q) = %q, want %q", keyA, got, idA)
		}
		if a.Before(b) && keyA >= keyB || b.Before(a) && keyB >= keyA {
			t.Errorf("%v and %v are ordered as %q and %q", a, b, keyA, keyB)
		}
		if !strings.HasPrefix(keyA, store.TimePrefix(a)) {
			t.Errorf("%q does not begin with TimePrefix %q", keyA, store.TimePrefix(a))
		}
	})
}

func TestAClockBeforeTheEpochStillGivesIDs(t *testing.T) {
	for _, when := range []time.Time{{}, time.Unix(-1, 0)} {
		if id := store.NewID(when); !store.IsID(id) {
			t.Errorf("NewID(%v) = %q", when, id)
		}
	}
}
