// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// plots draws what the results have data for, as SVG, and a page that shows them all.
func plots(results []*Result) []File {
	var files []File
	add := func(name string, c *chart) {
		if c.drawable() {
			files = append(files, File{name, []byte(c.svg())})
		}
	}
	add("sim-load.svg", loadChart(results, "", "Completion against load, without priming"))
	add("sim-load-priming.svg", loadChart(results, "-priming", "Completion against load, with priming"))
	for _, w := range []string{"u35", "u35-priming", "trace", "trace-priming-churn"} {
		add("sim-hits-"+w+".svg", hitsChart(results, w))
	}
	add("sim-bytes.svg", bytesChart(results))
	for _, w := range []string{"u25-churn", "u35-priming-churn", "trace-churn", "trace-priming-churn"} {
		add("sim-queue-"+w+".svg", queueChart(results, w))
	}
	if len(files) == 0 {
		return nil
	}
	var page strings.Builder
	page.WriteString("<!doctype html><meta charset=utf-8><title>Placement policies</title><body style=\"font-family:sans-serif\">\n")
	for _, f := range files {
		fmt.Fprintf(&page, "<p><img src=%q>\n", f.Name)
	}
	return append(files, File{"sim.html", []byte(page.String())})
}

// loadChart is completion over the bound by utilisation, a line a policy, of workloads load-NN and the suffix.
func loadChart(results []*Result, suffix, title string) *chart {
	c := &chart{title: title, x: "warm work offered, % of slots", y: "mean completion over lower bound", yFrom: 1, yTo: 4}
	for _, r := range results {
		number, isLoad := strings.CutPrefix(r.Workload, "load-")
		number, matches := strings.CutSuffix(number, suffix)
		u, err := strconv.Atoi(number)
		if isLoad && matches && err == nil && !r.Unstable {
			l := c.line(r.Policy)
			l.points = append(l.points, point{float64(u), r.OverTightest})
		}
	}
	return c
}

// hitsChart is the share of warm, primed and cold builds of one workload, a bar a policy.
func hitsChart(results []*Result, workload string) *chart {
	c := &chart{title: "How builds found their caches: " + workload, y: "share of builds, warm (dark), primed, cold (light)", yTo: 1}
	for _, r := range results {
		if r.Workload == workload && !r.Unstable {
			c.bars = append(c.bars, bar{r.Policy, []float64{r.Warm, r.Primed, r.Cold}})
		}
	}
	return c
}

// bytesChart is what each policy pulled for priming, over all workloads that have priming and that all shown policies finished.
func bytesChart(results []*Result) *chart {
	c := &chart{title: "Pulled for priming: u35-priming", y: "TB"}
	for _, r := range results {
		if r.Workload == "u35-priming" && !r.Unstable {
			tb := float64(r.BytesPrimed) / 1e12
			c.bars = append(c.bars, bar{r.Policy, []float64{tb}})
			c.yTo = max(c.yTo, tb)
		}
	}
	return c
}

// queueChart is the longest queue in each ten minutes of one workload.
func queueChart(results []*Result, workload string) *chart {
	c := &chart{title: "Queue over time under churn: " + workload, x: "hours", y: "builds waiting"}
	for _, r := range results {
		if r.Workload != workload || r.Unstable {
			continue
		}
		l := c.line(r.Policy)
		for i, n := range r.QueueByTenMins {
			l.points = append(l.points, point{float64(i) / 6, float64(n)})
		}
		if r.Policy == "ours" {
			c.yTo = max(10, 4*float64(slices.Max(append(r.QueueByTenMins, 0)))) // others may leave the picture
		}
	}
	if c.yTo == 0 {
		c.yTo = 500
	}
	return c
}
