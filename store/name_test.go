package store_test

import (
	"strings"
	"testing"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/caddy-xmpp/xmpp-upload/store"
)

func TestCleanName(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"leaves an ordinary name alone", "a file ü 日本 (1)+&=%~'!*;:@,$#?[]\"<>|^`{}.pdf", "a file ü 日本 (1)+&=%~'!*;:@,$#?[]\"<>|^`{}.pdf"},
		{"turns path separators into underscores", `../../etc\passwd`, `.._.._etc_passwd`},
		{"drops control characters", "a\x00b\tc\rd\ne\x7ff\u0085g.txt", "abcdefg.txt"},
		{"drops line and paragraph separators", "a\u2028b\u2029c", "abc"},
		{"drops what turns the direction of text", "a\u202egnp.exe\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u2066\u2067\u2068\u2069", "agnp.exe"},
		{"drops invisible characters", "\ufeffa\u200bb\u2060c\u00add\U000e0041", "abcd"},
		{"keeps joiners, which words and emoji need", "می\u200cخواهم👩\u200d🚀.jpg", "می\u200cخواهم👩\u200d🚀.jpg"},
		{"keeps visible signs of the format class", "\u0600١٢", "\u0600١٢"},
		{"turns invalid UTF-8 into an underscore", "a\xffb\xc3.txt", "a_b_.txt"},
		{"may leave nothing", "\u202e\n", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := store.CleanName(tc.in); got != tc.want {
				t.Errorf("CleanName(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

func TestURLName(t *testing.T) {
	for _, tc := range []struct{ name, in, want string }{
		{"leaves a plain name alone", "IMG_2024-01-02.tar.gz", "IMG_2024-01-02.tar.gz"},
		{"turns a run of other characters into one underscore", "a file ü 日本 (1)+&=.pdf", "a_file_1_.pdf"},
		{"keeps underscores that were there", "a__b", "a__b"},
		{"keeps the extension of a name it cannot show", "日本.pdf", "file.pdf"},
		{"keeps the extension of a name that is nothing else", ".pdf", "file.pdf"},
		{"wants a letter or digit before the extension", "_-_.pdf", "file.pdf"},
		{"drops leading dots", "..tar.gz", "tar.gz"},
		{"drops trailing dots, which clients cut off links", "a.txt..", "a.txt"},
		{"never leaves the directory", "..", "file"},
		{"names what has no name", "", "file"},
		{"names what has no letter", "日本", "file"},
		{"shortens a long name before its extension", strings.Repeat("x", 300) + ".jpeg", strings.Repeat("x", 195) + ".jpeg"},
		{"shortens a long name without extension", strings.Repeat("x", 300), strings.Repeat("x", 200)},
		{"shortens an endless extension", "ab." + strings.Repeat("x", 300), "ab." + strings.Repeat("x", 195)},
		{"names what shortening leaves without a letter", strings.Repeat("_", 300) + "a.png", "file.png"},
		{"drops invalid UTF-8", "a\xff\xfe.txt", "a_.txt"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := store.URLName(tc.in); got != tc.want {
				t.Errorf("URLName(%q) = %q, want %q", tc.in, got, tc.want)
			}
		})
	}
}

func TestIsURLName(t *testing.T) {
	for in, want := range map[string]bool{
		"a.txt": true, "___.pdf": true, "a..b": true, strings.Repeat("x", 200): true,
		"": false, ".a": false, "..": false, "a/b": false, `a\b`: false, "a b": false, "a%20b": false,
		"ü": false, "a\x00": false, strings.Repeat("x", 201): false,
	} {
		if got := store.IsURLName(in); got != want {
			t.Errorf("IsURLName(%q) = %t, want %t", in, got, want)
		}
	}
}

func checkName(t rapid.TB, s string) {
	t.Helper()
	clean := store.CleanName(s)
	if again := store.CleanName(clean); again != clean {
		t.Errorf("cleaning %q twice: %q, then %q", s, clean, again)
	}
	if !utf8.ValidString(clean) || strings.ContainsAny(clean, "/\\\r\n\x00\u202e\u2028") {
		t.Errorf("CleanName(%q) = %q", s, clean)
	}
	for _, in := range []string{s, clean} {
		name := store.URLName(in)
		if !store.IsURLName(name) {
			t.Errorf("URLName(%q) = %q is not a URL name", in, name)
		}
		if again := store.URLName(name); again != name {
			t.Errorf("naming %q twice: %q, then %q", in, name, again)
		}
		if ext := plainExtension(in); !strings.HasSuffix(name, ext) {
			t.Errorf("URLName(%q) = %q lost the extension %q", in, name, ext)
		}
	}
}

// plainExtension returns the extension of s if it is one that must be kept.
func plainExtension(s string) string {
	_, ext, found := strings.Cut(s, ".")
	if !found || ext == "" || len(ext) > 100 || strings.Trim(ext, "abcdefghijklmnopqrstuvwxyz0123456789") != "" {
		return ""
	}
	return "." + ext
}

func TestNamesHoldTheirPropertiesForAnyString(t *testing.T) {
	parts := rapid.SampledFrom([]string{".", "..", "_", "-", "a", "Z9", "ü", "日本", "/", `\`, "\n", "\u202e", "\u200d", "\xff", " ", strings.Repeat("x", 150), ".pdf"})
	rapid.Check(t, func(t *rapid.T) {
		checkName(t, strings.Join(rapid.SliceOfN(parts, 0, 12).Draw(t, "parts"), ""))
		checkName(t, rapid.String().Draw(t, "string"))
		checkName(t, string(rapid.SliceOf(rapid.Byte()).Draw(t, "bytes")))
	})
}

func FuzzNames(f *testing.F) {
	for _, s := range []string{"", "a.txt", "日本.pdf", "..", ".a.", "\u202egnp.exe", "\xff\xfe/\\", strings.Repeat("_", 250) + ".x"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) { checkName(t, s) })
}
