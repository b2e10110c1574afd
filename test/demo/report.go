// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
)

// print shows the report to people.
func (r *report) print(w io.Writer) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(what string, seconds float64, note string) {
		if seconds > 0 {
			fmt.Fprintf(t, "%s\t%.2f s\t%s\n", what, seconds, note)
		} else {
			fmt.Fprintf(t, "%s\t\t%s\n", what, note)
		}
	}
	fmt.Fprintln(t)
	row("three daemons Ready", r.FleetSeconds, "")
	row("cold build", r.ColdSeconds, "on "+r.Daemon+", nothing cached")
	row("edited, built warm", r.WarmSeconds,
		fmt.Sprintf("same daemon: %t; %.0f times as fast", r.SameDaemon, r.ColdSeconds/r.WarmSeconds))
	row("the same by a plain client", r.DirectWarmSeconds,
		fmt.Sprintf("the operator adds %.2f s from edit to Ready", r.WarmSeconds-r.DirectWarmSeconds))
	row("first build on a fresh daemon", r.FreshImportSeconds,
		fmt.Sprintf("on %s, %d of %d steps from the registry cache", r.FreshDaemon, r.FreshCachedSteps,
			r.FreshTotalSteps))
	row("image runs as a pod", 0, fmt.Sprint(r.ImageRuns))
	t.Flush()
}

// check says what of the report is not as it should be. The bounds are ratios and facts, not speeds of a machine.
func (r *report) check() error {
	var errs []error
	if !r.SameDaemon {
		errs = append(errs, errors.New("a warm build went to another daemon than the cold one"))
	}
	if !r.ImageRuns {
		errs = append(errs, errors.New("the pushed image did not print what the last edit says"))
	}
	if r.FreshCachedSteps != r.FreshTotalSteps || r.FreshTotalSteps == 0 {
		errs = append(errs,
			fmt.Errorf("%d of %d steps were cached on the fresh daemon", r.FreshCachedSteps, r.FreshTotalSteps))
	}
	if r.WarmSeconds > 0.1*r.ColdSeconds {
		errs = append(errs,
			fmt.Errorf("the warm build took %.2f of the cold one, more than a tenth", r.WarmSeconds/r.ColdSeconds))
	}
	return errors.Join(errs...)
}
