// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"slices"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// TestSpareMountsGoFirst has a daemon of 10Gi hold three mounts of 2Gi, one more than its bound of half allows, where
// a second daemon has used the newest of them later.
func TestSpareMountsGoFirst(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		peer func(*v1alpha1.BuildDaemon)
		uses int64
		want string // that is pruned first
	}{
		"the copy that a serving daemon used later is spare": {testbuild.Serving, 1, "newest"},
		"one that was brought in there makes none spare":     {testbuild.Serving, 0, "oldest"},
		"a daemon that drains is no help": {func(d *v1alpha1.BuildDaemon) {
			testbuild.Serving(d)
			testbuild.WithCondition(v1alpha1.ConditionDraining, metav1.ConditionTrue, "Draining")(d)
		}, 1, "oldest"},
		"nor is one that does not serve": {func(*v1alpha1.BuildDaemon) {}, 1, "oldest"},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, testbuild.WithReplicas(2))
			peer := testbuild.BuildDaemon(w.ns, "cache", 1, c.peer)
			later := metav1.NewTime(time.Now().Add(time.Hour).Truncate(time.Second))
			peer.Status.Mounts = []v1alpha1.MountUse{{ID: w.ns + "/newest", Bytes: 1, Uses: c.uses, LastUsed: &later}}
			status := peer.Status
			w.create(peer)
			peer.Status = status
			if err := w.Client.Status().Update(t.Context(), peer); err != nil {
				t.Fatal(err)
			}
			h := &holder{}
			for i, id := range []string{"oldest", "middle", "newest"} {
				used := time.Now().Add(time.Duration(i-9) * time.Hour)
				h.cache = append(h.cache,
					gc.Record{ID: "r-" + id, Mount: w.ns + "/" + id, Bytes: 2 << 30, LastUsed: used})
			}
			w.start(h, "pod-a", func(o *agent.Options) { o.ObserveEvery = 100 * time.Millisecond })
			if got := w.pruned(); !slices.Equal(got, []string{w.ns + "/" + c.want}) {
				t.Errorf("pruned %v, want %s", got, c.want)
			}
		})
	}
}
