// SPDX-License-Identifier: Apache-2.0

package report

import (
	"image/color"
	"slices"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/font"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/scheduler/sim"
)

var (
	white = color.NRGBA{255, 255, 255, 255}
	black = color.NRGBA{0, 0, 0, 255}
	grey  = color.NRGBA{221, 221, 221, 255}
)

// palette can be told apart by people who see few colours.
var palette = []color.Color{
	color.NRGBA{0x00, 0x72, 0xb2, 255}, color.NRGBA{0xe6, 0x9f, 0x00, 255}, color.NRGBA{0x00, 0x9e, 0x73, 255},
	color.NRGBA{0xcc, 0x79, 0xa7, 255}, color.NRGBA{0x56, 0xb4, 0xe9, 255}, color.NRGBA{0xd5, 0x5e, 0x00, 255},
}

// dashes tell lines of one colour apart.
var dashes = [][]vg.Length{nil, {vg.Points(7), vg.Points(3)}, {vg.Points(2), vg.Points(2)}}

// shades stand for warm, primed and cold.
var shades = []color.Color{
	color.NRGBA{0x1b, 0x49, 0x65, 255},
	color.NRGBA{0x62, 0xb6, 0xcb, 255},
	color.NRGBA{0xd5, 0x5e, 0x00, 255},
}

// ours is the policy that all others are compared with.
const ours, oursForesight = "ours", "ours-foresight"

// policyNames are all policies in the order in which they are shown.
var policyNames = func() []string {
	var names []string
	for _, n := range sim.Policies(scheduler.DefaultParams()) {
		names = append(names, n.Name)
	}
	return names
}()

// lineStyle is how a policy is drawn in every plot: ours black and thick, others by colour, and by dashes where there
// are more of them than colours.
func lineStyle(policy string) draw.LineStyle {
	switch policy {
	case ours:
		return draw.LineStyle{Color: black, Width: vg.Points(2.5)}
	case oursForesight:
		return draw.LineStyle{Color: black, Width: vg.Points(1), Dashes: []vg.Length{vg.Points(4), vg.Points(3)}}
	}
	s := draw.LineStyle{Color: palette[0], Width: vg.Points(1.2)}
	if i := slices.Index(policyNames, policy); i >= 0 {
		s.Color = palette[i%len(palette)]
		s.Dashes = dashes[min(i/len(palette), len(dashes)-1)]
	}
	return s
}

// sans is the font of all texts.
func sans(size font.Length) font.Font {
	return font.From(font.Font{Typeface: "Liberation", Variant: "Sans"}, size)
}

// families are that font and others of the same widths, for browsers that lack it.
var families = strings.NewReplacer(
	"font-family:Liberation Sans",
	"font-family:Liberation Sans,Arimo,Arial,Helvetica,sans-serif",
)

// newPlot is an empty panel with a grid.
func newPlot(title, x, y string) *plot.Plot {
	p := plot.New()
	p.BackgroundColor = white
	p.Title.Text, p.X.Label.Text, p.Y.Label.Text = title, x, y
	p.Title.TextStyle.Font = sans(12)
	p.Title.Padding = vg.Points(4)
	for _, f := range []*font.Font{&p.X.Label.TextStyle.Font, &p.Y.Label.TextStyle.Font, &p.X.Tick.Label.Font,
		&p.Y.Tick.Label.Font} {
		*f = sans(9)
	}
	grid := plotter.NewGrid()
	grid.Horizontal.Color, grid.Vertical.Color = grey, grey
	p.Add(grid)
	return p
}

// newLegend is an empty legend for the right side of a figure.
func newLegend() *plot.Legend {
	l := plot.NewLegend()
	l.Top, l.Left = true, true
	l.TextStyle.Font = sans(9)
	l.TextStyle.YAlign = draw.YBottom
	l.ThumbnailWidth = vg.Points(24)
	l.Padding = vg.Points(5)
	return &l
}

// lineOf is a policy's line through points.
func lineOf(policy string, points plotter.XYs) *plotter.Line {
	return &plotter.Line{XYs: points, LineStyle: lineStyle(policy)}
}
