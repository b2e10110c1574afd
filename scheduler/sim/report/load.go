// SPDX-License-Identifier: Apache-2.0

package report

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"

	"github.com/openllb/hlb-operator/scheduler/sim"
)

// The range of time lost that is shown, in percent of the bound.
const lostFrom, lostTo = 1, 1000

// beyondView is the logarithm that is drawn for unstable runs: the line leaves the picture at the top.
const beyondView = 9

// loadFigure is the time that policies lose over the lower bound by the load that is offered, a line a policy, of
// workloads load-NN and the suffix.
func loadFigure(results []*sim.Result, name, suffix, title string) *figure {
	lines := map[string]plotter.XYs{}
	var loads []float64
	for _, r := range results {
		number, isLoad := strings.CutPrefix(r.Workload, "load-")
		number, matches := strings.CutSuffix(number, suffix)
		load, err := strconv.Atoi(number)
		if !isLoad || !matches || err != nil {
			continue
		}
		lost := math.Log10(max((r.OverTightest-1)*100, lostFrom)) // plot.LogScale would misplace the axis's label
		if r.Unstable {
			lost = beyondView
		}
		loads = append(loads, float64(load))
		lines[r.Policy] = append(lines[r.Policy], plotter.XY{X: float64(load), Y: lost})
	}
	p := newPlot(title, "warm work offered, % of all slots", "mean completion, % beyond the bound")
	p.X.Tick.Marker, p.Y.Tick.Marker = ticks(
		slices.Compact(slices.Sorted(slices.Values(loads))),
		nil,
	), ticks(
		[]float64{1, 3, 10, 30, 100, 300, 1000},
		math.Log10,
	)
	legend := newLegend()
	drawn := false
	for _, policy := range policyNames {
		points := stableStart(lines[policy])
		if len(points) < 2 {
			continue
		}
		drawn = true
		l := lineOf(policy, points)
		p.Add(l)
		legend.Add(policy, l)
	}
	if !drawn {
		return nil
	}
	p.Y.Min, p.Y.Max = math.Log10(lostFrom), math.Log10(lostTo) // whatever Add made of them
	return &figure{
		name:   name,
		width:  vg.Points(640),
		height: vg.Points(340),
		panels: [][]*plot.Plot{{p}},
		legend: legend,
	}
}

// ticks label values, placed at what scale makes of them.
func ticks(values []float64, scale func(float64) float64) plot.ConstantTicks {
	var out plot.ConstantTicks
	for _, v := range values {
		at := v
		if scale != nil {
			at = scale(v)
		}
		out = append(out, plot.Tick{Value: at, Label: strconv.FormatFloat(v, 'g', -1, 64)})
	}
	return out
}

// stableStart are the points by load up to the first unstable run.
func stableStart(points plotter.XYs) plotter.XYs {
	slices.SortFunc(points, func(a, b plotter.XY) int { return cmp.Compare(a.X, b.X) })
	if i := slices.IndexFunc(points, func(p plotter.XY) bool { return p.Y == beyondView }); i >= 0 {
		return points[:i+1]
	}
	return points
}
