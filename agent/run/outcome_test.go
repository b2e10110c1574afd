// SPDX-License-Identifier: Apache-2.0

package run

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/openllb/hlb-operator/agent/cacheplan"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// started is a build whose first attempt was claimed.
func started() *v1alpha1.HLBBuild {
	b := testbuild.HLBBuild("ns", "b")
	b.UID, b.Generation = "u", 1
	status.Open(b, v1alpha1.RunStatus{ID: "g1", Cause: v1alpha1.CauseSpecChanged, Generation: 1}, start)
	status.Place(b, v1alpha1.PlacementStatus{Daemon: "cache-0"}, start)
	status.Start(b, "pod/a", start)
	return b
}

func TestAnImportThatBroughtNothingIsSaid(t *testing.T) {
	b := started()
	a := &execution{
		job: &daemon.Job{Plan: cacheplan.Plan{Fresh: true, Imports: []string{"r/c:cache-x"}}},
		out: &daemon.Outcome{Total: 1, ImportErrors: map[string]string{"r/c:cache-x": "not found"}},
	}
	a.details(nil).apply(b, start)
	c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionCacheImported)
	if c == nil || c.Reason != v1alpha1.ReasonImportUnavailable || !strings.Contains(c.Message, "not found") {
		t.Errorf("the condition is %+v", c)
	}
}

func TestAProgramThatDidNotCompileHasNoSteps(t *testing.T) {
	b := started()
	a := &execution{
		job: &daemon.Job{Plan: cacheplan.Plan{Fresh: true, Imports: []string{"r/c:cache-x"}}},
		out: &daemon.Outcome{},
	}
	a.details(nil).apply(b, start)
	if b.Status.Steps != nil || meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionCacheImported) != nil {
		t.Errorf("status: %+v", b.Status)
	}
}

func TestReportsStayWithinTheAPIsLimits(t *testing.T) {
	b := started()
	out := &daemon.Outcome{Total: 1, Mounts: []daemon.Mount{{ID: strings.Repeat("x", 513)}}}
	for i := range 100 {
		out.Mounts = append(out.Mounts, daemon.Mount{ID: fmt.Sprint(i), Target: strings.Repeat("/t", 1000)})
		out.Outputs = append(out.Outputs, v1alpha1.OutputStatus{Image: fmt.Sprint(i)})
	}
	(&execution{job: &daemon.Job{}, out: out}).details(nil).apply(b, start)
	s := b.Status
	if len(s.Mounts) != 64 || s.Mounts[0].ID != "0" || len(s.Mounts[0].Target) > 1024 || len(s.Outputs) != 64 {
		t.Errorf("%d mounts from %s on, %d outputs", len(s.Mounts), s.Mounts[0].ID, len(s.Outputs))
	}
}
