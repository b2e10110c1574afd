// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestDaemonsAreJudgedForWhatTheyHave(t *testing.T) {
	t.Parallel()
	daemon := func(options ...func(*v1alpha1.BuildDaemon)) *v1alpha1.BuildDaemon {
		return testbuild.BuildDaemon("ns", "c", 0,
			append([]func(*v1alpha1.BuildDaemon){testbuild.Serving}, options...)...)
	}
	ready := testbuild.WithReady
	draining := testbuild.WithCondition(v1alpha1.ConditionDraining, metav1.ConditionTrue, v1alpha1.ReasonShuttingDown)
	suspended := func(d *v1alpha1.BuildDaemon) { d.Spec.Suspend = true }
	cases := map[string]struct {
		daemon               *v1alpha1.BuildDaemon
		wantGone, wantStarts bool
		wantReason           string
	}{
		"a serving daemon keeps its builds": {daemon(), false, true, ""},
		"a daemon that is gone":             {nil, true, false, v1alpha1.ReasonDaemonRemoved},
		"a daemon whose Lease ran out": {
			daemon(ready(metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired)), true, false, v1alpha1.ReasonDaemonLost,
		},
		"a daemon that was killed while it drained": {
			daemon(ready(metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired), draining), true, false,
			v1alpha1.ReasonDaemonDraining,
		},
		"a daemon that is scaled away and does not end in time": {
			daemon(ready(metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired), suspended), true, false,
			v1alpha1.ReasonDaemonRemoved,
		},
		"a daemon whose agent has ended in order": {
			daemon(ready(metav1.ConditionUnknown, v1alpha1.ReasonAgentStopped)), true, false,
			v1alpha1.ReasonDaemonDraining,
		},
		"a daemon whose node was lost": {
			daemon(ready(metav1.ConditionFalse, v1alpha1.ReasonNodeLost)), true, false, v1alpha1.ReasonDaemonLost,
		},
		"a daemon that was scaled away": {
			daemon(ready(metav1.ConditionFalse, v1alpha1.ReasonScaledDown)), true, false, v1alpha1.ReasonDaemonRemoved,
		},
		"a daemon that can't reach buildkitd": {
			daemon(ready(metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable)), false, false,
			v1alpha1.ReasonDaemonDraining,
		},
		"a daemon that never reported": {
			testbuild.BuildDaemon("ns", "c", 0), false, false, v1alpha1.ReasonDaemonDraining,
		},
		"a draining daemon finishes its builds": {daemon(draining), false, false, v1alpha1.ReasonDaemonDraining},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := factsOf("c-0", tc.daemon)
			if got.gone != tc.wantGone || got.starts != tc.wantStarts || got.cause.Reason != tc.wantReason {
				t.Errorf("facts %+v, want gone %v, starts %v, reason %s", got, tc.wantGone, tc.wantStarts,
					tc.wantReason)
			}
		})
	}
}
