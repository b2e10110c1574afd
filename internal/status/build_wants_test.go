// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"slices"
	"testing"

	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// fullBuild is a build that names one of everything, and two where order could matter.
func fullBuild() *v1alpha1.HLBBuild {
	b := testbuild.HLBBuild("n", "b")
	b.Generation = 1
	b.Spec.Source = &v1alpha1.SourceSpec{Git: &v1alpha1.GitSource{URL: "https://h/r", Ref: "main"}}
	b.Spec.HLB = &v1alpha1.HLBSpec{Targets: []string{"a", "b"}, Args: map[string]string{"x": "1", "y": "2"}}
	b.Spec.Outputs = []v1alpha1.OutputSpec{
		{Name: "a", Target: "a", Image: "r/a:1"}, {Name: "b", Target: "b", Image: "r/b:1"},
	}
	secret := func(id string) v1alpha1.BuildSecret {
		return v1alpha1.BuildSecret{ID: id, SecretKeyRef: v1alpha1.SecretKeyReference{Name: id, Key: "k"}}
	}
	b.Spec.Secrets = []v1alpha1.BuildSecret{secret("a"), secret("b")}
	b.Spec.SSH = []v1alpha1.BuildSSH{{ID: "default", SecretRef: v1alpha1.LocalObjectReference{Name: "key"}}}
	b.Spec.RegistrySecretRefs = []v1alpha1.LocalObjectReference{{Name: "a"}, {Name: "b"}}
	return b
}

func TestARunIsAskedForByWhatTheResultDependsOn(t *testing.T) {
	type spec = v1alpha1.HLBBuildSpec
	edits := map[string]struct {
		change func(*spec)
		want   bool
	}{
		"not when nothing changed":        {func(*spec) {}, false},
		"by another BuildCache":           {func(s *spec) { s.CacheRef.Name = "other" }, true},
		"by another ref":                  {func(s *spec) { s.Source.Git.Ref = "next" }, true},
		"by another program":              {func(s *spec) { s.HLB.Path = "other.hlb" }, true},
		"by another target":               {func(s *spec) { s.HLB.Targets[0] = "c" }, true},
		"by another argument":             {func(s *spec) { s.HLB.Args["x"] = "3" }, true},
		"by another platform":             {func(s *spec) { s.Platforms = []string{"linux/arm64"} }, true},
		"by another output":               {func(s *spec) { s.Outputs[0].Image = "r/a:2" }, true},
		"by another Secret":               {func(s *spec) { s.Secrets[0].SecretKeyRef.Name = "other" }, true},
		"by another ssh key":              {func(s *spec) { s.SSH[0].SecretRef.Name = "other" }, true},
		"by other credentials":            {func(s *spec) { s.RegistrySecretRefs = nil }, true},
		"by the order of credentials":     {func(s *spec) { slices.Reverse(s.RegistrySecretRefs) }, true},
		"not by the order of targets":     {func(s *spec) { slices.Reverse(s.HLB.Targets) }, false},
		"not by the order of outputs":     {func(s *spec) { slices.Reverse(s.Outputs) }, false},
		"not by the order of secrets":     {func(s *spec) { slices.Reverse(s.Secrets) }, false},
		"not by the cache key":            {func(s *spec) { s.CacheKey = "k" }, false},
		"not by the priority":             {func(s *spec) { s.Priority = 7 }, false},
		"not by the queue":                {func(s *spec) { s.Queue = "team" }, false},
		"not by a schedule":               {func(s *spec) { s.Schedule = &v1alpha1.ScheduleSpec{} }, false},
		"not by suspend":                  {func(s *spec) { s.Suspend = true }, false},
		"not by the time-out of attempts": {func(s *spec) { s.TimeoutSeconds = 7 }, false},
		"not by the deadline of runs":     {func(s *spec) { s.ActiveDeadlineSeconds = ptr.To[int32](7) }, false},
		"not by the limit of retries":     {func(s *spec) { s.RetryLimit = nil }, false},
		"not by how much is kept for how long": {
			func(s *spec) { s.HistoryLimit, s.TTLSecondsAfterFinished = nil, ptr.To[int32](7) }, false,
		},
	}
	for name, tc := range edits {
		t.Run(name, func(t *testing.T) {
			b := fullBuild()
			open(b, "g1", start)
			b.Generation++
			tc.change(&b.Spec)
			if got := status.NeedsRun(b); got != tc.want {
				t.Fatalf("NeedsRun is %v, want %v", got, tc.want)
			}
			if status.Observe(b) == tc.want {
				t.Errorf("the edit was observed: %v", !tc.want)
			}
			if !tc.want {
				expectObserved(t, b)
			}
		})
	}
}

// expectObserved checks that the status is about the present generation.
func expectObserved(t *testing.T, b *v1alpha1.HLBBuild) {
	t.Helper()
	if b.Status.ObservedGeneration != b.Generation || status.NeedsRun(b) || status.Observe(b) {
		t.Errorf("generation %d is not observed once and for all: %+v", b.Generation, b.Status)
	}
	for _, c := range b.Status.Conditions {
		if c.ObservedGeneration != b.Generation {
			t.Errorf("condition %s is about generation %d", c.Type, c.ObservedGeneration)
		}
	}
}

func TestARunIsAskedForByANewRequest(t *testing.T) {
	cases := map[string]struct {
		value string
		want  bool
	}{
		"a new value asks":         {"second", true},
		"the same does not":        {"first", false},
		"its removal asks nothing": {"", false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := fullBuild()
			testbuild.WithRequest("first")(b)
			status.Open(b, v1alpha1.RunStatus{ID: "g1", Generation: 1, RequestedAt: status.Requested(b)}, start)
			testbuild.WithRequest(tc.value)(b)
			if got := status.NeedsRun(b); got != tc.want {
				t.Errorf("NeedsRun is %v, want %v", got, tc.want)
			}
		})
	}
}
