// SPDX-License-Identifier: Apache-2.0

package report

import (
	"fmt"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"

	"github.com/openllb/hlb-operator/scheduler/sim"
)

// ofWorkload are a workload's results in the order of policies, the last first, because charts count from below.
func ofWorkload(results []*sim.Result, workload string) []*sim.Result {
	var out []*sim.Result
	for _, r := range results {
		if r.Workload == workload {
			out = append(out, r)
		}
	}
	slices.SortStableFunc(out, func(a, b *sim.Result) int {
		return slices.Index(policyNames, b.Policy) - slices.Index(policyNames, a.Policy)
	})
	return out
}

// barFigure has a horizontal bar for each result, of the values that parts gives it beside one another, and says
// beside it what labels gives.
func barFigure(
	name, title, axis string,
	results []*sim.Result,
	parts []func(*sim.Result) float64,
	label func(*sim.Result) string,
) (*figure, []*plotter.BarChart) {
	if len(results) == 0 {
		return nil, nil
	}
	p := newPlot(title, axis, "")
	var bars []*plotter.BarChart
	for i, part := range parts {
		values := make(plotter.Values, len(results))
		for j, r := range results {
			if !r.Unstable {
				values[j] = part(r)
			}
		}
		b := &plotter.BarChart{Values: values, Width: vg.Points(12), Color: shades[i], Horizontal: true}
		if i > 0 {
			b.StackOn(bars[i-1])
		}
		p.Add(b)
		bars = append(bars, b)
	}
	labels := &plotter.Labels{}
	names := make([]string, len(results))
	for j, r := range results {
		names[j] = r.Policy
		said, at := label(r), 0.0
		for _, b := range bars {
			at += b.Values[j]
		}
		if r.Unstable {
			said = "unstable"
		}
		labels.Labels = append(labels.Labels, said)
		labels.XYs = append(labels.XYs, plotter.XY{X: at, Y: float64(j)})
		style := p.X.Tick.Label
		style.XAlign, style.YAlign = text.XLeft, text.YCenter
		labels.TextStyle = append(labels.TextStyle, style)
	}
	labels.Offset.X = vg.Points(4)
	p.Add(labels)
	p.NominalY(names...)
	p.X.Min = 0
	return &figure{
		name:   name,
		width:  vg.Points(640),
		height: vg.Points(70 + 18*float64(len(results))),
		panels: [][]*plot.Plot{{p}},
	}, bars
}

// hitsFigure is how builds of a workload found their caches.
func hitsFigure(results []*sim.Result, workload string) *figure {
	f, bars := barFigure(
		"sim-hits-"+workload+".svg",
		"How builds that are not the first of their program find their caches: "+workload,
		"% of builds",
		ofWorkload(results, workload),
		[]func(*sim.Result) float64{
			func(r *sim.Result) float64 { return 100 * r.Warm },
			func(r *sim.Result) float64 { return 100 * r.Primed },
			func(r *sim.Result) float64 { return 100 * r.Cold },
		},
		func(r *sim.Result) string { return fmt.Sprintf("%.1f%% cold", 100*r.Cold) },
	)
	if f == nil {
		return nil
	}
	f.legend = newLegend()
	for i, mode := range []string{"warm", "primed", "cold"} {
		f.legend.Add(mode, bars[i])
	}
	p := f.panels[0][0]
	p.X.Max = 115 // room for what is said beside full bars
	p.X.Tick.Marker = ticks([]float64{0, 25, 50, 75, 100}, nil)
	return f
}

// bytesFigure is what each policy pulls for priming in a workload.
func bytesFigure(results []*sim.Result, workload string) *figure {
	terabytes := func(r *sim.Result) float64 { return float64(r.BytesPrimed) / 1e12 }
	f, _ := barFigure(
		"sim-bytes-"+workload+".svg",
		"Pulled to prime cache mounts: "+workload,
		"TB",
		ofWorkload(results, workload),
		[]func(*sim.Result) float64{terabytes},
		func(r *sim.Result) string { return fmt.Sprintf("%.1f", terabytes(r)) },
	)
	if f != nil {
		f.panels[0][0].X.Max *= 1.1
	}
	return f
}
