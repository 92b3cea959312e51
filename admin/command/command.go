// Package command is "caddy xmpp-upload": what operators do from a shell. It asks
// the admin API of a running Caddy; only restore works on a store by itself.
package command

import (
	"errors"
	"fmt"
	"strings"

	caddycmd "github.com/caddyserver/caddy/v2/cmd"
	"github.com/spf13/cobra"
)

const long = `Shows and steers what XMPP users upload, on a Caddy that runs with the handler
xmpp_upload. It asks Caddy's admin endpoint: the one of --address, else the one
that the configuration of --config names, else the default, which the
environment variable CADDY_ADMIN may change.

With --json the answer of the admin API is printed as it came. The exit status
is the same with and without:

	0  done, or the answer is yes
	1  the answer is no: check was refused, verify left damage as it is, show
	   or delete did not find an upload, you did not confirm
	2  it could not be done: wrong use, no server, an error`

// Command returns the command xmpp-upload, to be registered with Caddy.
func Command() caddycmd.Command {
	return caddycmd.Command{
		Name:      "xmpp-upload",
		Usage:     "<command>",
		Short:     "Shows and steers what XMPP users upload",
		Long:      long,
		CobraFunc: build,
	}
}

func build(group *cobra.Command) {
	group.Example = `  $ caddy xmpp-upload stats
  $ caddy xmpp-upload list --jid alice@example.com
  $ caddy xmpp-upload cleanup --help`
	group.AddCommand(
		list(), show(), users(), usage(), check(), stats(),
		remove(), purge(), cleanUp(), verify(), backup(), restore(),
	)
	group.SuggestionsMinimumDistance = 2
	group.SetFlagErrorFunc(fail)
	group.RunE = func(cmd *cobra.Command, args []string) error {
		if len(args) == 0 {
			return cmd.Help()
		}
		message := fmt.Sprintf("there is no command %q", args[0])
		if near := cmd.SuggestionsFor(args[0]); len(near) > 0 {
			message += "; did you mean " + strings.Join(near, " or ") + "?"
		}
		return fail(cmd, errors.New(message))
	}
}

// noError is an answer rather than a failure: no. Its message is empty if all
// has been said.
type noError struct{ message string }

func (e *noError) Error() string { return e.message }

// exitFailed is the exit status of failures; that of a noError is 1, as Caddy's
// for any error that does not ask for another.
const exitFailed = 2

// fail tells the error and returns what makes Caddy exit with its status.
func fail(cmd *cobra.Command, err error) error {
	cmd.SilenceErrors = true
	if message := safe(err.Error()); message != "" {
		cmd.PrintErrln("Error:", message)
	}
	if _, no := errors.AsType[*noError](err); no {
		return err
	}
	status := func(caddycmd.Flags) (int, error) { return exitFailed, nil }
	return caddycmd.WrapCommandFuncForCobra(status)(cmd, nil)
}

// takes makes a subcommand insist on the named arguments, and, with more, take
// others after them.
func takes(cmd *cobra.Command, more bool, names ...string) {
	cmd.Args = func(cmd *cobra.Command, args []string) error {
		for i, name := range names {
			if i >= len(args) || args[i] == "" {
				return fail(cmd, fmt.Errorf("%s is missing; see %s --help", name, cmd.CommandPath()))
			}
		}
		if len(args) > len(names) && !more {
			return fail(cmd, fmt.Errorf("%q is too much; see %s --help", args[len(names)], cmd.CommandPath()))
		}
		return nil
	}
}

// call is one run of a subcommand that asks the admin API.
type call struct {
	*cobra.Command
	api client
	out *printer
	// json is whether answers are printed as they are.
	json bool
}

// online gives a subcommand the flags of those that ask the admin API, and what
// it does.
func online(cmd *cobra.Command, do func(c *call, args []string) error) *cobra.Command {
	var address, config, adapter string
	c := &call{Command: cmd}
	flags := cmd.Flags()
	flags.StringVar(&address, "address", "", "the `address` of Caddy's admin endpoint, if it is not the default")
	flags.StringVarP(&config, "config", "c", "", "the configuration `file` that tells the address, without --address")
	flags.StringVarP(&adapter, "adapter", "a", "", "the `name` of the config adapter to apply to --config")
	flags.String("store", "", "only the store whose slots are in this `directory`")
	flags.BoolVar(&c.json, "json", false, "print the answer of the admin API as it is")
	if cmd.ValidArgsFunction == nil {
		cmd.ValidArgsFunction = cobra.NoFileCompletions
	}
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		var err error
		if c.api.address, err = caddycmd.DetermineAdminAPIAddress(address, nil, config, adapter); err != nil {
			return fail(cmd, err)
		}
		c.out = newPrinter(cmd.OutOrStdout())
		err = do(c, args)
		if flushed := c.out.Flush(); err == nil {
			err = flushed
		}
		if err != nil {
			return fail(cmd, err)
		}
		return nil
	}
	return cmd
}
