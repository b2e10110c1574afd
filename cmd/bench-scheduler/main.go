// SPDX-License-Identifier: Apache-2.0

// Command bench measures placements beside the ring of other tools and writes one JSON object. Times are processor
// time of this process, the least of several passes, so that a busy machine disturbs little.
package main

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/serialx/hashring"

	"github.com/openllb/hlb-operator/scheduler"
)

func main() {
	out := flag.String("out", "out/bench-scheduler.json", "file to write")
	flag.Parse()
	if err := run(*out); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

// report is what is written. Ns are nanoseconds an operation.
type report struct {
	DecisionNs10      float64 `json:"decisionNs10"`
	DecisionNs100     float64 `json:"decisionNs100"`
	DecisionNs1000    float64 `json:"decisionNs1000"`
	DecisionNs10000   float64 `json:"decisionNs10000"`
	CachedNs100       float64 `json:"cachedNs100"`
	CachedNs10000     float64 `json:"cachedNs10000"`
	AllocsPerOp       float64 `json:"allocsPerOp"`
	RoundNs           float64 `json:"roundNsPerBuild"`     // 1,000 builds queued on 100 daemons
	MembershipMs      float64 `json:"membershipMs"`        // one daemon joins 10,000, 20,000 keys remembered
	RingPerCallNs100  float64 `json:"ringPerCallNs100"`    // serialx/hashring made for each call, as buildx does
	RingPrebuiltNs100 float64 `json:"ringPrebuiltNs100"`   // the same, made once
	RingMaxOverMean   float64 `json:"ringMaxOverMean100"`  // keys on its fullest of 100 daemons over the mean
	RendezvousMaxMean float64 `json:"homesMaxOverMean100"` // the same of ours
}

func run(out string) error {
	var r report
	for n, at := range map[int]*float64{10: &r.DecisionNs10, 100: &r.DecisionNs100, 1000: &r.DecisionNs1000,
		10000: &r.DecisionNs10000} {
		b, err := newBench(n)
		if err != nil {
			return err
		}
		*at = nsPerOp(b.place)
		if n == 100 {
			r.AllocsPerOp = testing.AllocsPerRun(2000, b.place)
			r.RoundNs = nsPerOp(b.round) / 1000
		}
		b.remember()
		switch n {
		case 100:
			r.CachedNs100 = nsPerOp(b.place)
		case 10000:
			r.CachedNs10000 = nsPerOp(b.place)
			if r.MembershipMs, err = b.join(); err != nil {
				return err
			}
		}
	}
	if err := r.rings(); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	fmt.Println(string(text))
	if err := os.MkdirAll(filepath.Dir(out), 0o755); err != nil {
		return err
	}
	return os.WriteFile(out, append(text, '\n'), 0o644)
}

// bench is a fleet of four-slot daemons, every third full, and 2,000 builds whose keys have one to three copies.
type bench struct {
	view     *scheduler.View
	daemons  []scheduler.Daemon
	requests []scheduler.Request
	params   scheduler.Params
	next     int
}

func newBench(n int) (*bench, error) {
	b := &bench{params: scheduler.DefaultParams(), daemons: make([]scheduler.Daemon, n)}
	for i := range b.daemons {
		b.daemons[i] = daemon(i)
		if i%3 == 0 {
			b.daemons[i].Running = 4
			for j := range 4 {
				b.daemons[i].Busy = append(
					b.daemons[i].Busy,
					scheduler.Busy{EndsAtSeconds: float64(10 + 7*j), ExpectedSeconds: 100},
				)
			}
		}
	}
	var err error
	if b.view, err = scheduler.NewView(b.daemons, nil, 0); err != nil {
		return nil, err
	}
	for i := range 2000 {
		key := scheduler.KeyOf("ns", "key-"+strconv.Itoa(i))
		b.requests = append(
			b.requests,
			scheduler.Request{
				UID:         "uid-" + strconv.Itoa(i),
				Keys:        []scheduler.KeyUse{{ID: key}},
				WarmSeconds: 20,
				ColdSeconds: 100,
			},
		)
		for _, at := range scheduler.Ranks(b.view, key, 1+i%3) {
			b.view.Ledger.Restore(key, scheduler.Copy{Daemon: b.view.Daemons[at].ID})
		}
	}
	return b, nil
}

func daemon(i int) scheduler.Daemon {
	return scheduler.Daemon{
		ID:    scheduler.DaemonOf("ns/builds", i),
		Name:  "builds-" + strconv.Itoa(i),
		Phase: scheduler.Ready,
		Slots: 4,
	}
}

func (b *bench) place() {
	if _, err := scheduler.Place(b.view, &b.requests[b.next%len(b.requests)], &b.params); err != nil {
		panic(err) // the fleet has free slots by construction
	}
	b.next++
}

func (b *bench) round() { scheduler.Cycle(b.view, b.requests[:1000], &b.params) }

// remember makes the view use remembered candidates for the bench's keys.
func (b *bench) remember() {
	c := scheduler.NewRankCache()
	c.Follow(b.view)
	for i := range b.requests {
		c.Learn(b.view, b.requests[i].Keys[0].ID)
	}
}

// join is how long remembered candidates of 20,000 keys take to follow one daemon that joins, in milliseconds.
func (b *bench) join() (float64, error) {
	for i := range 20000 {
		b.view.RankCache.Learn(b.view, scheduler.KeyOf("join", strconv.Itoa(i)))
	}
	grown, err := scheduler.NewView(append(b.daemons, daemon(len(b.daemons))), nil, 0)
	if err != nil {
		return 0, err
	}
	start := processorTime()
	b.view.RankCache.Follow(grown)
	return float64((processorTime() - start).Microseconds()) / 1000, nil
}

// rings measures the ring on 100 names, and how evenly it and rendezvous spread 100,000 keys.
func (r *report) rings() error {
	names := make([]string, 100)
	daemons := make([]scheduler.Daemon, 100)
	for i := range names {
		daemons[i] = daemon(i)
		names[i] = daemons[i].Name
	}
	const keys = 100000
	texts := make([]string, keys)
	for i := range texts {
		texts[i] = "/home/ci/project-" + strconv.Itoa(i)
	}
	next := 0
	lookUp := func(ring *hashring.HashRing) string {
		name, _ := ring.GetNode(texts[next%keys])
		next++
		return name
	}
	r.RingPerCallNs100 = nsPerOp(func() { lookUp(hashring.New(names)) })
	ring := hashring.New(names)
	r.RingPrebuiltNs100 = nsPerOp(func() { lookUp(ring) })
	view, err := scheduler.NewView(daemons, nil, 0)
	if err != nil {
		return err
	}
	onRing, atHome := map[string]int{}, map[int]int{}
	for _, text := range texts {
		name, _ := ring.GetNode(text)
		onRing[name]++
		atHome[scheduler.Ranks(view, scheduler.KeyOf("ns", text), 1)[0]]++
	}
	r.RingMaxOverMean, r.RendezvousMaxMean = maxOverMean(onRing, keys/100), maxOverMean(atHome, keys/100)
	return nil
}

func maxOverMean[K comparable](counts map[K]int, mean float64) float64 {
	most := 0
	for _, n := range counts {
		most = max(most, n)
	}
	return float64(most) / mean
}

// nsPerOp is the least processor time of f over seven passes of at least 60 ms.
func nsPerOp(f func()) float64 {
	best := 0.0
	for pass := range 7 {
		count, start := 0, processorTime()
		for ; count%64 != 0 || processorTime()-start < 60*time.Millisecond; count++ {
			f()
		}
		if ns := float64(processorTime()-start) / float64(count); pass == 0 || ns < best {
			best = ns
		}
	}
	return best
}

// processorTime is what this process has used of the processor, in user mode.
func processorTime() time.Duration {
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		panic(err) // cannot fail for the process itself
	}
	return time.Duration(u.Utime.Nano())
}
