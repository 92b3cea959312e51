package command

import (
	"bufio"
	"fmt"
	"io"
	"os"

	"golang.org/x/term"
)

// printer writes what is to be read, by people or, as JSON, by programs.
type printer struct {
	*bufio.Writer
	// terminal is whether a person reads, and width that of the terminal in
	// columns, else 0.
	terminal bool
	width    int
}

func newPrinter(w io.Writer) *printer {
	p := &printer{Writer: bufio.NewWriter(w)}
	if fd, ok := terminal(w); ok {
		p.terminal = true
		p.width, _, _ = term.GetSize(fd) // unknown is 0: nothing is cut
	}
	return p
}

// terminal returns the file descriptor of a stream that is a terminal.
func terminal(stream any) (fd int, ok bool) {
	f, ok := stream.(*os.File)
	if !ok || !term.IsTerminal(int(f.Fd())) {
		return 0, false
	}
	return int(f.Fd()), true
}

// line prints a line. Errors of writing are Flush's.
func (p *printer) line(text string) { _, _ = p.WriteString(safe(text) + "\n") }

func (p *printer) linef(format string, args ...any) { p.line(fmt.Sprintf(format, args...)) }

// JSON prints an answer of the API as it came, but for characters that a
// terminal must not have.
func (p *printer) JSON(answer []byte) {
	if p.terminal {
		answer = safeJSON(answer)
	}
	_, _ = p.Write(answer)
	if len(answer) == 0 || answer[len(answer)-1] != '\n' {
		_ = p.WriteByte('\n')
	}
}

// facts prints names and values below each other.
func (p *printer) facts(pairs ...string) {
	const width = 15
	for i := 0; i+1 < len(pairs); i += 2 {
		p.linef("%-*s %s", width, pairs[i], pairs[i+1])
	}
}
