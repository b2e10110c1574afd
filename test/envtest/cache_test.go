// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// throughCache returns an object as the manager's cache holds it.
func throughCache[T client.Object](t *testing.T, o T) T {
	t.Helper()
	options := controllers.CacheOptions()
	transform := options.DefaultTransform
	for kind, of := range options.ByObject {
		if _, same := kind.(T); same && of.Transform != nil {
			transform = of.Transform
		}
	}
	out, err := transform(o.DeepCopyObject())
	if err != nil {
		t.Fatal(err)
	}
	return out.(T)
}

// failed opens a build's run and ends it with a failure.
func failed(b *v1alpha1.HLBBuild) {
	status.Open(b, buildrun.New(b), envtestkit.Epoch)
	status.Fail(b, v1alpha1.FailureStatus{
		Reason: v1alpha1.ReasonSolveFailed, Message: "m", LogTail: "log",
		Diagnostics: []v1alpha1.DiagnosticStatus{{Message: "d"}},
	}, envtestkit.Epoch.Add(time.Minute))
}

func TestOnlyBuildsThatAreOverAreCachedWithoutTheirProgram(t *testing.T) {
	type change = func(*v1alpha1.HLBBuild)
	open := func(b *v1alpha1.HLBBuild) { status.Open(b, buildrun.New(b), envtestkit.Epoch) }
	edit := func(b *v1alpha1.HLBBuild) { b.Generation++ }
	schedule := func(b *v1alpha1.HLBBuild) { b.Spec.Schedule = &v1alpha1.ScheduleSpec{} }
	cases := map[string]struct {
		changes     []change
		wantProgram bool
	}{
		"a new build":                 {nil, true},
		"a build that waits":          {[]change{open}, true},
		"a build that is over":        {[]change{failed}, false},
		"one that is asked for again": {[]change{failed, testbuild.WithRequest("again")}, true},
		"one that was edited":         {[]change{failed, edit}, true},
		"one with a schedule":         {[]change{schedule, failed}, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := testbuild.HLBBuild("ns", "b")
			b.Generation = 1
			for _, change := range tc.changes {
				change(b)
			}
			got := throughCache(t, b)
			if program := got.Spec.HLB.Inline != nil; program != tc.wantProgram {
				t.Errorf("with its program: %v, want %v", program, tc.wantProgram)
			}
			if status.NeedsRun(got) != status.NeedsRun(b) {
				t.Errorf("needs a run: %v, want %v", status.NeedsRun(got), status.NeedsRun(b))
			}
			if f := got.Status.Failure; f != nil && (f.LogTail != "" || f.Diagnostics != nil || f.Message != "m") {
				t.Errorf("the failure is %+v", f)
			}
		})
	}
}

func TestPatchesOfCachedBuildsLoseNothing(t *testing.T) {
	cluster := envtestkit.Get(t)
	writer := &write.Writer{Client: cluster.Client}
	b := testbuild.HLBBuild(cluster.Namespace(t), "b")
	b.Annotations = map[string]string{corev1.LastAppliedConfigAnnotation: "{}", "other": "before"}
	do := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	do(cluster.Client.Create(t.Context(), b))
	failed(b)
	do(cluster.Client.Status().Update(t.Context(), b))
	want := b.DeepCopy()

	before := throughCache(t, b)
	after := before.DeepCopy()
	after.Status.Conditions[0].Message = "after"
	outcome, err := writer.PatchStatus(t.Context(), before, after, write.Retry)
	if do(err); outcome != write.Written {
		t.Fatalf("the status is written with outcome %v", outcome)
	}
	do(cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(b), b))
	before = throughCache(t, b)
	after = before.DeepCopy()
	after.Annotations["other"] = "after"
	outcome, err = writer.Patch(t.Context(), before, after, write.Retry)
	if do(err); outcome != write.Written {
		t.Fatalf("the annotation is written with outcome %v", outcome)
	}
	do(cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(b), b))
	want.Status.Conditions[0].Message, want.Annotations["other"] = "after", "after"
	expectSame(t, want, b)
}

// expectSame compares two objects but for what the server keeps of writes.
func expectSame(t *testing.T, want, got client.Object) {
	t.Helper()
	for _, o := range []client.Object{want, got} {
		o.SetManagedFields(nil)
		o.SetResourceVersion("")
		o.SetGeneration(0)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", got.GetName(), diff)
	}
}

func TestPatchesOfCachedPodsLoseNothing(t *testing.T) {
	cluster := envtestkit.Get(t)
	ns := cluster.Namespace(t)
	images := workload.Images{Operator: "operator:1", BuildKit: "buildkit:1"}
	template, err := workload.NewTemplate(testbuild.BuildCache(ns, "cache"), images)
	if err != nil {
		t.Fatal(err)
	}
	set := template.StatefulSet(testbuild.BuildDaemon(ns, "cache", 0))
	pod := &corev1.Pod{ObjectMeta: set.Spec.Template.ObjectMeta, Spec: set.Spec.Template.Spec}
	pod.Namespace, pod.Name = ns, workload.PodName("cache-0")
	pod.Spec.Volumes = append(pod.Spec.Volumes, corev1.Volume{Name: set.Spec.VolumeClaimTemplates[0].Name})
	account := &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: pod.Spec.ServiceAccountName}}
	for _, o := range []client.Object{account, pod} {
		if err := cluster.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	want := pod.DeepCopy()
	before := throughCache(t, pod)
	after := before.DeepCopy()
	workload.SetAgentImage(after, "operator:2")
	patch := client.StrategicMergeFrom(before, client.MergeFromWithOptimisticLock{})
	if err := cluster.Client.Patch(t.Context(), after, patch); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(pod), pod); err != nil {
		t.Fatal(err)
	}
	workload.SetAgentImage(want, "operator:2")
	expectSame(t, want, pod)
}

// TestTheManagerMayUpdateNothingThatItCaches holds it to patches: an update would lose what its cache leaves out. An
// agent's Lease is the agent's to update, and the manager must hold the right to grant it.
func TestTheManagerMayUpdateNothingThatItCaches(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(envtestkit.Get(t).Root, "config", "rbac", "role.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var role rbacv1.ClusterRole
	if err := yaml.UnmarshalStrict(text, &role); err != nil {
		t.Fatal(err)
	}
	patched := false
	for _, rule := range role.Rules {
		patched = patched || slices.Contains(rule.Verbs, "patch")
		if !slices.Contains(rule.Verbs, "update") && !slices.Contains(rule.Verbs, "*") {
			continue
		}
		for _, resource := range rule.Resources {
			if resource != "leases" && !strings.HasSuffix(resource, "/finalizers") {
				t.Errorf("the manager may update %s", resource)
			}
		}
	}
	if !patched {
		t.Error("the role has no right to patch: is it the manager's?")
	}
}
