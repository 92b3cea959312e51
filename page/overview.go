package page

import (
	"time"

	"github.com/dustin/go-humanize"

	"github.com/caddy-xmpp/xmpp-upload/admin"
	"github.com/caddy-xmpp/xmpp-upload/store/cleanup"
)

// overviewData is what is stored, and what was uploaded day by day.
type overviewData struct {
	admin.Stats
	Plots []plot
}

func showOverview(v *visit) (content, error) {
	stats, err := v.stores.Stats(v, time.Now())
	data := overviewData{Stats: stats, Plots: []plot{
		newPlot("Uploads per day", stats.Days, func(d admin.Day) int64 { return d.Uploads }, humanize.Comma),
		newPlot("Bytes per day", stats.Days, func(d admin.Day) int64 { return d.Bytes }, formatBytes),
	}}
	return content{"overview", "Overview", "overview", data}, err
}

// cleanUp removes what has expired, at once.
func cleanUp(v *visit) (content, error) {
	report, err := v.stores.CleanUp(v, cleanup.Options{Slots: true, Files: true}, nil)
	return content{"cleanup", "Cleaned up", "overview", report}, err
}

// fewFaults is how many faults of a kind are shown.
const fewFaults = 100

// faults are of one kind.
type faults struct {
	Name, Meaning string
	Count         int
	First         []string
}

// Others is how many are not among the first.
func (f faults) Others() int { return f.Count - len(f.First) }

type verifyData struct {
	admin.Verification
	Repair bool
	Faults []faults
}

// verify compares slots with files. It mends only what was shown before.
func verify(v *visit) (content, error) {
	data := verifyData{Repair: v.form.Get("repair") == "true"}
	var err error
	data.Verification, err = v.stores.Verify(v, data.Repair, nil)
	for _, f := range []faults{
		{Name: "Missing", Meaning: "uploads whose file is gone; to repair is to remove the upload", First: data.Missing},
		{Name: "Orphaned", Meaning: "files that belong to no upload; to repair is to remove the file", First: data.Orphaned},
		{Name: "Wrong size", Meaning: "files that are not as long as their upload was; to repair is to remove both", First: data.WrongSize},
	} {
		if f.Count = len(f.First); f.Count > 0 {
			f.First = f.First[:min(f.Count, fewFaults)]
			data.Faults = append(data.Faults, f)
		}
	}
	return content{"verify", "Verified", "overview", data}, err
}
