// SPDX-License-Identifier: Apache-2.0

// Package report writes what simulations gave: as JSON, as plots, and as a page that shows the plots.
package report

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"

	"github.com/openllb/hlb-operator/scheduler/sim"
)

// File is one file of a report.
type File struct {
	Name    string
	Content []byte
}

// Files are sim.json, the plots that the results have data for as SVG, and sim.html that shows them.
func Files(results []*sim.Result) ([]File, error) {
	text, err := json.MarshalIndent(results, "", "  ")
	if err != nil {
		return nil, fmt.Errorf("write results: %w", err)
	}
	files := []File{{"sim.json", append(text, '\n')}}
	var page strings.Builder
	page.WriteString(
		"<!doctype html><meta charset=utf-8><title>Placement policies</title><body style=\"font-family:sans-serif\">\n",
	)
	for _, f := range figures(results) {
		svg, err := f.svg()
		if err != nil {
			return nil, fmt.Errorf("plot %s: %w", f.name, err)
		}
		files = append(files, File{f.name, svg})
		fmt.Fprintf(&page, "<p><img src=%q>\n", f.name)
	}
	if len(files) > 1 {
		files = append(files, File{"sim.html", []byte(page.String())})
	}
	return files, nil
}

// figure is one drawing: panels of equal size in rows, and a legend on the right.
type figure struct {
	name          string
	width, height vg.Length
	panels        [][]*plot.Plot
	legend        *plot.Legend
}

// legendWidth is what a figure keeps for its legend.
const legendWidth vg.Length = 125

// figures draws what there is to be seen in the results.
func figures(results []*sim.Result) []*figure {
	all := []*figure{
		loadFigure(results, "sim-load.svg", "", "Time lost, without priming"),
		loadFigure(results, "sim-load-priming.svg", "-priming", "Time lost, with priming"),
	}
	for _, w := range []string{"u35", "u35-priming", "trace", "trace-priming-churn"} {
		all = append(all, hitsFigure(results, w))
	}
	for _, w := range []string{"u35-priming", "trace-priming-churn"} {
		all = append(all, bytesFigure(results, w))
	}
	for _, w := range []string{"u25-churn", "u35-priming-churn", "trace-churn", "trace-priming-churn"} {
		all = append(all, queueFigure(results, w))
	}
	var out []*figure
	for _, f := range all {
		if f != nil {
			out = append(out, f)
		}
	}
	return out
}

// svg draws the figure.
func (f *figure) svg() ([]byte, error) {
	canvas := vgsvg.New(f.width, f.height)
	all := draw.New(canvas)
	all.SetColor(white)
	all.Fill(all.Path())
	left := all
	if f.legend != nil {
		left = draw.Crop(all, 0, -legendWidth, 0, 0)
		f.legend.Draw(draw.Crop(all, left.Max.X-left.Min.X+vg.Points(6), 0, 0, -vg.Points(24)))
	}
	tiles := draw.Tiles{
		Rows:     len(f.panels),
		Cols:     len(f.panels[0]),
		PadX:     vg.Points(8),
		PadY:     vg.Points(10),
		PadLeft:  vg.Points(6),
		PadRight: vg.Points(8),
		PadTop:   vg.Points(4),
	}
	for i, row := range plot.Align(f.panels, tiles, left) {
		for j, c := range row {
			if f.panels[i][j] != nil {
				f.panels[i][j].Draw(c)
			}
		}
	}
	var out bytes.Buffer
	_, err := canvas.WriteTo(&out)
	return []byte(families.Replace(out.String())), err
}
