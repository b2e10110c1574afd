// SPDX-License-Identifier: Apache-2.0

// Package chaos injects faults into a real cluster while real builds run, and counts what becomes of the builds.
// Whether a step ran, and whether it ran twice at a time, is judged by what the steps themselves told a server outside
// of the cluster.
//
// go test runs the short form; make chaos runs all of it: SEED repeats a run, ONLY picks scenarios by their names.
package chaos

import (
	"context"
	"flag"
	"fmt"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

var (
	seed   = flag.Uint64("chaos.seed", 1, "seed of what is random: keys, lengths and moments")
	only   = flag.String("chaos.only", "", "run only scenarios whose name holds one of these texts, comma-separated")
	all    = flag.Bool("chaos.all", false, "run all scenarios, not just the short form")
	storm  = flag.Int("chaos.storm", 200, "builds of the scenario with a random fault every five seconds")
	output = flag.String("chaos.out", "", "file to write the report to")
)

func TestChaos(t *testing.T) {
	w := newWorld(t)
	r := &report{Seed: *seed, Scenarios: []result{}}
	for _, f := range faults {
		if isWanted(f.name, f.short) {
			run(t, w, r, f.name, func(t *testing.T, got *result) { scenario(t, w, f, got) })
		}
	}
	if isWanted("storm", false) {
		run(t, w, r, "storm", func(t *testing.T, got *result) { stormOf(t, w, *storm, got) })
	}
	if len(r.Scenarios) == 0 {
		t.Errorf("no scenario has a name with %q", *only)
	}
	t.Logf("%d builds: %d ended, %d retried, %d lost, %d doubled, %d stuck", r.Builds, r.Ended, r.Retried, r.Lost,
		r.Doubled, r.Stuck)
}

// isWanted reports whether a scenario is to be run.
func isWanted(name string, short bool) bool {
	if *only == "" {
		return short || *all
	}
	return harness.IsNamed(name, *only)
}

// newWorld installs the operator and makes the fleet.
func newWorld(t *testing.T) *world {
	t.Helper()
	ctx := t.Context()
	c, err := harness.Open(ctx, os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	if c.Local == nil {
		t.Fatal("these tests kill nodes and control planes, so they need the local cluster: unset CLUSTER")
	}
	w := &world{Cluster: c, random: rand.New(rand.NewPCG(*seed, 0))}
	if err := w.countOwn(); err != nil {
		t.Fatal(err)
	}
	host, _, _ := strings.Cut(c.Info.Registry, ":")
	if w.witness, err = startWitness(host); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.witness.server.Close() })
	if err := c.Install(ctx); err != nil {
		t.Fatal(err)
	}
	w.image = w.pushStep(t)
	for _, do := range []func(context.Context) error{
		func(ctx context.Context) error { return c.DeleteNamespace(ctx, namespace) },
		func(ctx context.Context) error { return c.Namespace(ctx, namespace) },
		func(ctx context.Context) error {
			w.fleet = w.fleetNamed("chaos")
			return c.Client.Create(ctx, w.fleet)
		},
		w.whole,
	} {
		if err := do(ctx); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() {
		if err := c.DeleteNamespace(context.Background(), namespace); err != nil {
			t.Error(err)
		}
	})
	return w
}

// run runs a scenario and adds it to the report, whatever becomes of it.
func run(t *testing.T, w *world, r *report, name string, do func(*testing.T, *result)) {
	got := result{Name: name}
	t.Run(name, func(t *testing.T) {
		before, own := w.requests(t.Context()), w.own.Load()
		do(t, &got)
		got.Requests = w.requests(t.Context()) - before - int(w.own.Load()-own)
		if w.startedWith > own { // the API server has counted from zero again
			got.Requests = w.requests(t.Context()) - int(w.own.Load()-w.startedWith)
		}
		if most := requestsEach * got.Builds; got.Requests > most {
			t.Errorf("%d requests to the API server, more than %d", got.Requests, most)
		}
		if got.Lost+got.Doubled+got.Stuck > 0 {
			t.Errorf("%d lost, %d doubled, %d stuck:\n%s", got.Lost, got.Doubled, got.Stuck,
				strings.Join(got.Details, "\n"))
		}
		t.Logf("%d builds, %d retried, recovered after %.0f s, %d requests", got.Builds, got.Retried,
			got.RecoverySeconds, got.Requests)
	})
	if err := r.add(got, *output); err != nil {
		t.Error(err)
	}
}

