// SPDX-License-Identifier: Apache-2.0

// Command sim compares placement policies on generated and recorded workloads. It prints a line a run and writes
// sim.json and plots.
package main

import (
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/scheduler/sim"
	"github.com/openllb/hlb-operator/scheduler/sim/report"
)

func main() {
	var o options
	flag.StringVar(&o.out, "out", "out", "folder for sim.json and the plots")
	flag.StringVar(
		&o.trace,
		"trace",
		"",
		"recording to replay, .tsv or .tsv.gz; empty, or a file that is not there: a small generated one",
	)
	flag.StringVar(&o.workloads, "workloads", ".", "regular expression of workloads to run")
	flag.StringVar(&o.policies, "policies", ".", "regular expression of policies to run")
	flag.StringVar(
		&o.params,
		"params",
		"{}",
		`JSON object of scheduler parameters that differ from the defaults, for example {"priceSlope": 0.2}`,
	)
	flag.Float64Var(
		&o.restartHours,
		"restart-hours",
		0,
		"let each daemon of every workload restart with its volume once in so many hours; "+
			"0: only where the workload has it",
	)
	flag.Float64Var(&o.days, "days", 2, "length of generated workloads in days, the first two fifths being warm-up")
	flag.Uint64Var(&o.seed, "seed", 1, "what the drawn parts of all workloads follow from")
	flag.Parse()
	if o.restartHours < 0 {
		fmt.Fprintln(os.Stderr, "sim: -restart-hours must not be negative")
		os.Exit(2)
	}
	if err := o.run(os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "sim:", err)
		os.Exit(1)
	}
}

type options struct {
	out, trace, workloads, policies, params string
	days, restartHours                      float64
	seed                                    uint64
}

func (o *options) run(log io.Writer) error {
	workloads, err := regexp.Compile(o.workloads)
	if err != nil {
		return fmt.Errorf("-workloads: %w", err)
	}
	policies, err := regexp.Compile(o.policies)
	if err != nil {
		return fmt.Errorf("-policies: %w", err)
	}
	params := scheduler.DefaultParams()
	if err := json.Unmarshal([]byte(o.params), &params); err != nil {
		return fmt.Errorf("-params: %w", err)
	}
	if err := params.Validate(); err != nil {
		return fmt.Errorf("-params: %w", err)
	}
	var results []*sim.Result
	for _, c := range sim.Suite(o.days, o.seed, o.open(log)) {
		if !workloads.MatchString(c.Name) {
			continue
		}
		w, err := c.Make()
		if err != nil {
			return err
		}
		if o.restartHours > 0 {
			w.Restart(o.restartHours, o.seed)
		}
		done, err := play(w, wanted(policies, params, w), log)
		if err != nil {
			return err
		}
		results = append(results, done...)
		if err := o.write(results); err != nil { // after each workload, so that an interrupted run leaves what it has
			return err
		}
	}
	return nil
}

// wanted are the policies to run on a workload.
func wanted(names *regexp.Regexp, params scheduler.Params, w *sim.Workload) []sim.NamedPolicy {
	restarts := slices.ContainsFunc(w.Changes, func(c sim.Change) bool { return c.RestartSeconds > 0 })
	return slices.DeleteFunc(sim.Policies(params), func(p sim.NamedPolicy) bool {
		return !names.MatchString(p.Name) || p.Name == sim.NoReturns && !restarts
	})
}

// play runs policies on one workload, as many at a time as there are processors, and tells of each as it ends.
// Results are in the order of policies.
func play(w *sim.Workload, policies []sim.NamedPolicy, log io.Writer) ([]*sim.Result, error) {
	results := make([]*sim.Result, len(policies))
	var told sync.Mutex
	var runs errgroup.Group
	runs.SetLimit(runtime.GOMAXPROCS(0))
	for i, p := range policies {
		runs.Go(func() error {
			start := time.Now()
			r, err := sim.Run(w, p.Name, p.New())
			if err != nil {
				return err
			}
			told.Lock()
			defer told.Unlock()
			fmt.Fprintf(log, "%s (%.1fs)\n", r, time.Since(start).Seconds())
			results[i] = r
			return nil
		})
	}
	return results, runs.Wait()
}

// open is the recording, or a small generated one where there is none.
func (o *options) open(log io.Writer) sim.Trace {
	if o.trace != "" {
		if _, err := os.Stat(o.trace); err == nil || !errors.Is(err, os.ErrNotExist) {
			return func() (io.ReadCloser, error) { return os.Open(o.trace) }
		}
		fmt.Fprintf(log, "no recording at %s: the trace workloads use a small generated one\n", o.trace)
	}
	return sim.GeneratedTrace(2, 3000)
}

// write puts the results and their plots into the out folder.
func (o *options) write(results []*sim.Result) error {
	if err := os.MkdirAll(o.out, 0o755); err != nil {
		return err
	}
	files, err := report.Files(results)
	if err != nil {
		return err
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(o.out, f.Name), f.Content, 0o644); err != nil {
			return err
		}
	}
	return nil
}
