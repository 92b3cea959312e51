package docs

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// block is a fenced block of a document.
type block struct {
	heading string // the nearest one above
	lang    string
	text    string
	line    int
}

func (b block) name() string { return fmt.Sprintf("%s line %d", b.heading, b.line) }

// readme returns the fenced blocks of README in their order.
func readme(t *testing.T) []block {
	t.Helper()
	return blocks(t, "README.md")
}

// blocks returns the fenced blocks of a document in their order.
func blocks(t *testing.T, document string) []block {
	t.Helper()
	var blocks []block
	var heading string
	var open *block
	for i, line := range strings.Split(read(t, document), "\n") {
		lang, fence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case fence && open == nil:
			open = &block{heading: heading, lang: lang, line: i + 1}
		case fence:
			blocks = append(blocks, *open)
			open = nil
		case open != nil:
			open.text += line + "\n"
		case strings.HasPrefix(line, "#"):
			heading = strings.TrimLeft(line, "# ")
		}
	}
	if open != nil {
		t.Fatalf("%s:%d: the block is not closed", document, open.line)
	}
	return blocks
}

// first returns the text of README's first block of a language under a heading.
func first(t *testing.T, heading, lang string) string {
	t.Helper()
	return firstOf(t, "README.md", heading, lang)
}

// firstOf is first for any document.
func firstOf(t *testing.T, document, heading, lang string) string {
	t.Helper()
	for _, b := range blocks(t, document) {
		if b.heading == heading && b.lang == lang {
			return b.text
		}
	}
	t.Fatalf("%s has no block of %s under %q", document, lang, heading)
	return ""
}

// read returns a file of the repository's top.
func read(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(filepath.Join("..", "..", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// replace replaces pairs of old and new in s, all at once.
func replace(s string, pairs ...string) string {
	return strings.NewReplacer(pairs...).Replace(s)
}