// scenario injects one fault three seconds after the first build began, with builds before, during and after it.
func scenario(t *testing.T, w *world, f fault, got *result) {
	ctx := t.Context()
	if err := w.whole(ctx); err != nil {
		t.Fatal(err)
	}
	builds := w.start(t, f.name, buildsEach*2/3)
	time.Sleep(3 * time.Second)
	end := f.inject(t, w, builds)
	if end != nil {
		healed := false
		t.Cleanup(func() {
			if !healed {
				end() //nolint:errcheck // the test has failed already
			}
		})
		builds = append(builds, w.start(t, f.name+"-during", buildsEach/3)...)
		time.Sleep(f.lasts)
		if err := end(); err != nil {
			t.Fatalf("end the fault: %v", err)
		}
		healed = true
	} else {
		builds = append(builds, w.start(t, f.name+"-after", buildsEach/3)...)
	}
	w.settle(t, builds, got)
}

// start creates builds over some keys, of random lengths, without waiting for them.
func (w *world) start(t *testing.T, name string, n int) []*v1alpha1.HLBBuild {
	t.Helper()
	var builds []*v1alpha1.HLBBuild
	for i := range n {
		b := w.newBuild(fmt.Sprintf("%s-%d", name, i), fmt.Sprintf("key-%d", w.random.IntN(keys)), 1+w.random.IntN(10))
		builds = append(builds, b)
		go w.create(t.Context(), b) //nolint:errcheck // a build that is not created is not ended, and so is stuck
	}
	return builds
}

// settle waits for recovery and for the builds' ends, and judges them.
func (w *world) settle(t *testing.T, builds []*v1alpha1.HLBBuild, got *result) {
	t.Helper()
	ctx := t.Context()
	recovery, err := w.recovered(ctx)
	if err != nil {
		t.Error(err)
	}
	got.RecoverySeconds = recovery.Seconds()
	until := time.Now().Add(patience)
	for _, b := range builds {
		got.Builds++
		ended := w.Ended(ctx, b, max(time.Until(until), time.Second))
		if err := w.judge(ctx, b, ended, got); err != nil {
			t.Error(err)
		}
		if err := w.Client.Delete(ctx, b); err != nil {
			t.Error(err)
		}
	}
}

// stormFaults are those that end quickly enough to come every five seconds.
var stormFaults = []string{
	"manager-killed", "agent-killed", "buildkitd-killed", "pod-deleted", "api-server-restarted", "operator-restarted",
}

// stormOf runs builds over minutes while a random fault comes every five seconds.
func stormOf(t *testing.T, w *world, n int, got *result) {
	if err := w.whole(t.Context()); err != nil {
		t.Fatal(err)
	}
	var builds []*v1alpha1.HLBBuild
	for i := 0; len(builds) < n; i++ {
		builds = append(builds, w.start(t, fmt.Sprintf("storm-%d", i), min(10, n-len(builds)))...)
		time.Sleep(5 * time.Second)
		name := stormFaults[w.random.IntN(len(stormFaults))]
		for _, f := range faults {
			if f.name != name {
				continue
			}
			t.Logf("fault %d: %s", i, name)
			t.Run(fmt.Sprintf("%d-%s", i, name), func(t *testing.T) {
				if end := f.inject(t, w, builds[max(len(builds)-10, 0):]); end != nil {
					time.Sleep(f.lasts)
					if err := end(); err != nil {
						t.Error(err)
					}
				}
			})
		}
	}
	w.settle(t, builds, got)
}
