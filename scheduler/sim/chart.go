// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"html"
	"strings"
)

// chart is a line or bar chart. Values above yTo are drawn at the upper edge.
type chart struct {
	title, x, y string
	yFrom, yTo  float64
	lines       []*line
	bars        []bar
}

type line struct {
	name   string
	points []point
}

type point struct{ x, y float64 }

// bar is a stack of values.
type bar struct {
	name   string
	values []float64
}

const (
	chartWidth, chartHeight = 860, 440
	plotLeft, plotTop       = 70, 40
	plotWidth, plotHeight   = 590, 340
)

// colours of lines, told apart also by people who see few colours; ours is black and thick.
var colours = []string{"#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8c6d1f", "#999999", "#6a3d9a", "#b15928", "#33a02c", "#fb9a99"}

// shades of stacked values.
var shades = []string{"#1b4965", "#62b6cb", "#dce8ee"}

// line finds or adds the line of a name.
func (c *chart) line(name string) *line {
	for _, l := range c.lines {
		if l.name == name {
			return l
		}
	}
	l := &line{name: name}
	c.lines = append(c.lines, l)
	return l
}

// drawable reports whether there is anything to see.
func (c *chart) drawable() bool {
	if len(c.bars) > 0 {
		return true
	}
	for _, l := range c.lines {
		if len(l.points) > 1 {
			return true
		}
	}
	return false
}

// height is the place of a value on the page.
func (c *chart) height(v float64) float64 {
	v = min(max(v, c.yFrom), c.yTo)
	return plotTop + plotHeight*(1-(v-c.yFrom)/max(c.yTo-c.yFrom, 1e-9))
}

// svg draws the chart.
func (c *chart) svg() string {
	var b strings.Builder
	fmt.Fprintf(&b, `<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" font-size="12"><rect width="100%%" height="100%%" fill="white"/>`+"\n", chartWidth, chartHeight)
	text := func(x, y float64, more, s string) {
		fmt.Fprintf(&b, `<text x="%.0f" y="%.0f" %s>%s</text>`+"\n", x, y, more, html.EscapeString(s))
	}
	text(plotLeft, 22, `font-size="16"`, c.title)
	for i := range 6 {
		v := c.yFrom + (c.yTo-c.yFrom)*float64(i)/5
		y := c.height(v)
		fmt.Fprintf(&b, `<path d="M%d %.1fh%d" stroke="#ddd"/>`+"\n", plotLeft, y, plotWidth)
		text(plotLeft-6, y+4, `text-anchor="end"`, fmt.Sprintf("%.4g", v))
	}
	fmt.Fprintf(&b, `<text transform="translate(18 %d) rotate(-90)" text-anchor="middle">%s</text>`+"\n", plotTop+plotHeight/2, html.EscapeString(c.y))
	if len(c.bars) > 0 {
		c.drawBars(&b)
	} else {
		c.drawLines(&b, text)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

func (c *chart) drawLines(b *strings.Builder, text func(x, y float64, more, s string)) {
	from, to := c.span()
	at := func(p point) (float64, float64) {
		return plotLeft + plotWidth*(p.x-from)/max(to-from, 1e-9), c.height(p.y)
	}
	for i := range 6 {
		x := from + (to-from)*float64(i)/5
		px, _ := at(point{x: x})
		text(px, plotTop+plotHeight+18, `text-anchor="middle"`, fmt.Sprintf("%.3g", x))
	}
	text(plotLeft+plotWidth/2, plotTop+plotHeight+40, `text-anchor="middle"`, c.x)
	for i, l := range c.lines {
		colour, width := colours[i%len(colours)], 1.5
		if l.name == "ours" {
			colour, width = "black", 3
		}
		b.WriteString(`<path fill="none" d="`)
		for j, p := range l.points {
			x, y := at(p)
			fmt.Fprintf(b, "%c%.1f %.1f", "ML"[min(j, 1)], x, y)
		}
		fmt.Fprintf(b, `" stroke="%s" stroke-width="%g"/>`+"\n", colour, width)
		y := float64(plotTop + 8 + 20*i)
		fmt.Fprintf(b, `<path d="M%d %.0fh24" stroke="%s" stroke-width="%g"/>`+"\n", plotLeft+plotWidth+14, y, colour, width)
		text(plotLeft+plotWidth+44, y+4, "", l.name)
	}
}

// span is the range of x over all lines.
func (c *chart) span() (from, to float64) {
	first := true
	for _, l := range c.lines {
		for _, p := range l.points {
			if first {
				from, to, first = p.x, p.x, false
			}
			from, to = min(from, p.x), max(to, p.x)
		}
	}
	return from, to
}

func (c *chart) drawBars(b *strings.Builder) {
	step := float64(plotWidth) / float64(len(c.bars))
	for i, bar := range c.bars {
		x, below := plotLeft+step*(float64(i)+.15), 0.0
		for k, v := range bar.values {
			top := c.height(below + v)
			fmt.Fprintf(b, `<rect x="%.1f" y="%.1f" width="%.1f" height="%.1f" fill="%s"/>`+"\n", x, top, step*.7, c.height(below)-top, shades[k%len(shades)])
			below += v
		}
		fmt.Fprintf(b, `<text transform="translate(%.1f %d) rotate(20)" font-size="10">%s</text>`+"\n", x, plotTop+plotHeight+14, html.EscapeString(bar.name))
	}
}
