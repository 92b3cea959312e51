package command

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"path/filepath"
	"runtime"
	"syscall"

	"github.com/spf13/cobra"
)

func backup() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "backup FILE [flags]",
		Short: "Writes a copy of all slots and accounts to a file",
		Long: `Writes a copy of all slots and accounts, as of one moment, to a file that restore
takes back; - is standard output. Caddy goes on meanwhile. Where several stores
are in use, --store chooses one.

The files that users uploaded are not in it. Copy their directory after this:
then each upload in the copy has its file, unless it was removed meanwhile.

The file appears, or replaces one of this name, when it is complete and on the
disk.`,
		Example: `  $ caddy xmpp-upload backup /var/backups/xmpp-upload-slots
  $ caddy xmpp-upload backup - | gzip >slots.gz`,
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}
	takes(cmd, false, "FILE")
	return online(cmd, func(c *call, args []string) error {
		file := args[0]
		if file == "-" && c.out.terminal {
			return errors.New("a backup is not for a terminal; name a file")
		}
		body, err := c.api.open(http.MethodGet, "backup", c.inStore(nil))
		if err != nil {
			return err
		}
		defer body.Close()
		answer := &stream{body, c.api}
		if file == "-" {
			_, err = io.Copy(c.out, answer)
			return err
		}
		return save(file, answer)
	})
}

// stream is a long answer. Its errors say that it was cut short.
type stream struct {
	io.ReadCloser
	api client
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.ReadCloser.Read(p)
	if err != nil && !errors.Is(err, io.EOF) {
		err = s.api.cut(err)
	}
	return n, err
}

// save writes what comes to a temporary file beside the named one, and renames
// it when it is complete and on the disk. If it is cut short or interrupted,
// nothing is left of it.
func save(file string, from io.ReadCloser) (err error) {
	if info, err := os.Stat(file); err == nil && !info.Mode().IsRegular() {
		return fmt.Errorf("%s is not a file; name one, or - for standard output", file)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM, syscall.SIGHUP)
	defer stop()
	defer context.AfterFunc(ctx, func() { _ = from.Close() })()

	dir, name := filepath.Split(file)
	if dir == "" {
		dir = "."
	}
	temp, err := os.CreateTemp(dir, "."+name+".*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = os.Remove(temp.Name())
		}
	}()
	_, err = io.Copy(temp, from)
	if err == nil {
		err = temp.Sync()
	}
	if closed := temp.Close(); err == nil {
		err = closed
	}
	if ctx.Err() != nil {
		err = errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	if err := os.Rename(temp.Name(), file); err != nil {
		return err
	}
	return syncDir(dir)
}

// syncDir puts the names in a directory on the disk. Windows has no way to ask
// for that.
func syncDir(dir string) error {
	if runtime.GOOS == "windows" {
		return nil
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
