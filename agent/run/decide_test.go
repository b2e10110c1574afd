// SPDX-License-Identifier: Apache-2.0

package run

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	me    = &self.Self{Namespace: "ns", Daemon: "cache-0", AgentID: "pod/a"}
)

// bound is a build whose first attempt is placed on daemon.
func bound(daemon string) *v1alpha1.HLBBuild {
	b := testbuild.HLBBuild("ns", "b")
	b.UID, b.Generation = "u", 1
	status.Open(b, v1alpha1.RunStatus{ID: "g1", Cause: v1alpha1.CauseSpecChanged, Generation: 1}, start)
	status.Place(b, v1alpha1.PlacementStatus{Daemon: daemon}, start)
	return b
}

func TestDecide(t *testing.T) {
	now := &attemptID{uid: "u", run: "g1", attempt: 1}
	startedBy := func(id string) func(*v1alpha1.HLBBuild) {
		return func(b *v1alpha1.HLBBuild) { status.Start(b, id, start) }
	}
	cases := map[string]struct {
		change func(*v1alpha1.HLBBuild)
		known  *attemptID
		want   action
		mine   bool
	}{
		"a bound build is claimed":                        {func(*v1alpha1.HLBBuild) {}, nil, actionClaim, false},
		"one that the agent is on continues":              {startedBy("pod/a"), now, actionContinue, true},
		"a stale look at one that it is on changes none":  {func(*v1alpha1.HLBBuild) {}, now, actionContinue, false},
		"a claim whose answer was lost is resumed":        {startedBy("pod/a"), nil, actionResume, true},
		"another agent's attempt is reported as orphaned": {startedBy("pod/z"), nil, actionReportOrphaned, false},
		"a new attempt is claimed after an old one": {func(b *v1alpha1.HLBBuild) {
			startedBy("pod/a")(b)
			status.Lose(b, v1alpha1.ReasonDiskFull, "full", start)
			status.Retry(b, start)
			status.Place(b, v1alpha1.PlacementStatus{Daemon: "cache-0"}, start)
		}, now, actionClaim, false},
		"a lost attempt is released": {func(b *v1alpha1.HLBBuild) {
			startedBy("pod/a")(b)
			status.Lose(b, v1alpha1.ReasonDaemonLost, "gone", start)
		}, now, actionRelease, false},
		"a build of another daemon is released": {
			func(b *v1alpha1.HLBBuild) { b.Status.Placement.Daemon = "cache-1" }, now, actionRelease, false,
		},
		"a build of a daemon of the same name in another namespace is released": {
			func(b *v1alpha1.HLBBuild) { b.Status.Placement.Namespace = "other" }, now, actionRelease, false,
		},
		"a build taken back is released": {
			func(b *v1alpha1.HLBBuild) { status.Wait(b, "Pending", "", start) }, now, actionRelease, false,
		},
		"a build whose program was edited is released": {func(b *v1alpha1.HLBBuild) {
			startedBy("pod/a")(b)
			b.Generation, b.Spec.HLB.Targets = 2, []string{"other"}
		}, now, actionRelease, true},
		"a build whose priority was edited goes on": {func(b *v1alpha1.HLBBuild) {
			startedBy("pod/a")(b)
			b.Generation, b.Spec.Priority = 2, 7
		}, now, actionContinue, true},
		"a build whose run was requested anew is released": {func(b *v1alpha1.HLBBuild) {
			startedBy("pod/a")(b)
			testbuild.WithRequest("later")(b)
		}, now, actionRelease, true},
		"a deleted build is released": {func(b *v1alpha1.HLBBuild) {
			startedBy("pod/a")(b)
			b.DeletionTimestamp = &metav1.Time{Time: start}
		}, now, actionRelease, false},
		"an ended run needs nothing, but a final report is permitted": {func(b *v1alpha1.HLBBuild) {
			startedBy("pod/a")(b)
			status.Succeed(b, start)
		}, now, actionRelease, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := bound("cache-0")
			tc.change(b)
			if got := decide(b, me, tc.known); got != tc.want {
				t.Errorf("action %d, want %d", got, tc.want)
			}
			if got := isMine(b, *now, me); got != tc.mine {
				t.Errorf("isMine is %v, want %v", got, tc.mine)
			}
		})
	}
}
