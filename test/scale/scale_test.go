// SPDX-License-Identifier: Apache-2.0

// Package scale runs the manager's real program and real agents against a real API server, with builds that only take time. It shows what the
// scheduling loop does with long queues, and what a build costs the API server.
//
// As a test it is small. `make bench-scale` runs 10,000 builds on 100 daemons and writes out/scale.json.
package scale

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/go-logr/logr"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/openllb/hlb-operator/internal/envtestkit"
)

var (
	builds  = flag.Int("scale.builds", 200, "HLBBuilds to apply at once")
	daemons = flag.Int("scale.daemons", 5, "daemons of the BuildCache")
	keys    = flag.Int("scale.keys", 40, "cache keys that the builds are of")
	warm    = flag.Duration("scale.warm", 200*time.Millisecond, "how long a build takes on a daemon that holds its key; four times as long elsewhere")
	out     = flag.String("scale.out", "", "file for the figures, none when empty")
	limit   = flag.Duration("scale.limit", 10*time.Minute, "how long everything may take")
)

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // a hundred agents have much to say
	os.Exit(envtestkit.Main(m))
}

// report is what is measured.
type report struct {
	Builds  int `json:"builds"`
	Daemons int `json:"daemons"`
	Keys    int `json:"keys"`
	// ApplySeconds is how long it took to create all builds, TotalSeconds until the last was Ready.
	ApplySeconds float64 `json:"applySeconds"`
	TotalSeconds float64 `json:"totalSeconds"`
	// PlacementsPerSecond is placements over the time from the first to the last.
	PlacementsPerSecond float64 `json:"placementsPerSecond"`
	// BurstP50Seconds and BurstP99Seconds are from creation to placement when all are created at once: mostly waiting for a slot.
	BurstP50Seconds float64 `json:"burstP50Seconds"`
	BurstP99Seconds float64 `json:"burstP99Seconds"`
	// IdleP50Seconds and IdleP99Seconds are the same for builds applied one by one to the idle fleet afterwards.
	IdleP50Seconds float64 `json:"idleP50Seconds"`
	IdleP99Seconds float64 `json:"idleP99Seconds"`
	// WritesPerBuild counts requests that change HLBBuilds or BuildDaemons, without the creations, by everybody; DaemonWritesPerBuild those of
	// BuildDaemons among them. Renewals of Leases, whose number depends on time and not on builds, are apart.
	WritesPerBuild       float64 `json:"writesPerBuild"`
	DaemonWritesPerBuild float64 `json:"daemonWritesPerBuild"`
	LeaseWritesPerSecond float64 `json:"leaseWritesPerSecond"`
	// ManagerPeakMiB is the manager's peak resident memory; ManagerCPUSeconds its processor time.
	ManagerPeakMiB    float64 `json:"managerPeakMiB"`
	ManagerCPUSeconds float64 `json:"managerCPUSeconds"`
	// WarmShare is the part of the builds that found their key on their daemon.
	WarmShare float64 `json:"warmShare"`
}

func TestManyBuildsAreAllBuiltOnce(t *testing.T) {
	f := newFleet(t, *daemons)
	f.awaitReady(*daemons)
	before := f.writes()
	started := time.Now()

	watch := f.watchBuilds()
	f.apply(*builds, *keys)
	applied := time.Since(started)
	watch.awaitDone(*builds, *limit)
	total := time.Since(started)
	after := f.writes()

	r := report{Builds: *builds, Daemons: *daemons, Keys: *keys, ApplySeconds: applied.Seconds(), TotalSeconds: total.Seconds()}
	r.PlacementsPerSecond, r.BurstP50Seconds, r.BurstP99Seconds = watch.placements("burst")
	r.DaemonWritesPerBuild = float64(after.daemons-before.daemons) / float64(*builds)
	r.WritesPerBuild = float64(after.builds-before.builds)/float64(*builds) + r.DaemonWritesPerBuild
	r.LeaseWritesPerSecond = float64(after.leases-before.leases) / total.Seconds()
	r.WarmShare = watch.warmShare("burst")

	f.applySlowly(30)
	watch.awaitDone(*builds+30, *limit)
	_, r.IdleP50Seconds, r.IdleP99Seconds = watch.placements("idle")
	r.ManagerPeakMiB, r.ManagerCPUSeconds = f.manager.usage()
	if failed := watch.failed(); len(failed) > 0 {
		t.Errorf("%d builds did not succeed, such as %s", len(failed), failed[0])
	}
	if ran := f.ran(); ran != *builds+30 {
		t.Errorf("daemons built %d times, want once for each of %d builds", ran, *builds+30)
	}
	if most := f.mostAtOnce(); most > slots {
		t.Errorf("a daemon had %d builds at once, want %d at most", most, slots)
	}
	write(t, &r)
}

// write shows the figures and keeps them where -scale.out says.
func write(t *testing.T, r *report) {
	t.Helper()
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%s", data)
	if *out == "" {
		return
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*out, append(data, '\n'), 0o644); err != nil {
		t.Fatal(fmt.Errorf("keep the figures: %w", err))
	}
}
