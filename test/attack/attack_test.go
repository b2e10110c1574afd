// SPDX-License-Identifier: Apache-2.0

// Package attack runs builds that want what they may not have, on a real cluster, each beside a neighbour that builds
// in a loop on the same daemon. An attack has to end with a named reason and without effect, and the neighbour must not
// notice more than that others build too.
//
// go test runs the short form; make attack runs all of it: ONLY picks attacks by their names.
package attack

import (
	"flag"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/test/e2e/harness"
)

var (
	only   = flag.String("attack.only", "", "run only attacks whose name holds one of these texts, comma-separated")
	all    = flag.Bool("attack.all", false, "run all attacks, not just the short form")
	output = flag.String("attack.out", "", "file to write the report to")
)

// agentMemory bounds what an agent may use for an attack, the compiler's process included, in MiB.
const agentMemory = 900

// Outcomes of attacks.
const (
	refused  = "refused"  // it failed for what it wanted
	bounded  = "bounded"  // it was ended by a bound
	harmless = "harmless" // it succeeded, and has checked itself that it got nothing
)

// result is how one attack went.
type result struct {
	Name    string `json:"name"`
	Outcome string `json:"outcome"`
	// Reason of the build's failure; empty for an attack that is harmless.
	Reason string `json:"reason"`
	// NeighbourBuilds ended beside the attack, NeighbourFailed of them badly.
	NeighbourBuilds int `json:"neighbourBuilds"`
	NeighbourFailed int `json:"neighbourFailed"`
	// NeighbourSlowdown is the mean length of these builds over that of builds beside which nothing ran.
	NeighbourSlowdown float64 `json:"neighbourSlowdown"`
	// AgentPeakMiB is the most memory that the agent's container had in use, with the compiler's process.
	AgentPeakMiB int `json:"agentPeakMiB"`
}

func TestAttacks(t *testing.T) {
	w := newWorld(t)
	before := w.neighbour(t, "alone", func() { time.Sleep(15 * time.Second) })
	if before.failed > 0 || before.builds == 0 {
		t.Fatalf("%d of %d builds failed before anybody attacked", before.failed, before.builds)
	}
	results := []result{}
	for _, a := range attacks() {
		if !isWanted(a) {
			continue
		}
		t.Run(a.name, func(t *testing.T) {
			r := w.attack(t, a, before.mean)
			results = append(results, r)
			t.Logf("%s %s; neighbour: %d builds, %d failed, %.1f times as long; agent's peak %d MiB", r.Outcome,
				r.Reason, r.NeighbourBuilds, r.NeighbourFailed, r.NeighbourSlowdown, r.AgentPeakMiB)
		})
		if err := harness.WriteReport(*output, results); err != nil {
			t.Error(err)
		}
	}
	if len(results) == 0 {
		t.Errorf("no attack has a name with %q", *only)
	}
}

func isWanted(a attack) bool {
	if *only == "" {
		return a.short || *all
	}
	return harness.IsNamed(a.name, *only)
}

// attack runs one attack beside the neighbour, and judges it.
func (w *world) attack(t *testing.T, a attack, alone time.Duration) result {
	t.Helper()
	w.count++
	build := w.newBuild(attackers, fmt.Sprintf("attack-%d", w.count), a.program)
	if a.change != nil {
		a.change(w, build)
	}
	memory := w.agentMemory(t)
	var ended bool
	var err error
	beside := w.neighbour(t, build.Name, func() {
		err = w.Client.Create(t.Context(), build)
		ended = err != nil || w.Ended(t.Context(), build, patience)
		if a.after != nil {
			a.after(t, w, build)
		}
	})
	r := result{
		Name: a.name, Outcome: a.want.outcome, NeighbourBuilds: beside.builds, NeighbourFailed: beside.failed,
		NeighbourSlowdown: beside.mean.Seconds() / alone.Seconds(), AgentPeakMiB: memory.peak(t),
	}
	if err != nil {
		r.Reason = string(apierrors.ReasonForError(err))
	} else if f := build.Status.Failure; f != nil {
		r.Reason = f.Reason
		for _, d := range f.Diagnostics {
			r.Reason += " " + d.Code
		}
	}
	if !ended || !slices.Contains(a.want.reasons, r.Reason) {
		t.Errorf("want it %s with one of %q, have %q: %s", a.want.outcome, a.want.reasons, r.Reason,
			harness.Describe(build))
	}
	if beside.failed > 0 || beside.builds == 0 {
		t.Errorf("%d of the neighbour's %d builds failed: %s", beside.failed, beside.builds, beside.details)
	}
	if r.AgentPeakMiB > agentMemory {
		t.Errorf("the agent needed %d MiB, more than %d", r.AgentPeakMiB, agentMemory)
	}
	must(t, client.IgnoreNotFound(w.Client.Delete(t.Context(), build)))
	return r
}

// besides is what became of the builds beside an attack.
type besides struct {
	builds, failed int
	mean           time.Duration
	details        string
}

// neighbour builds in a loop while do runs, at least once.
func (w *world) neighbour(t *testing.T, name string, do func()) (b besides) {
	t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); do() }()
	var total time.Duration
	for i := 0; ; i++ {
		build := w.newBuild(namespace, fmt.Sprintf("neighbour-%s-%d", name, i), neighbourly)
		build.Spec.CacheKey = "neighbour"
		build.Spec.HLB.Inline = new(strings.ReplaceAll(*build.Spec.HLB.Inline, "WORD", build.Name))
		began := time.Now()
		must(t, w.Client.Create(t.Context(), build))
		ended := w.Ended(t.Context(), build, patience)
		total += time.Since(began)
		b.builds++
		b.mean = total / time.Duration(b.builds)
		if !ended || build.Status.Failure != nil {
			b.failed++
			b.details += harness.Describe(build) + "\n"
		}
		must(t, w.Client.Delete(t.Context(), build))
		select {
		case <-done:
			return b
		default:
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
