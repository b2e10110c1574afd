// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

func TestWhatIsWorthACopy(t *testing.T) {
	many := make([]string, 20)
	for i := range many {
		many[i] = fmt.Sprintf("ns/m%02d", i)
	}
	for name, tc := range map[string]struct {
		prepare func(a *ahead)
		want    []string
	}{
		"a key that is built once a day is not": {func(a *ahead) {
			a.key(1, 0, 1, 1e9, "ns/a")
			a.builds[0].Status.Run.QueuedAt.Time = envtestkit.Epoch.Add(-20 * time.Hour)
		}, nil},
		"one whose home is where it is held is not": {
			func(a *ahead) { a.key(0, 0, 9, 1e9, "ns/a") }, nil,
		},
		"one whose snapshot takes longer to bring in than it saves is not": {
			func(a *ahead) { a.key(1, 0, 9, 50e9, "ns/a") }, nil,
		},
		"mounts that are not primed are not": {func(a *ahead) {
			a.key(1, 0, 9, 1e9, "ns/a", "ns/b")
			a.cache.Spec.Mounts = []v1alpha1.MountPolicy{{ID: "b", Prime: v1alpha1.PrimeOnFreshDaemon}}
		}, []string{"ns/b"}},
		"mounts without a snapshot are not": {func(a *ahead) {
			a.key(1, 0, 9, 1e9, "ns/a", "ns/b")
			a.daemons[0].Status.Mounts[0].Snapshot = nil
		}, []string{"ns/b"}},
		"a mount that a build has at two places is brought in once": {
			func(a *ahead) { a.key(1, 0, 9, 1e9, "ns/a", "ns/a") }, []string{"ns/a"},
		},
		"what the daemon holds is not": {func(a *ahead) {
			a.key(1, 0, 9, 1e9, "ns/a", "ns/b")
			a.daemons[1].Status.Mounts = []v1alpha1.MountUse{{ID: "ns/a"}}
		}, []string{"ns/b"}},
		"mounts of two keys are brought in once": {func(a *ahead) {
			a.key(1, 0, 9, 1e9, "ns/a", "ns/shared")
			a.key(1, 0, 9, 1e9, "ns/shared")
		}, []string{"ns/shared", "ns/a"}}, // the better copy first
		"a daemon has sixteen requests at most": {
			func(a *ahead) { a.key(1, 0, 9, 1e6, many...) }, many[:16],
		},
		"and only as many as it can be done with in some time": {
			func(a *ahead) { a.key(1, 0, 9, 6e9, "ns/a", "ns/b") }, []string{"ns/a", "ns/b"},
		},
		"a first one it always has time for": {func(a *ahead) { a.key(1, 0, 9, 14e9, "ns/a") }, []string{"ns/a"}},
	} {
		t.Run(name, func(t *testing.T) {
			a := joined(t, "10Ti", tc.prepare)
			a.pass(prefetchRest)
			if diff := cmp.Diff(tc.want, a.asked()["c-1"]); diff != "" {
				t.Errorf("requests differ (-want +got):\n%s", diff)
			}
		})
	}
}

// TestRequestsAreMadeOneListAfterTheOther has a daemon do twenty mounts, of which sixteen fit its list.
func TestRequestsAreMadeOneListAfterTheOther(t *testing.T) {
	a := joined(t, "10Ti", func(a *ahead) {
		for i := range 20 {
			a.key(1, 0, 9, 1e6, fmt.Sprint("ns/", i))
		}
	})
	for range 3 {
		a.pass(prefetchRest)
		a.end(1, v1alpha1.PrimePrimed)
	}
	if again := a.pass(time.Minute); len(a.daemons[1].Status.Mounts) != 20 || again != 0 {
		t.Errorf("in the end the daemon holds %d mounts, want 20, and the loop looks again in %s",
			len(a.daemons[1].Status.Mounts), again)
	}
}

func TestNoMoreThanTheBudgetIsAskedFor(t *testing.T) {
	a := joined(t, "10Gi", func(a *ahead) {
		a.key(1, 0, 40, 8<<30, "ns/large")
		a.key(1, 0, 60, 3<<30, "ns/small")
		a.key(1, 0, 60, 11<<30, "ns/too-large")
	})
	a.pass(prefetchRest)
	a.wants("with nothing saved up", nil)
	if again := a.round(); again != sweepInterval {
		t.Errorf("with copies to make the loop looks again in %s", again)
	}
	a.pass(15 * time.Minute) // three of ten in 18 minutes, and the better copy first
	a.wants("with 3 GiB saved up", map[string][]string{"c-1": {"ns/small"}})
	a.end(1, v1alpha1.PrimePrimed)
	a.pass(45 * time.Minute)
	a.wants("before another 8 GiB are saved up", nil)
	a.pass(5 * time.Minute)
	a.wants("with 8 GiB saved up", map[string][]string{"c-1": {"ns/large"}})
	a.end(1, v1alpha1.PrimePrimed)
	if again := a.pass(2 * sweepInterval); again != 0 {
		t.Errorf("what is larger than the budget keeps the loop looking every %s", again)
	}
}

func TestSavingsAreBounded(t *testing.T) {
	p := &prefetchState{Budget: bucket{At: envtestkit.Epoch}}
	for _, tc := range []struct {
		after   time.Duration
		perHour float64
		want    float64
	}{{
		0, 100, 0,
	}, {30 * time.Minute, 100, 50}, {10 * time.Hour, 100, 100}, {0, 40, 40}, {time.Hour, 1e30, maxBytesPerHour}} {
		p.refill(tc.perHour, p.Budget.At.Add(tc.after))
		if p.Budget.Tokens != tc.want {
			t.Errorf("%s later at %g an hour %g are saved, want %g", tc.after, tc.perHour, p.Budget.Tokens, tc.want)
		}
	}
}

// TestMountsBroughtInDrawBuilds has a daemon that is nobody's home report the mounts of a key whose holder is away.
func TestMountsBroughtInDrawBuilds(t *testing.T) {
	a := aheadOf(t, 4, "1Ti")
	key := a.key(0, 0, 9, 1e9, "ns/a")
	a.cache.Spec.Mounts = nil // others can't be primed
	a.round()
	last := a.state.view.Daemons[scheduler.Ranks(a.state.view, a.keyID(key), 4)[3]].Name
	at := slices.IndexFunc(a.daemons, func(d v1alpha1.BuildDaemon) bool { return d.Name == last })
	used := metav1.NewTime(a.now)
	a.daemons[at].Status.Mounts = []v1alpha1.MountUse{{ID: "ns/a", Bytes: 1e9, LastUsed: &used}}
	a.serves(0, false)
	a.builds = append(a.builds, opened("waits", key))
	view, queue, _ := a.view()
	if got := scheduler.Cycle(view, queue, &a.state.params)[0]; got.Action != scheduler.Run || got.Chosen.Name != last {
		t.Errorf("the build: %s, want it on %s", got.String(), last)
	}
}
