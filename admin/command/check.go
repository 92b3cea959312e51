package command

import (
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddy-xmpp/xmpp-upload/admin"
)

func check() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "check JID SIZE [flags]",
		Short: "Tells whether a user would get a slot now, and why not",
		Long: `Tells what a request of this JID for a slot of this size would be answered now,
and by which rule, and takes no slot. The size is in bytes, or takes KB, MB, GB
and KiB, MiB, GiB. The exit status is 0 if the slot would be granted, 1 if not.`,
		Example: "  $ caddy xmpp-upload check alice@example.com 10MiB",
	}
	takes(cmd, false, "JID", "SIZE")
	return online(cmd, func(c *call, args []string) error {
		size, err := humanize.ParseBytes(args[1])
		if err != nil {
			return fmt.Errorf("%q is no size; use a number of bytes or a size such as 10MiB", args[1])
		}
		query := url.Values{"jid": {args[0]}, "size": {strconv.FormatUint(size, 10)}}
		answer, err := fetch[admin.Check](c, http.MethodGet, "check", query)
		if err != nil {
			return err
		}
		if !c.json {
			c.verdict(answer)
		}
		if !answer.Granted {
			return new(noError)
		}
		return nil
	})
}

func (c *call) verdict(answer admin.Check) {
	if answer.Granted {
		c.out.facts("Granted", "yes", "Rule", rule(answer.Rule))
		return
	}
	c.out.facts("Granted", "no", "Rule", rule(answer.Rule))
	r := answer.Refusal
	if r == nil {
		return
	}
	c.out.facts("Refused", r.Code+": "+r.Message)
	if r.Limit != nil {
		c.out.facts("Limit", humanize.Comma(*r.Limit))
	}
	if r.Used != nil {
		c.out.facts("Used", humanize.Comma(*r.Used))
	}
	if r.RetryAfter > 0 {
		c.out.facts("Granted in", span(r.RetryAfter))
	}
}
