// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"math"
	"slices"

	"github.com/openllb/hlb-operator/scheduler"
)

// Result is what one policy did with one workload. Shares are of the measured builds that are not their program's first; seconds are of all measured.
type Result struct {
	Workload    string  `json:"workload"`
	Policy      string  `json:"policy"`
	MeanSeconds float64 `json:"meanSeconds"`
	P50Seconds  float64 `json:"p50Seconds"`
	P95Seconds  float64 `json:"p95Seconds"`
	P99Seconds  float64 `json:"p99Seconds"`
	// OverBound is the mean over LB0's, OverBound1 the mean over the larger of LB0 and LB1.
	OverBound  float64 `json:"overBound"`
	OverBound1 float64 `json:"overBound1"`
	Warm       float64 `json:"warm"`
	Primed     float64 `json:"primed"`
	Cold       float64 `json:"cold"`
	// BytesPrimed counts the whole run, warm-up included.
	BytesPrimed    int64   `json:"bytesPrimed"`
	Unstable       bool    `json:"unstable"`
	Builds         int     `json:"builds"`
	MeanWait       float64 `json:"meanWaitSeconds"`
	P999Wait       float64 `json:"p999WaitSeconds"`
	MaxWait        float64 `json:"maxWaitSeconds"`
	MaxQueue       int     `json:"maxQueue"`
	Utilisation    float64 `json:"utilisation"`
	DrainSeconds   float64 `json:"-"`
	QueueByTenMins []int   `json:"-"` // longest queue in each ten minutes of the whole run
	// MeanByHour is the mean completion of builds by hour of arrival since the run's start, 0 where none arrived.
	MeanByHour []float64          `json:"-"`
	WarmByHour []float64          `json:"-"` // share of warm among non-first builds, by hour of start
	ByQueue    map[string]float64 `json:"meanSecondsByQueue,omitempty"`
}

// measures collects a run's numbers.
type measures struct {
	wl          *Workload
	completions []float64
	waits       []float64
	modes       [3]int
	maxQueue    int
	queue       []int
	hourSum     []float64
	hourCount   []int
	hourWarm    []int
	hourModes   []int
	byQueue     map[string][2]float64 // sum, count
}

func newMeasures(wl *Workload) *measures { return &measures{wl: wl, byQueue: map[string][2]float64{}} }

// counts reports whether a build is measured.
func (m *measures) counts(b *Build) bool { return b.ArriveSeconds >= m.wl.WarmUpSeconds }

func (m *measures) sample(now float64, queued int) {
	at := int(now / 600)
	for len(m.queue) <= at {
		m.queue = append(m.queue, 0)
	}
	m.queue[at] = max(m.queue[at], queued)
	if now >= m.wl.WarmUpSeconds {
		m.maxQueue = max(m.maxQueue, queued)
	}
}

func (m *measures) start(now, waited float64, b *Build, _ *Program, r *run, first bool) {
	if !first {
		h := int(now / 3600)
		m.hourModes, m.hourWarm = grown(m.hourModes, h), grown(m.hourWarm, h)
		m.hourModes[h]++
		if r.mode == scheduler.Warm {
			m.hourWarm[h]++
		}
	}
	if !m.counts(b) {
		return
	}
	m.waits = append(m.waits, waited)
	if !first {
		m.modes[r.mode]++
	}
}

func (m *measures) end(now float64, b *Build, _ *run) {
	took := now - b.ArriveSeconds
	h := int(b.ArriveSeconds / 3600)
	m.hourSum, m.hourCount = grown(m.hourSum, h), grown(m.hourCount, h)
	m.hourSum[h] += took
	m.hourCount[h]++
	if !m.counts(b) {
		return
	}
	m.completions = append(m.completions, took)
	if q := m.wl.Programs[b.Program].Queue; q != "" {
		s := m.byQueue[q]
		m.byQueue[q] = [2]float64{s[0] + took, s[1] + 1}
	}
}

// grown is s, made long enough to have index i.
func grown[T any](s []T, i int) []T {
	for len(s) <= i {
		var zero T
		s = append(s, zero)
	}
	return s
}

func (m *measures) unstable(policy string) *Result {
	return &Result{Workload: m.wl.Name, Policy: policy, Unstable: true, MaxQueue: m.maxQueue, Utilisation: m.wl.Utilisation, QueueByTenMins: m.queue}
}

func (m *measures) result(policy string, primed int64) *Result {
	r := m.unstable(policy)
	r.Unstable = false
	r.BytesPrimed = primed
	r.Builds = len(m.completions)
	slices.Sort(m.completions)
	slices.Sort(m.waits)
	r.MeanSeconds = meanOf(m.completions)
	r.P50Seconds, r.P95Seconds, r.P99Seconds = quantile(m.completions, .5), quantile(m.completions, .95), quantile(m.completions, .99)
	r.MeanWait, r.P999Wait, r.MaxWait = meanOf(m.waits), quantile(m.waits, .999), quantile(m.waits, 1)
	lb0, lb1 := LB0(m.wl), LB1(m.wl)
	r.OverBound, r.OverBound1 = r.MeanSeconds/lb0, r.MeanSeconds/max(lb0, lb1)
	if total := float64(m.modes[0] + m.modes[1] + m.modes[2]); total > 0 {
		r.Warm, r.Primed, r.Cold = float64(m.modes[scheduler.Warm])/total, float64(m.modes[scheduler.Primed])/total, float64(m.modes[scheduler.Cold])/total
	}
	for i, n := range m.hourCount {
		r.MeanByHour = append(r.MeanByHour, m.hourSum[i]/float64(max(n, 1)))
	}
	for i, n := range m.hourModes {
		r.WarmByHour = append(r.WarmByHour, float64(m.hourWarm[i])/float64(max(n, 1)))
	}
	if len(m.byQueue) > 0 {
		r.ByQueue = map[string]float64{}
		for q, s := range m.byQueue {
			r.ByQueue[q] = s[0] / s[1]
		}
	}
	return r
}

func meanOf(x []float64) float64 {
	sum := 0.0
	for _, v := range x {
		sum += v
	}
	return sum / float64(max(len(x), 1))
}

// quantile of sorted values; 0 of none.
func quantile(sorted []float64, q float64) float64 {
	if len(sorted) == 0 {
		return 0
	}
	return sorted[int(math.Min(q*float64(len(sorted)), float64(len(sorted)-1)))]
}
