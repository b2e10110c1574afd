// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// observed is a fleet that a State observes in full, cycle by cycle. Tests change the fields in between.
type observed struct {
	t       testing.TB
	cache   *v1alpha1.BuildCache
	daemons []v1alpha1.BuildDaemon
	builds  []v1alpha1.HLBBuild
	now     time.Time
	state   *State
}

// observe is a fleet of two serving daemons of four slots, ten seconds after Epoch, not yet observed.
func observe(t testing.TB, builds ...v1alpha1.HLBBuild) *observed {
	return &observed{
		t:       t,
		cache:   testbuild.BuildCache("ns", "c", testbuild.WithReplicas(2), testbuild.WithSlots(4)),
		daemons: twoDaemons(),
		builds:  builds,
		now:     envtestkit.Epoch.Add(10 * time.Second),
		state:   New(scheduler.DefaultParams()),
	}
}

// cycle has the State observe everything.
func (f *observed) cycle() Writes {
	f.t.Helper()
	obs := Observation{Now: f.now, Cache: f.cache, Full: true}
	for i := range f.daemons {
		obs.Daemons = append(obs.Daemons, &f.daemons[i])
	}
	for i := range f.builds {
		obs.Builds = append(obs.Builds, &f.builds[i])
	}
	w, err := f.state.Cycle(obs)
	if err != nil {
		f.t.Fatal(err)
	}
	return w
}

// view is what the scheduler sees after a cycle, with the names of the builds that wait.
func (f *observed) view() (*scheduler.View, []scheduler.Request, []string) {
	f.t.Helper()
	f.cycle()
	names := []string{}
	for _, p := range f.state.queue.builds {
		names = append(names, p.build.object.Name)
	}
	return f.state.view, f.state.queue.requests, names
}

// daemon is one of the daemons as the scheduler sees it after a cycle.
func (f *observed) daemon(name string) scheduler.Daemon {
	f.t.Helper()
	view, _, _ := f.view()
	for _, d := range view.Daemons {
		if d.Name == name {
			return d
		}
	}
	f.t.Fatalf("no daemon %s in the view", name)
	return scheduler.Daemon{}
}

func (f *observed) keyID(key string) scheduler.KeyID { return new(identityOf(f.cache)).key(key) }

func (f *observed) mountID(id string) scheduler.KeyID { return new(identityOf(f.cache)).mount(id) }

func (f *observed) daemonID(at int) scheduler.DaemonID {
	return new(identityOf(f.cache)).daemon(&f.daemons[at])
}

// expect is how long a build of the key should take, warm and cold.
func (f *observed) expect(key string) (warm, cold float64) {
	return f.state.estimates.Expect(f.keyID(key), scopes(""), &f.state.params)
}

func twoDaemons(options ...func(*v1alpha1.BuildDaemon)) []v1alpha1.BuildDaemon {
	options = append([]func(*v1alpha1.BuildDaemon){testbuild.Serving}, options...)
	return []v1alpha1.BuildDaemon{
		*testbuild.BuildDaemon("ns", "c", 0, options...), *testbuild.BuildDaemon("ns", "c", 1, options...),
	}
}

// opened is a build whose run of this key was opened at Epoch.
func opened(name, key string) v1alpha1.HLBBuild {
	b := testbuild.HLBBuild("ns", name, testbuild.WithCacheKey(key), testbuild.WithTimeout(100))
	b.UID, b.Generation = types.UID(name), 1
	status.Open(b, buildrun.New(b), envtestkit.Epoch)
	return *b
}

// placed is one that is bound to a daemon, and one that runs there too when started.
func placed(name, key, daemon string, started bool) v1alpha1.HLBBuild {
	b := opened(name, key)
	status.Place(&b, v1alpha1.PlacementStatus{Daemon: daemon}, envtestkit.Epoch)
	if started {
		status.Start(&b, "agent", envtestkit.Epoch)
	}
	return b
}

// done is a run of the key on a daemon that took so long.
func done(name, key, daemon string, took time.Duration, fresh bool) v1alpha1.HLBBuild {
	b := placed(name, key, daemon, true)
	b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: fresh}
	status.Succeed(&b, envtestkit.Epoch.Add(took))
	return b
}

// keyInOrder is a key whose order of daemons begins with these. base begins its name.
func (f *observed) keyInOrder(base string, order ...string) string {
	f.t.Helper()
	var daemons []scheduler.Daemon
	for i := range f.daemons {
		d := scheduler.Daemon{ID: f.daemonID(i), Name: f.daemons[i].Name, Phase: scheduler.Ready, Slots: 1}
		daemons = append(daemons, d)
	}
	view, err := scheduler.NewView(daemons, nil, 0)
	if err != nil {
		f.t.Fatal(err)
	}
	for i := range 1000 {
		key := fmt.Sprint(base, "-", i)
		var names []string
		for _, at := range scheduler.Ranks(view, f.keyID(key), len(order)) {
			names = append(names, view.Daemons[at].Name)
		}
		if slices.Equal(names, order) {
			return key
		}
	}
	f.t.Fatalf("no key has the order %v", order)
	return ""
}
