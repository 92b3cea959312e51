package metrics_test

import (
	"bytes"
	"encoding/json"
	"os"
	"strings"
	"testing"
)

// dashboard is all of a Grafana dashboard that ours may have: an unknown key is
// a mistake.
type dashboard struct {
	Annotations, Timepicker any
	Description, Title, UID string
	Refresh, Timezone       string
	WeekStart               string
	Editable                bool
	FiscalYearStartMonth    int
	GraphTooltip            int
	ID                      *int
	Links                   []any
	Panels                  []panel
	SchemaVersion, Version  int
	Tags                    []string
	Templating              struct{ List []variable }
	Time                    struct{ From, To string }
}

type panel struct {
	ID                       int
	Title, Type, Description string
	Collapsed                bool
	Panels                   []any
	Datasource               *datasource
	GridPos                  struct{ X, Y, W, H int }
	FieldConfig, Options     any
	Targets                  []target
}

type target struct {
	Datasource                            datasource
	EditorMode, Expr, LegendFormat, RefID string
	Range                                 bool
}

type datasource struct{ Type, UID string }

type variable struct {
	Name, Type, Label, AllValue, Definition, Regex string
	Current, Query                                 any
	Datasource                                     *datasource
	Hide, Refresh, Sort                            int
	IncludeAll, Multi, SkipURLSync                 bool
	Options                                        []any
}

func readDashboard(t *testing.T) dashboard {
	t.Helper()
	b, err := os.ReadFile("../../docs/grafana-dashboard.json")
	if err != nil {
		t.Fatal(err)
	}
	var d dashboard
	decoder := json.NewDecoder(bytes.NewReader(b))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&d); err != nil {
		t.Fatal(err)
	}
	return d
}

// dashboardExprs returns the queries as Grafana sends them.
func dashboardExprs(t *testing.T) (exprs []string) {
	t.Helper()
	variables := strings.NewReplacer("$instance", ".*", "$__rate_interval", "1m")
	for _, p := range readDashboard(t).Panels {
		for _, target := range p.Targets {
			exprs = append(exprs, variables.Replace(target.Expr))
		}
	}
	return exprs
}

// The dashboard imports into any Grafana that has a Prometheus: it has no ID, and
// the data source is asked for. Panels fill the width and overlap nowhere.
func TestDashboardIsWellFormed(t *testing.T) {
	t.Parallel()
	d := readDashboard(t)
	if d.ID != nil || d.SchemaVersion < 39 || d.Title == "" || d.UID == "" {
		t.Errorf("id %v, schema %d, title %q, uid %q", d.ID, d.SchemaVersion, d.Title, d.UID)
	}
	if v := d.Templating.List; len(v) != 2 || v[0].Name != "datasource" || v[0].Type != "datasource" || v[0].Query != "prometheus" {
		t.Errorf("the first variable of %+v is not the data source", v)
	}
	ids, taken := make(map[int]bool), make(map[[2]int]string)
	for _, p := range d.Panels {
		if ids[p.ID] || p.ID == 0 || p.Title == "" {
			t.Errorf("panel %q has the ID %d", p.Title, p.ID)
		}
		ids[p.ID] = true
		for x := range p.GridPos.W {
			for y := range p.GridPos.H {
				at := [2]int{p.GridPos.X + x, p.GridPos.Y + y}
				if other, ok := taken[at]; ok || at[0] >= 24 {
					t.Fatalf("panel %q is over %q, or over the edge, at %v", p.Title, other, at)
				}
				taken[at] = p.Title
			}
		}
		if p.Type == "row" {
			continue
		}
		if p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %q has %d queries and is described as %q", p.Title, len(p.Targets), p.Description)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" || !strings.Contains(target.Expr, `instance=~"$instance"`) {
				t.Errorf("panel %q asks %s for %s", p.Title, target.Datasource.UID, target.Expr)
			}
		}
	}
}
