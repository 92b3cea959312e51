package badger

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

// craft writes a copy of keys and values, with right checksums.
func craft(t *testing.T, pairs ...string) []byte {
	t.Helper()
	w := bytes.NewBufferString(copyMagic + "\x01")
	f := framer{w: w}
	for i := 0; i < len(pairs); i += 2 {
		if err := f.add([]byte(pairs[i]), []byte(pairs[i+1])); err != nil {
			t.Fatal(err)
		}
		if err := f.flush(); err != nil {
			t.Fatal(err)
		}
	}
	if err := f.end(); err != nil {
		t.Fatal(err)
	}
	return w.Bytes()
}

func TestRestoreRefusesWhatNoBackupHasWritten(t *testing.T) {
	for name, tc := range map[string]struct {
		pairs []string
		want  string // empty is restored
	}{
		"nothing":              {nil, ""},
		"keys in order":        {[]string{"a", "1", "b", "2"}, ""},
		"keys out of order":    {[]string{"b", "1", "a", "2"}, "damaged"},
		"a key twice":          {[]string{"a", "1", "a", "2"}, "damaged"},
		"an empty key":         {[]string{"", "1"}, "damaged"},
		"a newer database":     {[]string{"f", "\x03\x00"}, "format 3"},
		"no format at all":     {[]string{"f", "\x02"}, "damaged"},
		"the format of today":  {[]string{"f", string(encodeFormat(1))}, ""},
		"a frame that is huge": {[]string{"a", strings.Repeat("x", largestFrame)}, "damaged"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "slots")
			err := Restore(dir, bytes.NewReader(craft(t, tc.pairs...)))
			if tc.want == "" && err != nil || tc.want != "" && (err == nil || !strings.Contains(err.Error(), tc.want)) {
				t.Errorf("%v, want %q", err, tc.want)
			}
			if names, _ := filepath.Glob(dir + "*"); (len(names) == 0) != (err != nil) {
				t.Errorf("%v is there", names)
			}
		})
	}
}

// FuzzCopy reads anything as a copy, and as what the frames of one hold: it is
// refused, or its keys are in their order.
func FuzzCopy(f *testing.F) {
	var frame framer
	for _, key := range []string{"a", "b", "f\x02\x00"} {
		_ = frame.add([]byte(key), []byte("value"))
	}
	f.Add(frame.frame)
	f.Add([]byte(copyMagic + "\x01\x00\x00\x00\x00\x00"))
	f.Add([]byte(copyMagic + "\x01\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01\x00\x00\x00\x00"))
	f.Add([]byte("\x01f\x02\x03\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		framed := bytes.NewBufferString(copyMagic + "\x01")
		w := framer{w: framed, frame: bytes.Clone(b)}
		if err := w.end(); err != nil {
			t.Fatal(err)
		}
		for _, whole := range [][]byte{b, framed.Bytes()} {
			var l loader
			_ = readCopy(bytes.NewReader(whole), func(frame []byte) error {
				last := l.last
				return l.each(frame, func(key, _ string) {
					if key <= last {
						t.Errorf("%q comes after %q", key, last)
					}
					last = key
				})
			})
		}
	})
}
