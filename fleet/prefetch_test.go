// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// ahead is a fleet whose BuildCache has spec.prefetch, played round by round.
type ahead struct{ *observed }

// aheadOf is a fleet of n serving daemons that nobody has looked at.
func aheadOf(t *testing.T, n int32, bytesPerHour string) *ahead {
	a := &ahead{observe(t)}
	a.cache = testbuild.BuildCache("ns", "c", testbuild.WithReplicas(n), testbuild.WithSlots(4),
		func(c *v1alpha1.BuildCache) {
			c.Spec.Prefetch = &v1alpha1.PrefetchSpec{BandwidthPerHour: resource.MustParse(bytesPerHour)}
			c.Spec.Mounts = []v1alpha1.MountPolicy{{ID: "*", Prime: v1alpha1.PrimeOnFreshDaemon}}
		})
	a.daemons = nil
	for i := range n {
		a.daemons = append(a.daemons, *testbuild.BuildDaemon("ns", "c", i, testbuild.Serving))
	}
	return a
}

// round looks at the fleet, does what comes of it, and returns when it is to be looked at again.
func (a *ahead) round() time.Duration {
	a.t.Helper()
	w := a.cycle()
	written := Written{At: a.now}
	for _, p := range w.Prefetch {
		p.Daemon.Spec.Prefetch = p.Requests
		written.Prefetch = append(written.Prefetch, p.Added...)
	}
	a.state.Written(written)
	return w.Recheck
}

// pass lets the time pass and looks when it is asked to, to the end, where it looks in any case.
func (a *ahead) pass(d time.Duration) time.Duration {
	a.t.Helper()
	end, again := a.now.Add(d), a.round()
	for again > 0 && a.now.Add(again).Before(end) {
		a.now = a.now.Add(again)
		again = a.round()
	}
	a.now = end
	return a.round()
}

// key is one whose home is the daemon and that another one holds with its mounts, whose snapshots are of so many
// bytes. It was built builds times in the last minute, in 100 s cold and 10 s warm.
func (a *ahead) key(home, holder, builds int, bytes int64, mounts ...string) string {
	a.t.Helper()
	key := a.keyAt(home, len(a.builds))
	var used []v1alpha1.BuildMount
	for _, id := range mounts {
		used = append(used, v1alpha1.BuildMount{ID: id, Sharing: v1alpha1.MountShared, Bytes: bytes})
		withSnapshot(&a.daemons[holder], id, v1alpha1.SnapshotPushed, envtestkit.Epoch, bytes)
	}
	testbuild.WithKey(key, a.now, 10, 100)(&a.daemons[holder])
	name := a.daemons[holder].Name
	for i := range builds {
		a.builds = append(a.builds, withMounts(done(fmt.Sprint(key, i), key, name, 10*time.Second, false), used...))
	}
	return key
}

// serves has a daemon take builds, or not.
func (a *ahead) serves(daemon int, ready bool) {
	status, reason := metav1.ConditionTrue, v1alpha1.ReasonDaemonServing
	if !ready {
		status, reason = metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable
	}
	testbuild.WithReady(status, reason)(&a.daemons[daemon])
}

// asked lists the mounts that each daemon is asked for.
func (a *ahead) asked() map[string][]string {
	out := map[string][]string{}
	for i := range a.daemons {
		for _, r := range a.daemons[i].Spec.Prefetch {
			out[a.daemons[i].Name] = append(out[a.daemons[i].Name], r.ID)
		}
	}
	return out
}

// wants fails the test unless daemons are asked for these mounts.
func (a *ahead) wants(when string, want map[string][]string) {
	a.t.Helper()
	if want == nil {
		want = map[string][]string{}
	}
	if diff := cmp.Diff(want, a.asked()); diff != "" {
		a.t.Errorf("%s, requests differ (-want +got):\n%s", when, diff)
	}
}

