// SPDX-License-Identifier: Apache-2.0

package hlbbuild

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestBoundAttemptsAreJudgedByTheirDaemon(t *testing.T) {
	daemon := func(options ...func(*v1alpha1.BuildDaemon)) *v1alpha1.BuildDaemon {
		return testbuild.BuildDaemon("ns", "c", 0,
			append([]func(*v1alpha1.BuildDaemon){testbuild.Serving}, options...)...)
	}
	ready := testbuild.WithReady
	cases := map[string]struct {
		daemon               *v1alpha1.BuildDaemon
		wantStarted, wantNot action
	}{
		"a serving daemon keeps its builds": {daemon(), keep, keep},
		"a daemon that is gone":             {nil, lose, withdraw},
		"a daemon whose Lease ran out": {
			daemon(ready(metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired)), lose, withdraw,
		},
		"a daemon that was scaled away": {
			daemon(ready(metav1.ConditionFalse, v1alpha1.ReasonScaledDown)), lose, withdraw,
		},
		"a daemon that can't reach buildkitd": {
			daemon(ready(metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable)), keep, withdraw,
		},
		"a daemon that never reported": {testbuild.BuildDaemon("ns", "c", 0), keep, withdraw},
		"a draining daemon finishes its builds": {
			daemon(testbuild.WithCondition(v1alpha1.ConditionDraining, metav1.ConditionTrue,
				v1alpha1.ReasonShuttingDown)),
			keep, withdraw,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			placement := &v1alpha1.PlacementStatus{Daemon: "c-0"}
			started, why := decideBound(&v1alpha1.RunStatus{StartedBy: "agent"}, placement, tc.daemon)
			pending, _ := decideBound(&v1alpha1.RunStatus{}, placement, tc.daemon)
			if started != tc.wantStarted || pending != tc.wantNot {
				t.Errorf("started: %d, not: %d; want %d and %d", started, pending, tc.wantStarted, tc.wantNot)
			}
			if (started != keep) != (why != "") {
				t.Errorf("action %d with reason %q", started, why)
			}
		})
	}
}

func TestRetriesAreCounted(t *testing.T) {
	cases := map[string]struct {
		limit   *int32
		attempt int32
		free    int32
		want    bool
	}{
		"none given means none":                {nil, 1, 0, false},
		"none":                                 {ptr.To[int32](0), 1, 0, false},
		"one after the first attempt":          {ptr.To[int32](1), 1, 0, true},
		"not another after the second":         {ptr.To[int32](1), 2, 0, false},
		"the third of three more is left":      {ptr.To[int32](3), 3, 0, true},
		"waiting for a Secret uses up none":    {ptr.To[int32](1), 8, 7, true},
		"and the attempts after that count on": {ptr.To[int32](1), 9, 7, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := testbuild.HLBBuild("ns", "b")
			b.Spec.RetryLimit, b.Status.Run = tc.limit, &v1alpha1.RunStatus{Attempt: tc.attempt,
				UncountedAttempts: tc.free}
			if got := retryAllowed(b); got != tc.want {
				t.Errorf("allowed is %v, want %v", got, tc.want)
			}
		})
	}
}
