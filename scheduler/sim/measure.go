// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"fmt"
	"math"
	"slices"

	"github.com/openllb/hlb-operator/scheduler"
)

// Result is the measured outcome of one policy on one workload. Shares are of the measured builds that are not their
// program's first; seconds are of all measured builds.
type Result struct {
	Workload    string  `json:"workload"`
	Policy      string  `json:"policy"`
	MeanSeconds float64 `json:"meanSeconds"`
	P50Seconds  float64 `json:"p50Seconds"`
	P95Seconds  float64 `json:"p95Seconds"`
	P99Seconds  float64 `json:"p99Seconds"`
	// OverBound is mean / LB0, OverTightest is mean / max(LB0, LB0Flight, LB1).
	OverBound    float64 `json:"overBound"`
	OverTightest float64 `json:"overTightest"`
	Warm         float64 `json:"warm"`
	Primed       float64 `json:"primed"`
	Cold         float64 `json:"cold"`
	// BytesPrimed counts the whole run, warm-up included.
	BytesPrimed int64   `json:"bytesPrimed"`
	Unstable    bool    `json:"unstable"`
	Builds      int     `json:"builds"`
	MeanWait    float64 `json:"meanWaitSeconds"`
	Lost        Lost    `json:"lost"`
	P999Wait    float64 `json:"p999WaitSeconds"`
	MaxWait     float64 `json:"maxWaitSeconds"`
	P999Regret  float64 `json:"p999RegretSeconds"` // see regrets
	MaxRegret   float64 `json:"maxRegretSeconds"`
	// P999RegretShare and MaxRegretShare are the regret over what the build's caches save it, cold - warm.
	P999RegretShare float64            `json:"p999RegretShare"`
	MaxRegretShare  float64            `json:"maxRegretShare"`
	MaxQueue        int                `json:"maxQueue"`
	Utilisation     float64            `json:"utilisation"`
	QueueByTenMins  []int              `json:"-"` // longest queue in each ten minutes of the whole run
	ByQueue         map[string]float64 `json:"meanSecondsByQueue,omitempty"`
}

// Lost is the mean time of a build beyond its least possible length, by cause.
type Lost struct {
	WaitSeconds    float64 `json:"waitSeconds"`    // in the queue
	SetupSeconds   float64 `json:"setupSeconds"`   // priming, and the extra time on a primed daemon
	StaleSeconds   float64 `json:"staleSeconds"`   // work redone because the copy was stale
	MissingSeconds float64 `json:"missingSeconds"` // work redone without a copy; not first builds of programs
	LockSeconds    float64 `json:"lockSeconds"`
}

// measures collects a run's numbers.
type measures struct {
	wl          *Workload
	completions []float64
	waits       []float64
	regrets     []float64
	shares      []float64 // regrets over what caches save
	modes       [3]int
	lost        Lost // sums
	maxQueue    int
	queue       []int
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

func (m *measures) start(waited float64, b *Build, r *run, first bool) {
	if !m.counts(b) {
		return
	}
	m.waits = append(m.waits, waited)
	l := &m.lost
	l.WaitSeconds += waited
	l.SetupSeconds += r.setupSeconds + r.serviceSeconds - b.WarmSeconds -
		r.staleSeconds - r.missingSeconds - r.lockSeconds
	l.StaleSeconds += r.staleSeconds
	l.LockSeconds += r.lockSeconds
	if !first {
		l.MissingSeconds += r.missingSeconds
		m.modes[r.mode]++
	}
}

func (m *measures) end(now float64, b *Build, regret float64) {
	took := now - b.ArriveSeconds
	if !m.counts(b) {
		return
	}
	m.completions = append(m.completions, took)
	m.regrets = append(m.regrets, regret)
	m.shares = append(m.shares, regret/max(b.ColdSeconds-b.WarmSeconds, 1))
	if q := m.wl.Programs[b.Program].Queue; q != "" {
		s := m.byQueue[q]
		m.byQueue[q] = [2]float64{s[0] + took, s[1] + 1}
	}
}

func (m *measures) unstable(policy string) *Result {
	return &Result{
		Workload:       m.wl.Name,
		Policy:         policy,
		Unstable:       true,
		MaxQueue:       m.maxQueue,
		Utilisation:    m.wl.Utilisation,
		QueueByTenMins: m.queue,
	}
}

func (m *measures) result(policy string, primed int64) *Result {
	r := m.unstable(policy)
	r.Unstable = false
	r.BytesPrimed = primed
	r.Builds = len(m.completions)
	slices.Sort(m.completions)
	slices.Sort(m.waits)
	slices.Sort(m.regrets)
	slices.Sort(m.shares)
	r.MeanSeconds = meanOf(m.completions)
	r.P50Seconds = quantile(m.completions, .5)
	r.P95Seconds = quantile(m.completions, .95)
	r.P99Seconds = quantile(m.completions, .99)
	r.MeanWait, r.P999Wait, r.MaxWait = meanOf(m.waits), quantile(m.waits, .999), quantile(m.waits, 1)
	r.P999Regret, r.MaxRegret = quantile(m.regrets, .999), quantile(m.regrets, 1)
	r.P999RegretShare, r.MaxRegretShare = quantile(m.shares, .999), quantile(m.shares, 1)
	lb0 := LB0(m.wl)
	r.OverBound, r.OverTightest = r.MeanSeconds/lb0, r.MeanSeconds/max(lb0, LB0Flight(m.wl), LB1(m.wl))
	n := float64(max(r.Builds, 1))
	r.Lost = Lost{
		m.lost.WaitSeconds / n,
		m.lost.SetupSeconds / n,
		m.lost.StaleSeconds / n,
		m.lost.MissingSeconds / n,
		m.lost.LockSeconds / n,
	}
	if total := float64(m.modes[0] + m.modes[1] + m.modes[2]); total > 0 {
		r.Warm = float64(m.modes[scheduler.Warm]) / total
		r.Primed = float64(m.modes[scheduler.Primed]) / total
		r.Cold = float64(m.modes[scheduler.Cold]) / total
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

// String is one line for a terminal.
func (r *Result) String() string {
	if r.Unstable {
		return fmt.Sprintf("%-26s %-21s unstable", r.Workload, r.Policy)
	}
	return fmt.Sprintf(
		"%-26s %-21s mean %7.1fs p95 %7.1fs over bound %.3f warm %.4f primed %.4f cold %.4f pulled %7.0f GB "+
			"wait max %6.0fs regret max %6.0fs lost wait %.1f setup %.1f stale %.1f missing %.1f tightest %.3f",
		r.Workload,
		r.Policy,
		r.MeanSeconds,
		r.P95Seconds,
		r.OverBound,
		r.Warm,
		r.Primed,
		r.Cold,
		float64(r.BytesPrimed)/1e9,
		r.MaxWait,
		r.MaxRegret,
		r.Lost.WaitSeconds,
		r.Lost.SetupSeconds,
		r.Lost.StaleSeconds,
		r.Lost.MissingSeconds,
		r.OverTightest,
	)
}
