package command

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/caddyserver/caddy/v2"
	"github.com/spf13/cobra"

	"github.com/caddy-xmpp/xmpp-upload/admin"
)

// pageOfAll is how many uploads list --all asks for at a time.
const pageOfAll = 1000

func list() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "list [flags]",
		Short: "Lists uploads and slots, newest first",
		Long: `Lists uploads and slots that match all flags, newest first: one page of 100, or
of --limit. Where more follow, the end says how to go on.

With --all it follows the pages to the end, whatever comes and goes meanwhile.
--json then prints the answer for each page on lines of its own, of the same
form as that for one page, so that jq '.uploads[]' sees each upload.

--from and --to are about the time when the slot was granted. They take an age
such as 7d or 90m, a date of this machine's time zone such as 2026-01-31, or a
time such as 2026-01-31T18:00:00Z. --from is inclusive, --to is exclusive.

In a terminal long names are cut and columns left out that do not fit; where
the list goes elsewhere, it is complete.`,
		Example: `  $ caddy xmpp-upload list
  $ caddy xmpp-upload list --jid alice@example.com --state uploaded
  $ caddy xmpp-upload list --search holiday --from 7d
  $ caddy xmpp-upload list --all --json | jq -r '.uploads[].id'`,
	}
	flags := cmd.Flags()
	flags.String("jid", "", "only those of this bare `JID`")
	flags.String("state", "", "only in this `state`: waiting, uploaded or expired")
	flags.StringP("search", "q", "", "only with this `text` in JID or name")
	flags.String("from", "", "only slots granted at this `time` or later")
	flags.String("to", "", "only slots granted before this `time`")
	flags.String("after", "", "go on after this `cursor`, which the page before told")
	flags.Int("limit", 100, "the `number` of uploads in a page, up to 10000")
	all := flags.Bool("all", false, "all pages")
	// The error would be that there is no such flag, or that it completes already.
	_ = cmd.RegisterFlagCompletionFunc("state", cobra.FixedCompletions(
		[]string{"waiting", "uploaded", "expired"}, cobra.ShellCompDirectiveNoFileComp))
	takes(cmd, false)
	return online(cmd, func(c *call, _ []string) error {
		query := c.given(map[string]string{
			"jid": "jid", "state": "state", "search": "q", "from": "from", "to": "to", "after": "after", "limit": "limit",
		})
		if err := readTimes(query, time.Now()); err != nil {
			return err
		}
		if *all && query.Has("limit") {
			return errors.New("--all and --limit exclude each other")
		}
		if *all {
			query.Set("limit", strconv.Itoa(pageOfAll))
		}
		return c.list(query, *all)
	})
}

// readTimes puts the times that --from and --to mean in place of their texts.
func readTimes(query url.Values, now time.Time) error {
	for _, flag := range []string{"from", "to"} {
		if !query.Has(flag) {
			continue
		}
		at, err := timeOf(query.Get(flag), now)
		if err != nil {
			return fmt.Errorf("--%s: %w", flag, err)
		}
		query.Set(flag, at.UTC().Format(time.RFC3339Nano))
	}
	return nil
}

// timeOf reads an age, a date or a time.
func timeOf(text string, now time.Time) (time.Time, error) {
	if age, err := caddy.ParseDuration(text); err == nil && age >= 0 {
		return now.Add(-age), nil
	}
	if day, err := time.ParseInLocation(time.DateOnly, text, time.Local); err == nil {
		return day, nil
	}
	if at, err := time.Parse(time.RFC3339, text); err == nil {
		return at, nil
	}
	return time.Time{}, fmt.Errorf("%q is neither an age such as 7d nor a date such as 2026-01-31 nor a time such as 2026-01-31T18:00:00Z", text)
}

func (c *call) list(query url.Values, all bool) error {
	uploads := c.out.uploads()
	for {
		page, err := fetch[admin.List](c, http.MethodGet, "uploads", query)
		if err != nil {
			return err
		}
		if !c.json {
			uploads(page.Uploads)
		}
		if page.Next == "" {
			return nil
		}
		if !all {
			return c.more(page.Next)
		}
		if err := c.out.Flush(); err != nil {
			return err
		}
		query.Set("after", page.Next)
	}
}

// more tells people that there is another page.
func (c *call) more(next string) error {
	if c.json {
		return nil
	}
	err := c.out.Flush()
	c.PrintErrln("There are more; add --after", safe(next))
	return err
}

// uploads returns what prints uploads as the rows of one table.
func (p *printer) uploads() func([]admin.Upload) {
	t := p.table(
		column{title: "ID"},
		column{title: "JID", flexible: true},
		column{title: "NAME", flexible: true},
		column{title: "SIZE", right: true},
		column{title: "STATE", optional: 1},
		column{title: "GRANTED", optional: 2},
		column{title: "EXPIRES", optional: 3},
	)
	now := time.Now()
	return func(uploads []admin.Upload) {
		rows := make([][]string, 0, len(uploads))
		for _, u := range uploads {
			expires := "never"
			if u.ExpiresAt != nil {
				expires = clock(*u.ExpiresAt, now)
			}
			rows = append(rows, []string{u.ID, u.JID, u.Name, bytes(u.Size), u.State, clock(u.ReservedAt, now), expires})
		}
		t.print(rows)
	}
}

func show() *cobra.Command {
	cmd := &cobra.Command{
		Use:     "show ID [flags]",
		Short:   "Shows one upload",
		Long:    "Shows one upload or slot, with all that is known of it.",
		Example: "  $ caddy xmpp-upload show 06f0cvq2v0ah8r3e9k2q7m1d5s4t6u8n0pa",
	}
	takes(cmd, false, "ID")
	return online(cmd, func(c *call, args []string) error {
		u, err := fetch[admin.Upload](c, http.MethodGet, "uploads/"+url.PathEscape(args[0]), nil)
		if err != nil || c.json {
			return notFound(err)
		}
		state := u.State
		if u.InFlight {
			state += ", being received"
		}
		c.out.facts(
			"ID", u.ID,
			"JID", u.JID,
			"Name", u.Name,
			"Size", fmt.Sprintf("%s (%d bytes)", bytes(u.Size), u.Size),
			"Type", u.ContentType,
			"State", state,
			"Slot granted", moment(&u.ReservedAt, ""),
			"Uploaded", moment(u.UploadedAt, "not yet"),
			"Expires", moment(u.ExpiresAt, "never"),
			"Store", u.Store,
		)
		return nil
	})
}
