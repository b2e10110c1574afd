// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

var (
	start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	me    = self{daemon: "cache-0", agentID: "pod/a"}
)

// bound is a build whose first attempt is placed on daemon.
func bound(daemon string) *v1alpha1.HLBBuild {
	b := testbuild.HLBBuild("ns", "b")
	b.UID, b.Generation = "u", 1
	status.Open(b, v1alpha1.RunStatus{ID: "g1", Cause: v1alpha1.CauseSpecChanged, Generation: 1}, start)
	status.Place(b, v1alpha1.PlacementStatus{Daemon: daemon}, start)
	return b
}

func TestJudge(t *testing.T) {
	now := &attemptID{uid: "u", run: "g1", attempt: 1}
	startedBy := func(id string) func(*v1alpha1.HLBBuild) {
		return func(b *v1alpha1.HLBBuild) { status.Start(b, id, start) }
	}
	cases := map[string]struct {
		change func(*v1alpha1.HLBBuild)
		known  *attemptID
		want   verdict
		mine   bool
	}{
		"a bound build is taken up":                      {func(*v1alpha1.HLBBuild) {}, nil, takeUp, false},
		"one that the agent is on carries on":            {startedBy("pod/a"), now, carryOn, true},
		"a stale look at one that it is on changes none": {func(*v1alpha1.HLBBuild) {}, now, carryOn, false},
		"a claim whose answer was lost is resumed":       {startedBy("pod/a"), nil, resume, true},
		"another agent's attempt is disowned":            {startedBy("pod/z"), nil, disown, false},
		"a new attempt is taken up after an old one": {func(b *v1alpha1.HLBBuild) {
			startedBy("pod/a")(b)
			status.Lose(b, v1alpha1.ReasonDiskFull, "full", start)
			status.Retry(b, start)
			status.Place(b, v1alpha1.PlacementStatus{Daemon: "cache-0"}, start)
		}, now, takeUp, false},
		"a lost attempt is let go": {func(b *v1alpha1.HLBBuild) {
			startedBy("pod/a")(b)
			status.Lose(b, v1alpha1.ReasonDaemonLost, "gone", start)
		}, now, letGo, false},
		"a build of another daemon is let go": {func(b *v1alpha1.HLBBuild) { b.Status.Placement.Daemon = "cache-1" }, now, letGo, false},
		"a build taken back is let go":        {func(b *v1alpha1.HLBBuild) { status.Wait(b, "Pending", "", start) }, now, letGo, false},
		"an edited build is let go":           {func(b *v1alpha1.HLBBuild) { startedBy("pod/a")(b); b.Generation = 2 }, now, letGo, true},
		"a build whose run was requested anew is let go": {func(b *v1alpha1.HLBBuild) {
			startedBy("pod/a")(b)
			testbuild.WithRequest("later")(b)
		}, now, letGo, true},
		"a deleted build is let go": {func(b *v1alpha1.HLBBuild) {
			startedBy("pod/a")(b)
			b.DeletionTimestamp = &metav1.Time{Time: start}
		}, now, letGo, false},
		"an ended run needs nothing, but last words are heard": {func(b *v1alpha1.HLBBuild) {
			startedBy("pod/a")(b)
			status.Succeed(b, start)
		}, now, letGo, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := bound("cache-0")
			tc.change(b)
			if got := judge(b, me, tc.known); got != tc.want {
				t.Errorf("verdict %d, want %d", got, tc.want)
			}
			if got := isMine(b, *now, me); got != tc.mine {
				t.Errorf("isMine is %v, want %v", got, tc.mine)
			}
		})
	}
}
