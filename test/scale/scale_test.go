// SPDX-License-Identifier: Apache-2.0

// Package scale runs the manager's real program and real agents against a real API server, with builds that only take
// time. It shows what the scheduling loop does with long queues, and what a build costs the API server.
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

	"github.com/openllb/hlb-operator/test/kit/envtestkit"
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
	// BurstP50Seconds and BurstP99Seconds are from creation to placement when all are created at once: mostly waiting
	// for a slot.
	BurstP50Seconds float64 `json:"burstP50Seconds"`
	BurstP99Seconds float64 `json:"burstP99Seconds"`
	// IdleP50Seconds and IdleP99Seconds are the same for builds applied one by one to the idle fleet afterwards.
	IdleP50Seconds float64 `json:"idleP50Seconds"`
	IdleP99Seconds float64 `json:"idleP99Seconds"`
	// WritesPerBuild counts requests that change HLBBuilds or BuildDaemons, without the creations, by everybody;
	// DaemonWritesPerBuild those of BuildDaemons among them. Renewals of Leases, whose number depends on time and not
	// on builds, are apart.
	WritesPerBuild       float64 `json:"writesPerBuild"`
	DaemonWritesPerBuild float64 `json:"daemonWritesPerBuild"`
	LeaseWritesPerSecond float64 `json:"leaseWritesPerSecond"`
	// ManagerPeakMiB is the manager's peak resident memory.
	ManagerPeakMiB float64 `json:"managerPeakMiB"`
	// EventWritesPerBuild counts the events that are created or changed, which nothing waits for.
	EventWritesPerBuild float64 `json:"eventWritesPerBuild"`
	// ProcessorSeconds are those of the manager, the agents (with the test that follows them), the API server and its
	// etcd, and of the whole machine, from the first creation to the end of the last build.
	ProcessorSeconds map[string]float64 `json:"processorSeconds"`
	// SlotShare is the part of the slots' time that builds had.
	SlotShare float64 `json:"slotShare"`
	// Limit says what kept the builds from being done sooner.
	Limit string `json:"limit"`
	// LostAttempts are those that were given up because an agent could not renew its Lease in time; a machine that is
	// too busy loses some.
	LostAttempts int `json:"lostAttempts"`
	// WarmShare is the part of the builds that found their key on their daemon.
	WarmShare float64 `json:"warmShare"`
}

func TestManyBuildsAreAllBuiltOnce(t *testing.T) {
	f := newFleet(t, *daemons)
	f.awaitReady(*daemons)
	before := f.writes()
	own := map[string]int{"manager": f.manager.cmd.Process.Pid, "agents": os.Getpid()}
	used := processorSeconds(own)
	started := time.Now()

	watch := f.watchBuilds()
	f.apply(*builds, *keys)
	applied := time.Since(started)
	watch.awaitDone(*builds, *limit)
	total := time.Since(started)
	after := f.writes()
	for name, seconds := range processorSeconds(own) {
		used[name] = seconds - used[name]
	}

	r := report{Builds: *builds, Daemons: *daemons, Keys: *keys, ApplySeconds: applied.Seconds(), TotalSeconds: total.Seconds()}
	r.PlacementsPerSecond, r.BurstP50Seconds, r.BurstP99Seconds = watch.placements("burst")
	r.DaemonWritesPerBuild = float64(after.daemons-before.daemons) / float64(*builds)
	r.WritesPerBuild = float64(after.builds-before.builds)/float64(*builds) + r.DaemonWritesPerBuild
	r.LeaseWritesPerSecond = float64(after.leases-before.leases) / total.Seconds()
	r.EventWritesPerBuild = float64(after.events-before.events) / float64(*builds)
	r.ProcessorSeconds, r.SlotShare = used, watch.buildSeconds()/total.Seconds()/float64(*daemons*slots)
	r.Limit = limitOf(used, watch.buildSeconds(), total.Seconds(), *daemons)
	r.WarmShare = watch.warmShare("burst")

	f.applySlowly(30)
	watch.awaitDone(*builds+30, *limit)
	_, r.IdleP50Seconds, r.IdleP99Seconds = watch.placements("idle")
	r.ManagerPeakMiB = f.manager.peakMiB()
	if failed := watch.failed(); len(failed) > 0 {
		t.Errorf("%d builds did not succeed, such as %s", len(failed), failed[0])
	}
	r.LostAttempts = watch.lost()
	if ran := f.ran(); ran < *builds+30 || ran > *builds+30+r.LostAttempts {
		t.Errorf("daemons built %d times, want once for each of %d builds and %d lost attempts", ran, *builds+30, r.LostAttempts)
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
