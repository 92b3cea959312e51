package command

import (
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/dustin/go-humanize"
	"github.com/rivo/uniseg"
)

// safe returns s as a terminal may have it: whatever could steer the terminal or
// turn the direction of text is escaped, as \x1b or \u202e, and so are unknown
// characters. Whoever has uploaded something has chosen parts of what is shown.
func safe(s string) string {
	if !strings.ContainsFunc(s, hostile) {
		return s
	}
	var b strings.Builder
	for _, r := range s {
		switch {
		case !hostile(r):
			b.WriteRune(r)
		case unicode.Is(unicode.Zs, r):
			b.WriteByte(' ')
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// hostile reports whether a character does not simply show. Joiners do: emoji
// and Persian words fall apart without them.
func hostile(r rune) bool {
	const zeroWidthNonJoiner, zeroWidthJoiner = '\u200c', '\u200d'
	return !unicode.IsPrint(r) && r != zeroWidthNonJoiner && r != zeroWidthJoiner
}

// safeJSON returns the same JSON document with the characters escaped that must
// not reach a terminal. They can only be in strings.
func safeJSON(document []byte) []byte {
	safe := make([]byte, 0, len(document))
	for _, r := range string(document) {
		switch {
		case r == '\n' || r == '\t' || r == '\r' || !hostile(r):
			safe = utf8.AppendRune(safe, r)
		case r > 0xffff:
			r -= 0x10000
			safe = fmt.Appendf(safe, `\u%04x\u%04x`, 0xd800+r>>10, 0xdc00+r&0x3ff)
		default:
			safe = fmt.Appendf(safe, `\u%04x`, r)
		}
	}
	return safe
}

// cut shortens s to so many columns of a terminal; an ellipsis stands for the
// rest.
func cut(s string, width int) string {
	if uniseg.StringWidth(s) <= width {
		return s
	}
	var b strings.Builder
	left, state := width-1, -1
	for s != "" {
		cluster, rest, w, next := uniseg.FirstGraphemeClusterInString(s, state)
		if w > left {
			break
		}
		b.WriteString(cluster)
		s, state, left = rest, next, left-w
	}
	return b.String() + "…"
}

func bytes(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// count tells how many there are of something: 1 file, 2 files.
func count(n int64, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(n) + " " + many
}

// files tells how many there are and how large they are together.
func files(n, size int64) string {
	return count(n, "file", "files") + ", " + bytes(size)
}

// limit is an amount of which 0 means that there is no limit.
func limit(n int64, amount func(int64) string) string {
	if n == 0 {
		return "no limit"
	}
	return amount(n)
}

// clock is a time as ls tells it: with the hour if it is less than half a year
// away, else with the year.
func clock(t, now time.Time) string {
	const near = 183 * 24 * time.Hour
	if t.Sub(now).Abs() < near {
		return t.Local().Format("Jan _2 15:04")
	}
	return t.Local().Format("Jan _2  2006")
}

// moment is a time in full; never stands for none.
func moment(t *time.Time, never string) string {
	if t == nil {
		return never
	}
	return t.Local().Format("2006-01-02 15:04:05 MST")
}

// span is a number of seconds in its two largest units.
func span(seconds int64) string {
	units := []struct {
		name string
		size int64
	}{{"d", 86400}, {"h", 3600}, {"m", 60}, {"s", 1}}
	for i, u := range units {
		if seconds < u.size {
			continue
		}
		text := fmt.Sprintf("%d%s", seconds/u.size, u.name)
		if rest := seconds % u.size; i+1 < len(units) && rest >= units[i+1].size {
			text += fmt.Sprintf(" %d%s", rest/units[i+1].size, units[i+1].name)
		}
		return text
	}
	return "0s"
}