// end has a daemon tell what came of all it was asked for.
func (a *ahead) end(daemon int, outcome v1alpha1.PrimeOutcome) {
	d := &a.daemons[daemon]
	d.Status.Prefetch = nil
	for _, r := range d.Spec.Prefetch {
		d.Status.Prefetch = append(d.Status.Prefetch,
			v1alpha1.PrefetchStatus{PrimeStatus: v1alpha1.PrimeStatus{
				ID: r.ID, Outcome: outcome,
			}, RequestedAt: r.RequestedAt})
		if outcome == v1alpha1.PrimePrimed {
			used := metav1.NewTime(a.now)
			d.Status.Mounts = append(d.Status.Mounts, v1alpha1.MountUse{ID: r.ID, Bytes: r.Bytes, LastUsed: &used})
		}
	}
}

// joined is a fleet in which daemon 1 has just begun to take builds, after daemon 0 had done so alone for long enough.
func joined(t *testing.T, bytesPerHour string, prepare func(a *ahead)) *ahead {
	t.Helper()
	a := aheadOf(t, 2, bytesPerHour)
	prepare(a)
	a.serves(1, false)
	a.pass(prefetchRest)
	a.serves(1, true)
	return a
}

func TestADaemonThatJoinsIsAskedForMounts(t *testing.T) {
	a := joined(t, "1Ti", func(a *ahead) { a.key(1, 0, 9, 1e9, "ns/a", "ns/b") })
	if again := a.round(); again != prefetchRest {
		t.Errorf("after a daemon joined the loop looks again in %s, want %s", again, prefetchRest)
	}
	a.now = a.now.Add(prefetchRest - time.Second)
	if again := a.round(); again != time.Second {
		t.Errorf("a second before the fleet has rested the loop looks again in %s", again)
	}
	a.wants("before the fleet has rested", nil)
	a.now = a.now.Add(time.Second)
	if again := a.round(); again != sweepInterval {
		t.Errorf("with requests the loop looks again in %s, want %s", again, sweepInterval)
	}
	asked := metav1.NewTime(a.now)
	want := []v1alpha1.PrefetchRequest{
		{
			ID: "ns/a", Sharing: v1alpha1.MountShared, Bytes: 1e9, RequestedAt: asked,
		}, {ID: "ns/b", Sharing: v1alpha1.MountShared, Bytes: 1e9, RequestedAt: asked},
	}
	if diff := cmp.Diff(want, a.daemons[1].Spec.Prefetch); diff != "" {
		t.Errorf("requests differ (-want +got):\n%s", diff)
	}
	a.pass(time.Minute)
	a.wants("while the daemon is at it", map[string][]string{"c-1": {"ns/a", "ns/b"}})
	a.end(1, v1alpha1.PrimePrimed)
	a.round()
	a.wants("when they are brought in", nil)
	if again := a.pass(2 * sweepInterval); again != 0 {
		t.Errorf("at rest the loop looks again in %s", again)
	}
	a.wants("at rest", nil)
}

// TestADaemonThatLeavesHasItsCopiesMadeAnew has the daemon go with its BuildDaemon: that its mounts have snapshots is
// still known.
func TestADaemonThatLeavesHasItsCopiesMadeAnew(t *testing.T) {
	a := aheadOf(t, 3, "1Ti")
	key := a.key(0, 0, 9, 1e9, "ns/a")
	a.pass(time.Minute)
	next := a.state.view.Daemons[scheduler.Ranks(a.state.view, a.keyID(key), 2)[1]].Name
	a.daemons = a.daemons[1:]
	a.pass(prefetchRest)
	a.wants("after its home has left", map[string][]string{next: {"ns/a"}})
}

