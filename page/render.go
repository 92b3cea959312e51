package page

import (
	"bytes"
	"crypto/sha256"
	"embed"
	"fmt"
	"html/template"
	"io/fs"
	"net/http"
	"net/url"
	"path"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/dustin/go-humanize"
)

//go:embed templates
var templateFiles embed.FS

//go:embed style.css
var style []byte

// templates holds one template for each page, by the name of its file.
var templates = parseTemplates()

func parseTemplates() map[string]*template.Template {
	common := template.Must(template.New("").Funcs(template.FuncMap{
		"bytes":   formatBytes,
		"comma":   humanize.Comma,
		"visible": visible,
		"link":    link,
		"plural":  plural,
		"inc":     func(i int) int { return i + 1 },
		"stamp":   func(t time.Time) string { return t.UTC().Format(time.RFC3339) },
		"minute":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04") },
		"second":  func(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") },
		"wait":    formatWait,
	}).ParseFS(templateFiles, "templates/common/*.html"))
	files, _ := fs.Glob(templateFiles, "templates/*.html") // the pattern is good
	pages := make(map[string]*template.Template)
	for _, file := range files {
		t := template.Must(common.Clone())
		pages[strings.TrimSuffix(path.Base(file), ".html")] = template.Must(t.ParseFS(templateFiles, file))
	}
	return pages
}

// view is what the layout shows.
type view struct {
	// Title of the page; Section of the navigation that it belongs to.
	Title, Section string
	// Store that was chosen, empty for all of the Stores.
	Store  string
	Stores []string
	// Data of the page.
	Data any
}

// inert makes a page harmless as a template too: the templates handler runs
// what looks like one, if it stands around us. Both characters mean the same
// as entities, everywhere that we write.
var inert = strings.NewReplacer("{", "&#123;", "[", "&#91;")

// render returns a page within the layout.
func render(page string, v view) ([]byte, error) {
	var b bytes.Buffer
	if err := templates[page].ExecuteTemplate(&b, "layout.html", v); err != nil {
		return nil, err
	}
	return []byte(inert.Replace(b.String())), nil
}

func write(w http.ResponseWriter, status int, page []byte) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(page)))
	w.WriteHeader(status)
	_, _ = w.Write(page) // the browser may have gone
}

// styleTag changes with the style sheet.
var styleTag = fmt.Sprintf(`"%x"`, sha256.Sum256(style))

func serveStyle(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Cache-Control", "no-cache")
	w.Header().Set("Content-Type", "text/css; charset=utf-8")
	w.Header().Set("ETag", styleTag)
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(style))
}

// link returns the relative URL of a page with those parameters, given as keys
// and values, that are not empty.
func link(page string, parameters ...string) string {
	q := make(url.Values)
	for i := 0; i+1 < len(parameters); i += 2 {
		if parameters[i+1] != "" {
			q.Set(parameters[i], parameters[i+1])
		}
	}
	if len(q) == 0 {
		return page
	}
	return page + "?" + q.Encode()
}

func formatBytes(n int64) string { return humanize.IBytes(uint64(max(n, 0))) }

// formatWait tells of seconds in two units, rounded up.
func formatWait(seconds int64) string {
	const minute, hour, day = 60, 60 * 60, 24 * 60 * 60
	for _, u := range []struct {
		large, small int64
		form         string
	}{{day, hour, "%d d %d h"}, {hour, minute, "%d h %d min"}, {minute, 1, "%d min %d s"}} {
		if seconds >= u.large {
			seconds += (u.small - seconds%u.small) % u.small
			return fmt.Sprintf(u.form, seconds/u.large, seconds%u.large/u.small)
		}
	}
	return fmt.Sprintf("%d s", seconds)
}

// plural counts things.
func plural(n int64, one, more string) string {
	if n == 1 {
		return "1 " + one
	}
	return humanize.Comma(n) + " " + more
}

// visible replaces what would not be seen, or would make other text look
// different, by its code. Joiners stay, since scripts and emoji are made of
// them.
func visible(s string) string {
	var b strings.Builder
	for _, r := range s {
		if unicode.IsPrint(r) || r == '\u200c' || r == '\u200d' {
			b.WriteRune(r)
		} else {
			fmt.Fprintf(&b, "⟨U+%04X⟩", r)
		}
	}
	return b.String()
}
