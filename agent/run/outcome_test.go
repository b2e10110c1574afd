// SPDX-License-Identifier: Apache-2.0

package run

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"

	"github.com/openllb/hlb-operator/agent/cacheplan"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

func TestAnImportThatBroughtNothingIsSaid(t *testing.T) {
	b := bound("cache-0")
	a := &attempt{
		job: &daemon.Job{Plan: cacheplan.Plan{Fresh: true, Imports: []string{"r/c:cache-x"}}},
		out: &daemon.Outcome{Total: 1, ImportErrors: map[string]string{"r/c:cache-x": "not found"}},
	}
	a.describe(b, start)
	c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionCacheImported)
	if c == nil || c.Reason != v1alpha1.ReasonImportUnavailable || !strings.Contains(c.Message, "not found") {
		t.Errorf("the condition is %+v", c)
	}
}

func TestAProgramThatDidNotCompileHasNoSteps(t *testing.T) {
	b := bound("cache-0")
	a := &attempt{
		job: &daemon.Job{Plan: cacheplan.Plan{Fresh: true, Imports: []string{"r/c:cache-x"}}},
		out: &daemon.Outcome{},
	}
	a.describe(b, start)
	if b.Status.Steps != nil || meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionCacheImported) != nil {
		t.Errorf("status: %+v", b.Status)
	}
}

func TestReportsStayWithinTheAPIsLimits(t *testing.T) {
	b := bound("cache-0")
	out := &daemon.Outcome{Total: 1, Mounts: []daemon.Mount{{ID: strings.Repeat("x", 513)}}}
	for i := range 100 {
		out.Mounts = append(out.Mounts, daemon.Mount{ID: fmt.Sprint(i), Target: strings.Repeat("/t", 1000)})
		out.Outputs = append(out.Outputs, v1alpha1.OutputStatus{Image: fmt.Sprint(i)})
	}
	(&attempt{job: &daemon.Job{}, out: out}).describe(b, start)
	s := b.Status
	if len(s.Mounts) != 64 || s.Mounts[0].ID != "0" || len(s.Mounts[0].Target) > 1024 || len(s.Outputs) != 64 {
		t.Errorf("%d mounts from %s on, %d outputs", len(s.Mounts), s.Mounts[0].ID, len(s.Outputs))
	}
}
