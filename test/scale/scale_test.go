// SPDX-License-Identifier: Apache-2.0

// Package scale runs the manager's real program and real agents against a real API server, with builds that only take
// time, in a cluster with objects of other tenants. It shows what the scheduling loop does with long queues, and what
// a build and an idle fleet cost the API server.
//
// As a test it is small. `make bench-scale` runs 10,000 builds on 100 daemons and writes out/scale.json.
package scale

import (
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"testing"
	"time"

	"github.com/go-logr/logr"
	eventsv1 "k8s.io/api/events/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

var (
	builds  = flag.Int("scale.builds", 200, "HLBBuilds to apply at once")
	singles = flag.Int("scale.singles", 30, "HLBBuilds to apply one by one afterwards")
	daemons = flag.Int("scale.daemons", 5, "daemons of the BuildCache")
	keys    = flag.Int("scale.keys", 40, "cache keys that the builds are of")
	warm    = flag.Duration("scale.warm", 200*time.Millisecond,
		"how long a build takes on a daemon that holds its key; four times as long elsewhere")
	otherConfigMaps = flag.Int("scale.configmaps", 100, "ConfigMaps of other tenants, 4 KiB each")
	otherPods       = flag.Int("scale.pods", 50, "Pods of other tenants")
	otherLeases     = flag.Int("scale.leases", 50, "Leases of other tenants, each renewed every 10 s")
	still           = flag.Duration("scale.still", 5*time.Second,
		"how long requests are counted while nothing happens, after BuildDaemons changed, and of other tenants alone")
	out   = flag.String("scale.out", "", "file for the figures, none when empty")
	limit = flag.Duration("scale.limit", 10*time.Minute, "how long everything may take")
)

// settleTime is what a quiet time begins with that is not measured. Agents gather changes of a daemon's status for a
// shorter time before they write them, and the API server is done with new objects.
const settleTime = 8 * time.Second

func TestMain(m *testing.M) {
	ctrl.SetLogger(logr.Discard()) // a hundred agents have much to say
	os.Exit(envtestkit.Main(m))
}

func TestManyBuildsAreAllBuiltOnce(t *testing.T) {
	r := &report{
		Builds: *builds, Daemons: *daemons, Keys: *keys,
		OtherConfigMaps: *otherConfigMaps, OtherPods: *otherPods, OtherLeases: *otherLeases,
	}
	f := newFleet(t)
	f.during("creation of other tenants' objects", func() { f.addTenants(*otherConfigMaps, *otherPods, *otherLeases) })
	pause(t.Context(), settleTime)
	alone := f.during("other tenants alone", f.wait)
	r.APIServerCPUMsPerRenewal = 1000 * alone.used["kube-apiserver"] / max(alone.renewals(), 1)
	r.StartRequests = f.during("start", func() { f.start(*daemons) }).all

	watch := f.watchBuilds()
	r.burst(f, watch)
	single := f.during("builds one by one", func() {
		f.applySlowly(watch, *singles)
		watch.awaitDone(*builds+*singles, *limit)
	})
	attempts := float64(*singles + watch.lost() - r.LostAttempts)
	r.SingleStatusWritesPerBuild = float64(single.all.sum(statusWrites("hlbbuilds"))) / attempts
	_, r.ApplyToPlacedP50Ms, r.ApplyToPlacedP99Ms = watch.placements("single")
	r.rest(f)
	fmt.Print(r)
	r.keep(t)

	if failed := watch.failed(); len(failed) > 0 {
		t.Errorf("%d builds did not succeed, such as %s", len(failed), failed[0])
	}
	all, lost := *builds+*singles, watch.lost()
	if ran := f.ran(); ran < all || ran > all+lost {
		t.Errorf("daemons built %d times, want once for each of %d builds and %d lost attempts", ran, all, lost)
	}
	if most := f.mostAtOnce(); most > slots {
		t.Errorf("a daemon had %d builds at once, want %d at most", most, slots)
	}
	r.check(t)
}

// burst applies all builds at once and measures until the last of them has ended.
func (r *report) burst(f *fleet, watch *watch) {
	f.t.Helper()
	finishProfiles := f.startProfiles()
	p := f.during("burst", func() {
		started := time.Now()
		f.apply(watch, *builds, *keys)
		r.ApplySeconds = time.Since(started).Seconds()
		watch.awaitDone(*builds, *limit)
		r.TotalSeconds = time.Since(started).Seconds()
	})
	finishProfiles()
	r.LostAttempts = watch.lost()
	attempts := float64(*builds + r.LostAttempts)
	r.StatusWritesPerBuild = float64(p.all.sum(statusWrites("hlbbuilds"))) / attempts
	r.DaemonStatusWritesPerBuild = float64(p.all.sum(statusWrites("builddaemons"))) / attempts
	r.EventsPerBuild = float64(p.all.sum(eventWrites)) / attempts
	r.AppliesPerBuild = float64(p.all.sum(applies)) / attempts
	r.RequestsPerBuild = float64(p.all.total()) / attempts
	r.Requests, r.ManagerRequests, r.AgentRequests, r.RefusedRequests = p.all, p.manager, p.agents, p.refused
	r.StatusTransitions = watch.transitions()

	r.PlacementsPerSecond, r.BurstToPlacedP50Ms, r.BurstToPlacedP99Ms = watch.placements("burst")
	r.SlotShare = watch.buildSeconds() / r.TotalSeconds / float64(*daemons*slots)
	r.WarmShare = watch.warmShare("burst")
	r.ProcessorSeconds, r.ManagerCPUSeconds = p.used, p.used["manager"]
	r.APIServerCPUMsPerBuild = r.apiServerMs(p) / attempts
	if r.APIServerCPUMsPerRenewal > 0 {
		r.RenewalsPerBuild = r.APIServerCPUMsPerBuild / r.APIServerCPUMsPerRenewal
	}
	r.Limit = limitOf(p.used, watch.buildSeconds(), r.TotalSeconds, *daemons)
}

// apiServerMs is the API server's processor time of a phase, less that of the renewals by other tenants.
func (r *report) apiServerMs(p *phase) float64 {
	return 1000*p.used["kube-apiserver"] - r.APIServerCPUMsPerRenewal*p.renewals()
}

// rest measures the fleet after its builds: what it does on its own, and what changes of its objects lead to.
func (r *report) rest(f *fleet) {
	f.t.Helper()
	pause(f.t.Context(), settleTime)
	idle := f.during("no drift", f.wait)
	r.NoDriftSeconds, r.NoDriftRequests, r.NoDriftWatchEvents = idle.seconds, idle.all, idle.watchEvents
	r.NoDriftApplies = idle.all.sum(applies)
	r.IdleAPIServerCPUMsPerSecond = r.apiServerMs(idle) / idle.seconds
	changed := f.during("change of every BuildDaemon", func() {
		f.touchDaemons()
		f.wait()
	})
	r.DaemonChangeRequests, r.DaemonChangeApplies = changed.all, changed.all.sum(applies)
	r.DriftApplies = f.during("drift of an object", func() {
		f.drift()
		f.wait() // the server counts a request after it has been answered
	}).all.sum(applies)
	r.EventObjects = f.events()
	r.BuildDaemonMaxBytes = f.largestDaemon()
	r.ManagerPeakMiB, r.ManagerRestarts = f.manager.peakMiB(), f.manager.restarted()
}

// events are the numbers of events about the fleet and its builds, by reason.
func (f *fleet) events() counts {
	f.t.Helper()
	found := counts{}
	for next := ""; ; {
		var page eventsv1.EventList
		err := f.client.List(f.t.Context(), &page, client.InNamespace(f.ns), client.Limit(1000), client.Continue(next))
		if err != nil {
			f.t.Fatal(err)
		}
		for i := range page.Items {
			found[page.Items[i].Reason]++
		}
		if next = page.Continue; next == "" {
			return found
		}
	}
}

// largestDaemon is the size of the largest BuildDaemon as JSON, in bytes.
func (f *fleet) largestDaemon() int {
	f.t.Helper()
	daemons, err := f.daemons(f.t.Context())
	if err != nil {
		f.t.Fatal(err)
	}
	most := 0
	for i := range daemons {
		daemons[i].ManagedFields = nil
		data, err := json.Marshal(&daemons[i])
		if err != nil {
			f.t.Fatal(err)
		}
		most = max(most, len(data))
	}
	return most
}
