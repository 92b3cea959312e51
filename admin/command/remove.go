package command

import (
	"bufio"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/spf13/cobra"

	"github.com/caddy-xmpp/xmpp-upload/admin"
)

func remove() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "delete ID… [flags]",
		Short: "Removes uploads",
		Long: `Removes uploads or slots, each with its file. Bytes that a user gets back can be
used at once; limits per time go on counting what was uploaded. Downloads that
have begun go on to their end.

In a terminal it shows what would go and asks first. With --json it prints one
answer for each ID.`,
		Example: `  $ caddy xmpp-upload delete 06f0cvq2v0ah8r3e9k2q7m1d5s4t6u8n0pa
  $ caddy xmpp-upload list --search spam --all --json |
        jq -r '.uploads[].id' | xargs caddy xmpp-upload delete`,
	}
	yes := cmd.Flags().BoolP("yes", "y", false, "do not ask")
	takes(cmd, true, "ID")
	return online(cmd, func(c *call, ids []string) error {
		if c.asks(*yes) {
			if err := c.confirmDelete(ids); err != nil {
				return err
			}
		}
		return c.remove(ids)
	})
}

// remove goes on after what is not there, and tells it in the end.
func (c *call) remove(ids []string) error {
	var sum admin.Removal
	var missing error
	for _, id := range ids {
		r, err := fetch[admin.Removal](c, http.MethodDelete, "uploads/"+url.PathEscape(id), nil)
		err = notFound(err)
		if no, ok := errors.AsType[*noError](err); ok {
			c.PrintErrln(safe(id + ": " + no.message))
			missing = new(noError)
			continue
		}
		if err != nil {
			return err
		}
		sum.Slots, sum.Files, sum.Bytes = sum.Slots+r.Slots, sum.Files+r.Files, sum.Bytes+r.Bytes
	}
	if !c.json {
		c.removed(sum)
	}
	return missing
}

func (c *call) confirmDelete(ids []string) error {
	var found []admin.Upload
	for _, id := range ids {
		u, _, err := ask[admin.Upload](c, http.MethodGet, "uploads/"+url.PathEscape(id), nil)
		if err != nil {
			if _, no := errors.AsType[*noError](notFound(err)); no {
				continue // remove tells it
			}
			return err
		}
		found = append(found, u)
	}
	if len(found) == 0 {
		return nil
	}
	preview := newPrinter(c.ErrOrStderr())
	preview.uploads()(found)
	if err := preview.Flush(); err != nil {
		return err
	}
	return c.confirm(fmt.Sprintf("Remove %s?", count(int64(len(found)), "upload", "uploads")))
}

func purge() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "purge JID [flags]",
		Short: "Removes all that a user has stored",
		Long: `Removes all uploads and slots of a JID: its account is gone, or its owner asks.
Limits per time go on counting what was uploaded.

In a terminal it shows how much would go and asks first.`,
		Example: "  $ caddy xmpp-upload purge --yes alice@example.com",
	}
	yes := cmd.Flags().BoolP("yes", "y", false, "do not ask")
	takes(cmd, false, "JID")
	return online(cmd, func(c *call, args []string) error {
		if c.asks(*yes) {
			u, _, err := ask[admin.User](c, http.MethodGet, userPath(args[0]), nil)
			if err != nil {
				return err
			}
			if err := c.confirm(fmt.Sprintf("Remove all of %s (%s; waiting: %s)?",
				u.JID, files(u.StoredFiles, u.StoredBytes), waiting(u.WaitingSlots, u.WaitingBytes))); err != nil {
				return err
			}
		}
		r, err := fetch[admin.Removal](c, http.MethodDelete, userPath(args[0]), nil)
		if err != nil || c.json {
			return err
		}
		c.removed(r)
		return nil
	})
}

// removed tells what is gone.
func (c *call) removed(r admin.Removal) {
	c.out.linef("Removed: %s; %s.", files(r.Files, r.Bytes), count(r.Slots, "unused slot", "unused slots"))
}

// asks reports whether somebody is there to confirm, and should.
func (c *call) asks(yes bool) bool {
	_, person := terminal(c.InOrStdin())
	return person && !yes
}

// confirm returns nil if the answer is yes. All else is no, also the end of
// input.
func (c *call) confirm(question string) error {
	c.PrintErr(safe(question), " [y/N] ")
	answer, err := bufio.NewReader(c.InOrStdin()).ReadString('\n')
	if err != nil {
		c.PrintErrln()
	}
	switch strings.ToLower(strings.TrimSpace(answer)) {
	case "y", "yes":
		return nil
	}
	return &noError{"nothing was removed"}
}
