// SPDX-License-Identifier: Apache-2.0

package report

import (
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/openllb/hlb-operator/scheduler/sim"
)

// queueColumns is how many panels stand beside one another.
const queueColumns = 4

// queueFigure is the longest queue in each hour of a workload: a panel for each policy, with ours in all of them. All
// panels have one scale, which is made for ours: others may leave the picture.
func queueFigure(results []*sim.Result, workload string) *figure {
	all := ofWorkload(results, workload)
	slices.Reverse(all)
	at := slices.IndexFunc(all, func(r *sim.Result) bool { return r.Policy == ours && !r.Unstable })
	if at < 0 || len(all) < 2 || len(all[at].QueueByTenMins) < 2 {
		return nil
	}
	reference := hourly(all[at].QueueByTenMins)
	all = slices.Delete(all, at, at+1)
	top := 10.0
	for _, p := range reference {
		top = max(top, 4*p.Y)
	}
	rows := (len(all) + queueColumns - 1) / queueColumns
	f := &figure{
		name:   "sim-queue-" + workload + ".svg",
		width:  vg.Points(760),
		height: vg.Points(40 + 130*float64(rows)),
		panels: make([][]*plot.Plot, rows),
	}
	for i := range f.panels {
		f.panels[i] = make([]*plot.Plot, queueColumns)
	}
	for i, r := range all {
		title := r.Policy
		if r.Unstable {
			title += " (unstable)"
		}
		p := newPlot(title, "", "")
		p.Title.TextStyle.Font = sans(10)
		if i%queueColumns == 0 {
			p.Y.Label.Text = "builds waiting"
		}
		if i+queueColumns >= len(all) {
			p.X.Label.Text = "hours"
		}
		p.Add(lineOf(r.Policy, hourly(r.QueueByTenMins)), lineOf(ours, reference))
		p.X.Min, p.X.Max, p.Y.Min, p.Y.Max = 0, reference[len(reference)-1].X, 0, top
		f.panels[i/queueColumns][i%queueColumns] = p
	}
	return f
}

// hourly are the largest values of each hour.
func hourly(byTenMins []int) plotter.XYs {
	var out plotter.XYs
	for hour := range slices.Chunk(byTenMins, 6) {
		out = append(out, plotter.XY{X: float64(len(out)), Y: float64(slices.Max(hour))})
	}
	return out
}
