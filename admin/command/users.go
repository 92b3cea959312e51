package command

import (
	"fmt"
	"net/http"
	"net/url"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddy-xmpp/xmpp-upload/admin"
)

func users() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "users [flags]",
		Short: "Lists who has files stored, by bytes",
		Long: `Lists the JIDs that have files stored, those with the most bytes first: one
page of 100, or of --limit. Where more follow, the end says how to go on.`,
		Example: `  $ caddy xmpp-upload users --limit 10
  $ caddy xmpp-upload users --json | jq -r '.users[].jid'`,
	}
	cmd.Flags().String("after", "", "go on after this `cursor`, which the page before told")
	cmd.Flags().Int("limit", 100, "the `number` of JIDs in a page, up to 10000")
	takes(cmd, false)
	return online(cmd, func(c *call, _ []string) error {
		query := c.given(map[string]string{"after": "after", "limit": "limit"})
		page, err := fetch[admin.Users](c, http.MethodGet, "users", query)
		if err != nil || c.json {
			return err
		}
		rows := make([][]string, 0, len(page.Users))
		for _, u := range page.Users {
			rows = append(rows, []string{u.JID, humanize.Comma(u.StoredFiles), bytes(u.StoredBytes)})
		}
		c.out.table(
			column{title: "JID", flexible: true},
			column{title: "FILES", right: true},
			column{title: "STORED", right: true},
		).print(rows)
		if page.Next != "" {
			return c.more(page.Next)
		}
		return nil
	})
}

func usage() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "usage JID [flags]",
		Short: "Shows what a user may store, and what is used of it",
		Long: `Shows the rule that decides on a JID, its limits, what is used of each, and when
there is room again. Rules are counted from 0, in the order of the
configuration.`,
		Example: "  $ caddy xmpp-upload usage alice@example.com",
	}
	takes(cmd, false, "JID")
	return online(cmd, func(c *call, args []string) error {
		u, err := fetch[admin.User](c, http.MethodGet, userPath(args[0]), nil)
		if err != nil || c.json {
			return err
		}
		c.user(u)
		for _, s := range u.Stores {
			c.out.line("")
			c.out.facts("Store", s.Store)
			c.user(s.User)
		}
		return nil
	})
}

func userPath(jid string) string { return "users/" + url.PathEscape(jid) }

func (c *call) user(u admin.User) {
	c.out.facts(
		"JID", u.JID,
		"Rule", rule(u.Rule),
		"Size of a file", limit(u.MaxFileSize, bytes),
		"Stored", files(u.StoredFiles, u.StoredBytes),
		"Waiting", waiting(u.WaitingSlots, u.WaitingBytes),
		"In all", limit(u.MaxTotalSize, func(n int64) string {
			return bytes(u.StoredBytes+u.WaitingBytes) + " of " + bytes(n)
		}),
	)
	if len(u.Bytes)+len(u.Uploads) == 0 {
		return
	}
	var rows [][]string
	for _, w := range u.Bytes {
		rows = append(rows, window(w, "bytes", bytes))
	}
	for _, w := range u.Uploads {
		rows = append(rows, window(w, "uploads", humanize.Comma))
	}
	c.out.line("")
	c.out.table(
		column{title: "LIMIT"},
		column{title: "USED", right: true},
		column{title: "OF", right: true},
		column{title: "PER", right: true},
		column{title: "ROOM", right: true},
	).print(rows)
}

func window(w admin.Window, what string, amount func(int64) string) []string {
	room := "now"
	if w.RoomIn > 0 {
		room = "in " + span(w.RoomIn)
	}
	return []string{what, amount(w.Used), amount(w.Limit), w.Per, room}
}

// rule tells which rule decides, and how.
func rule(r *admin.Rule) string {
	switch {
	case r == nil:
		return "none, so may not upload"
	case r.Deny:
		return fmt.Sprintf("%d, deny %s", r.Index, r.Pattern)
	}
	return fmt.Sprintf("%d, allow %s", r.Index, r.Pattern)
}

func waiting(n, size int64) string { return count(n, "slot", "slots") + ", " + bytes(size) }
