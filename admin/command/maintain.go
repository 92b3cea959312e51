package command

import (
	"net/http"
	"net/url"

	"github.com/spf13/cobra"

	"github.com/caddy-xmpp/xmpp-upload/admin"
)

func cleanUp() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "cleanup [flags]",
		Short: "Removes what has expired, now",
		Long: `Removes expired slots and files, and what a crash has left behind, beside the
clean-up that runs by itself. With --older-than, files go too that were uploaded
longer ago and have not expired.`,
		Example: `  $ caddy xmpp-upload cleanup
  $ caddy xmpp-upload cleanup --older-than 30d --no-slots`,
	}
	cmd.Flags().String("older-than", "", "also remove files that were uploaded this `time` ago, such as 30d")
	noSlots := cmd.Flags().Bool("no-slots", false, "leave unused slots alone")
	noFiles := cmd.Flags().Bool("no-files", false, "leave files alone")
	takes(cmd, false)
	return online(cmd, func(c *call, _ []string) error {
		query := c.given(map[string]string{"older-than": "older_than"})
		if *noSlots {
			query.Set("slots", "false")
		}
		if *noFiles {
			query.Set("files", "false")
		}
		r, err := watch[admin.CleanUp](c, "cleanup", query, "Cleaning up")
		if err != nil || c.json {
			return err
		}
		c.removed(r.Removal)
		c.mended(r)
		return nil
	})
}

// mended tells what a crash or a hand had left, if anything.
func (c *call) mended(r admin.CleanUp) {
	for _, m := range []struct {
		n         int64
		one, many string
	}{
		{r.Discarded, "unfinished upload was discarded", "unfinished uploads were discarded"},
		{r.Orphaned, "file without a slot was removed", "files without a slot were removed"},
		{r.Missing, "upload without a file was removed", "uploads without a file were removed"},
		{r.Published, "upload was published after a crash", "uploads were published after a crash"},
	} {
		if m.n > 0 {
			c.out.line(count(m.n, m.one, m.many) + ".")
		}
	}
}

func verify() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "verify [flags]",
		Short: "Compares what is recorded with the files",
		Long: `Compares the uploads on record with the files. It tells which uploads have no
file, which files have no upload, and whose sizes differ. With --repair all of
these are removed. The exit status is 1 if damage was found and is left.`,
		Example: `  $ caddy xmpp-upload verify
  $ caddy xmpp-upload verify --repair`,
	}
	repair := cmd.Flags().Bool("repair", false, "mend what is found")
	takes(cmd, false)
	return online(cmd, func(c *call, _ []string) error {
		query := make(url.Values)
		if *repair {
			query.Set("repair", "true")
		}
		v, err := watch[admin.Verification](c, "verify", query, "Comparing")
		if err != nil {
			return err
		}
		damage := int64(len(v.Missing) + len(v.Orphaned) + len(v.WrongSize))
		if !c.json {
			c.damage(v, damage)
		}
		if v.Repaired < damage {
			return new(noError)
		}
		return nil
	})
}

func (c *call) damage(v admin.Verification, damage int64) {
	c.out.linef("Compared %s with %s.", count(v.Slots, "upload", "uploads"), count(v.Files, "file", "files"))
	if damage == 0 {
		c.out.line("All is well.")
		return
	}
	c.found("Uploads without a file:", v.Missing)
	c.found("Files without an upload:", v.Orphaned)
	c.found("Uploads with a file of another size:", v.WrongSize)
	c.out.linef("%s found, %d mended.", count(damage, "fault", "faults"), v.Repaired)
}

func (c *call) found(title string, names []string) {
	if len(names) == 0 {
		return
	}
	c.out.line(title)
	for _, name := range names {
		c.out.line("  " + name)
	}
}

// watch asks for what lasts, and shows its progress to a person.
func watch[T any](c *call, path string, query url.Values, doing string) (T, error) {
	if _, person := terminal(c.ErrOrStderr()); c.json || !person {
		return fetch[T](c, http.MethodPost, path, query)
	}
	return follow[T](c, path, query, doing)
}
