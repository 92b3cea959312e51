package store

import (
	"strings"
	"unicode"
)

const (
	// maxURLName bounds the last segment of a URL, in bytes: every hop and
	// every file system takes it.
	maxURLName = 200
	// nameless stands for a name that leaves nothing to show.
	nameless = "file"
)

// CleanName returns the name of a file as a user chose it, without what could
// deceive or break whatever shows it later: control, line-break and invisible
// format characters, above all those that turn the direction of text, are
// dropped; path separators and invalid UTF-8 become underscores. What is left
// may be empty. Cleaning twice changes nothing.
func CleanName(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '/' || r == '\\':
			return '_'
		case unicode.In(r, unicode.Cc, unicode.Zl, unicode.Zp), unicode.Is(unicode.Cf, r) && !visible(r):
			return -1
		}
		return r
	}, strings.ToValidUTF8(s, "_"))
}

// visible reports whether a format character changes what the reader sees:
// joiners, without which emoji and Persian words fall apart, and signs that
// enclose digits.
func visible(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'
	return r == zeroWidthNonJoiner || r == zeroWidthJoiner || unicode.Is(unicode.Prepended_Concatenation_Mark, r)
}

// URLName returns the last segment of the URLs of a file of this name: at most
// 200 letters and digits of ASCII, dots, underscores and hyphens, which no hop
// escapes. A run of other characters becomes one underscore, dots at either
// end are dropped. The extension is kept: a long name is shortened before it,
// and a name without a letter or digit before it becomes "file". To name a URL
// name again changes nothing.
func URLName(name string) string {
	stem, ext := strings.TrimRight(plain(name), "."), ""
	if dot := strings.LastIndexByte(stem, '.'); dot >= 0 {
		stem, ext = stem[:dot], stem[dot:]
	}
	ext = ext[:min(len(ext), maxURLName-len(nameless))]
	stem = strings.TrimLeft(stem, ".")
	stem = stem[:min(len(stem), maxURLName-len(ext))]
	if !strings.ContainsFunc(stem, isAlphanumeric) {
		stem = nameless
	}
	return stem + ext
}

// IsURLName reports whether s has the form of what URLName returns.
func IsURLName(s string) bool {
	return s != "" && len(s) <= maxURLName && s[0] != '.' && plain(s) == s
}

// plain replaces each run of characters that some hop would escape.
func plain(s string) string {
	var b strings.Builder
	run := false
	for _, r := range s {
		switch {
		case isAlphanumeric(r) || r == '.' || r == '_' || r == '-':
			b.WriteRune(r)
			run = false
		case !run:
			b.WriteByte('_')
			run = true
		}
	}
	return b.String()
}

func isAlphanumeric(r rune) bool {
	return 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
}
