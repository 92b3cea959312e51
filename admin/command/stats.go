package command

import (
	"net/http"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"github.com/caddy-xmpp/xmpp-upload/admin"
)

func stats() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "stats [flags]",
		Short: "Shows how much is stored, free, and uploaded each day",
		Long: `Shows how much is stored and free, and what was uploaded on each of the last 30
days (UTC), whatever became of it. Days without uploads are left out.`,
		Example: "  $ caddy xmpp-upload stats",
	}
	takes(cmd, false)
	return online(cmd, func(c *call, _ []string) error {
		s, err := fetch[admin.Stats](c, http.MethodGet, "stats", nil)
		if err != nil || c.json {
			return err
		}
		c.out.facts(
			"Stored", files(s.StoredFiles, s.StoredBytes),
			"Expired", count(s.ExpiredFiles, "file of these", "files of these"),
			"Waiting", waiting(s.WaitingSlots, s.WaitingBytes),
			"Free for slots", free(s.FreeBytes.Slots),
			"Free for files", free(s.FreeBytes.Files),
		)
		c.days(s.Days)
		return nil
	})
}

func free(n *int64) string {
	if n == nil {
		return "no bound"
	}
	return bytes(*n)
}

func (c *call) days(days []admin.Day) {
	var rows [][]string
	for _, d := range days {
		if d.Uploads > 0 {
			rows = append(rows, []string{d.Day, humanize.Comma(d.Uploads), bytes(d.Bytes)})
		}
	}
	if len(rows) == 0 {
		return
	}
	c.out.line("")
	c.out.table(
		column{title: "DAY"},
		column{title: "UPLOADS", right: true},
		column{title: "SIZE", right: true},
	).print(rows)
}
