package command

import (
	"os"
	"path/filepath"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-xmpp/xmpp-upload/store/badger"
)

func restore() *cobra.Command {
	var to string
	cmd := &cobra.Command{
		Use:   "restore FILE [flags]",
		Short: "Takes back what backup wrote",
		Long: `Makes a directory of slots from what backup wrote; - is standard input. It needs
no server: run it before Caddy starts, as the user that Caddy runs as, else Caddy
cannot open the directory. A directory that is not empty is left alone.

Where no directory is named, it is the one that Caddy uses where the
configuration names none.`,
		Example: `  $ caddy xmpp-upload restore /var/backups/xmpp-upload-slots
  $ caddy xmpp-upload restore slots --to /var/lib/caddy/xmpp-upload/slots
  $ gunzip <slots.gz | caddy xmpp-upload restore - --to ./slots`,
		ValidArgsFunction: cobra.FixedCompletions(nil, cobra.ShellCompDirectiveDefault),
	}
	cmd.Flags().StringVar(&to, "to", "", "the `directory` of the slots, as after slots badger in the Caddyfile")
	// The error would be that there is no such flag.
	_ = cmd.MarkFlagDirname("to")
	takes(cmd, false, "FILE")
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if to == "" {
			to = filepath.Join(caddy.AppDataDir(), "xmpp-upload", "slots")
		}
		if err := restoreFrom(cmd, args[0], to); err != nil {
			return fail(cmd, err)
		}
		out := newPrinter(cmd.OutOrStdout())
		out.linef("Restored the slots to %s.", to)
		out.line("Put back the directory of the files too and start Caddy. What is missing then,")
		out.line("caddy xmpp-upload verify tells.")
		return out.Flush()
	}
	return cmd
}

func restoreFrom(cmd *cobra.Command, file, to string) error {
	if file == "-" {
		return badger.Restore(to, cmd.InOrStdin())
	}
	from, err := os.Open(file)
	if err != nil {
		return err
	}
	defer from.Close()
	return badger.Restore(to, from)
}
