package page

import (
	"github.com/caddy-xmpp/xmpp-upload/admin"
)

// plot is a bar for each day, in a square of 100 by 100 that the browser
// stretches. Texts stand beside it, where they keep their size.
type plot struct {
	Title string
	// Sum of all days, and the Peak that is as high as the plot.
	Sum, Peak   string
	First, Last string
	Bars        []bar
}

// bar is a day. Y is the distance of its top from the top.
type bar struct {
	X, Width, Y, Height float64
	Label               string
}

func newPlot(title string, days []admin.Day, value func(admin.Day) int64, format func(int64) string) plot {
	p := plot{Title: title}
	var sum, peak int64
	for _, d := range days {
		sum += value(d)
		peak = max(peak, value(d))
	}
	p.Sum, p.Peak = format(sum), format(peak)
	step := 100 / float64(max(len(days), 1))
	for i, d := range days {
		b := bar{X: (float64(i) + 0.1) * step, Width: 0.8 * step, Label: d.Day + ": " + format(value(d))}
		if n := value(d); n > 0 {
			b.Height = max(100*float64(n)/float64(peak), 1) // what is there is seen
		}
		b.Y = 100 - b.Height
		p.Bars = append(p.Bars, b)
	}
	if len(days) > 0 {
		p.First, p.Last = days[0].Day, days[len(days)-1].Day
	}
	return p
}
