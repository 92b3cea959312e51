package disk

import (
	"strings"
	"testing"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

const (
	testID      = "0123456789abcdefghijklmnopqrstuv012"
	testAttempt = "0123456789abcdefghijklmnop"
)

func FuzzParseName(f *testing.F) {
	for _, name := range []string{
		testID + "-image.png", testID + "-a-b.part", "." + testID + "." + testAttempt + ".part",
		"." + testID + "..part", testID + "-", testID + "-..", "-a", ".part", "", ".lock", "lost+found",
		testID + "-a/../b", "." + testID + "." + testAttempt + ".part.part", strings.Repeat("a", 300),
	} {
		f.Add(name)
	}
	f.Fuzz(func(t *testing.T, name string) {
		info, ok := parseName(name)
		if !ok {
			return
		}
		again := partName(info.FileRef)
		if info.Published {
			again = publishedName(info.FileRef)
		}
		if again != name {
			t.Errorf("%q is parsed as %+v, whose name is %q", name, info, again)
		}
		if len(name) > 255 || strings.ContainsAny(name, "/\\\x00") || name == "." || name == ".." {
			t.Errorf("%q is no name of a file of ours", name)
		}
	})
}

func TestParseName(t *testing.T) {
	for _, test := range []struct {
		name string
		want store.FileInfo
		ok   bool
	}{
		{testID + "-image.png", store.FileInfo{FileRef: store.FileRef{ID: testID, Name: "image.png"}, Published: true}, true},
		{testID + "-a-b.part", store.FileInfo{FileRef: store.FileRef{ID: testID, Name: "a-b.part"}, Published: true}, true},
		{"." + testID + "." + testAttempt + ".part", store.FileInfo{FileRef: store.FileRef{ID: testID, Attempt: testAttempt}}, true},
		{testID + "-", store.FileInfo{}, false},
		{testID + "-.hidden", store.FileInfo{}, false},
		{"." + testID + "." + testAttempt, store.FileInfo{}, false},
		{".lock", store.FileInfo{}, false},
		{"index.html", store.FileInfo{}, false},
	} {
		got, ok := parseName(test.name)
		if ok != test.ok || ok && got != test.want {
			t.Errorf("parseName(%q) = %+v, %t, want %+v, %t", test.name, got, ok, test.want, test.ok)
		}
	}
}
