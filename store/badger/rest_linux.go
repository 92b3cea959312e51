package badger

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"
)

// dropPages takes the pages of tables out of the process. They stay in the page
// cache, and come back when they are read; nothing is read or written now.
//
// The names are those of tables that Badger has opened and can't close until
// dropPages returns. That must be so, for the kernel is told addresses: of memory
// that is Go's by then it would make zeros. What is dropped is a mapping that
// /proc/self/maps shows as a whole with the path of such a table, while that path
// is in the directory of this database: so it is Badger's mapping of that table,
// which is there until the table is closed. A shared mapping of a file loses
// nothing: even what was written to its pages is in the page cache.
func (g *guard) dropPages(names map[string]bool) error {
	dir, err := filepath.EvalSymlinks(g.dir) // as the kernel names it
	if err == nil {
		dir, err = filepath.Abs(dir)
	}
	if err != nil {
		return err
	}
	maps, err := g.readMaps()
	if err != nil {
		return err
	}
	for line := range strings.Lines(maps) {
		m, ok := parseMapping(line)
		if !ok || !m.shared || filepath.Dir(m.path) != dir || !names[filepath.Base(m.path)] {
			continue
		}
		if _, _, errno := unix.Syscall(unix.SYS_MADVISE, m.start, m.end-m.start, unix.MADV_DONTNEED); errno != 0 {
			return fmt.Errorf("dropping pages of %s: %w", m.path, errno)
		}
	}
	return nil
}

// readMaps returns the mappings of this process, at a time at which the directory
// is where it was opened: the kernel names files by where they are now.
func (g *guard) readMaps() (string, error) {
	before := g.inPlace()
	maps, err := os.ReadFile("/proc/self/maps")
	if err != nil {
		return "", err
	}
	if !before || !g.inPlace() {
		return "", fmt.Errorf("directory %s was moved", g.dir)
	}
	return string(maps), nil
}

// mapping is a mapping of a file.
type mapping struct {
	start, end uintptr
	shared     bool
	path       string
}

// parseMapping parses a line such as
//
//	7f2c8c000000-7f2c8c200000 rw-s 00000000 fe:00 524301      /srv/slots/000007.sst
//
// where " (deleted)" follows a path that is not there any more.
func parseMapping(line string) (m mapping, ok bool) {
	head, path, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "/")
	if !ok {
		return mapping{}, false
	}
	var mode string
	if _, err := fmt.Sscanf(head, "%x-%x %s", &m.start, &m.end, &mode); err != nil {
		return mapping{}, false
	}
	m.shared, m.path = strings.HasSuffix(mode, "s"), "/"+path
	return m, true
}