func TestOnlyChangesThatLastAreActedOn(t *testing.T) {
	for name, tc := range map[string]struct {
		happens func(a *ahead)
		want    map[string][]string
	}{
		"a daemon that is restarted": {func(a *ahead) {
			a.serves(0, false)
			a.pass(prefetchRest - time.Second)
			a.serves(0, true)
			a.pass(time.Hour)
		}, nil},
		"a daemon that comes and goes": {func(a *ahead) {
			for i := range 60 {
				a.serves(1, i%2 == 0)
				a.pass(time.Minute)
			}
		}, nil},
		"a fleet that is away and comes back": {func(a *ahead) {
			a.serves(0, false)
			a.pass(time.Hour)
			a.serves(0, true)
			a.pass(time.Hour)
		}, nil},
		"a daemon with a new volume": {func(a *ahead) {
			a.key(0, 1, 30, 1e9, "ns/b")
			a.serves(1, true)
			a.pass(20 * time.Minute) // ns/a of daemon 1 comes to nothing, and then all is at rest
			a.daemons[0].Status.VolumeEpoch, a.daemons[0].Status.Mounts, a.daemons[0].Status.Keys = "new", nil, nil
			a.pass(prefetchRest)
		}, map[string][]string{"c-0": {"ns/b"}}},
	} {
		t.Run(name, func(t *testing.T) {
			a := joined(t, "1Ti", func(a *ahead) { a.key(1, 0, 9, 1e9, "ns/a") })
			a.serves(1, false)
			a.round()
			tc.happens(a)
			a.wants("in the end", tc.want)
		})
	}
}

// TestWhatEndedIsLeftAlone has the daemon come to an end that is not the wanted one, and the fleet change twice
// within an hour and once after it.
func TestWhatEndedIsLeftAlone(t *testing.T) {
	for name, end := range map[string]func(a *ahead){
		"a request that failed":            func(a *ahead) { a.end(1, v1alpha1.PrimeFailed) },
		"one without a snapshot":           func(a *ahead) { a.end(1, v1alpha1.PrimeNoSnapshot) },
		"one that nobody attended to":      func(a *ahead) { a.pass(prefetchTimeout) },
		"one for what the list leaves out": func(a *ahead) { a.end(1, v1alpha1.PrimeHeld) },
		"one that was pruned soon after it": func(a *ahead) {
			a.end(1, v1alpha1.PrimePrimed)
			a.round()
			a.daemons[1].Status.Mounts = nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			a := joined(t, "1Ti", func(a *ahead) { a.key(1, 0, 30, 1e9, "ns/a") })
			a.pass(prefetchRest)
			a.wants("before", map[string][]string{"c-1": {"ns/a"}})
			end(a)
			again := func() {
				a.serves(1, false)
				a.pass(5 * time.Minute)
				a.serves(1, true)
				a.pass(prefetchRest)
			}
			for range 2 {
				again()
				a.wants("within the hour", nil)
			}
			if again := a.pass(2 * sweepInterval); again != 0 {
				t.Errorf("the loop looks again in %s", again)
			}
			a.pass(time.Hour)
			a.wants("after an hour without a change", nil)
			again()
			a.wants("after the hour", map[string][]string{"c-1": {"ns/a"}})
		})
	}
}

func TestWithoutASpecNothingIsAskedFor(t *testing.T) {
	a := joined(t, "1Ti", func(a *ahead) { a.key(1, 0, 9, 1e9, "ns/a") })
	a.pass(prefetchRest)
	a.wants("with spec.prefetch", map[string][]string{"c-1": {"ns/a"}})
	a.cache.Spec.Prefetch = nil
	if again := a.round(); again != 0 || a.state.prefetch != nil {
		t.Errorf("without spec.prefetch the loop looks again in %s and remembers %+v", again, a.state.prefetch)
	}
	a.wants("without spec.prefetch", nil)
	a.serves(1, false)
	a.pass(time.Hour)
	a.serves(1, true)
	a.pass(time.Hour)
	a.wants("after a change without spec.prefetch", nil)
}

func TestAManagerThatIsRestartedGoesOn(t *testing.T) {
	a := joined(t, "1Ti", func(a *ahead) { a.key(1, 0, 30, 1e9, "ns/a") })
	a.pass(prefetchRest)
	a.state = New(a.state.params)
	if again := a.round(); again != prefetchTimeout {
		t.Errorf("the loop looks again in %s, want when the request that it found is old", again)
	}
	if p := a.state.prefetch; p.Budget.Tokens != 0 {
		t.Errorf("%g bytes are saved up at once", p.Budget.Tokens)
	}
	a.wants("by the new manager", map[string][]string{"c-1": {"ns/a"}})
	a.pass(prefetchTimeout)
	a.wants("when the request is old", nil)
}
