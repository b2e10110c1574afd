// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// TestBuildsUseWhatTheirBuildCacheAllows has a fleet with lists of everything.
func TestBuildsUseWhatTheirBuildCacheAllows(t *testing.T) {
	t.Parallel() // it mostly waits
	cache := newFleet("listed", 1)
	cache.Spec.AllowedSources = &v1alpha1.AllowedSources{Images: []string{cluster.Info.Registry + "/*"}}
	cache.Spec.AllowedPushes = &v1alpha1.AllowedPushes{Images: []string{cluster.Info.Registry + "/e2e-listed/*"}}
	cache.Spec.SecretPolicy = &v1alpha1.SecretPolicy{From: v1alpha1.SecretsFromSelector,
		Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"use": "builds"}}}
	makeFleet(t, cache)
	on := func(name, program string) *v1alpha1.HLBBuild {
		build := newBuild(name, program)
		build.Spec.CacheRef.Name = "listed"
		return build
	}
	output := func(build *v1alpha1.HLBBuild, image string) *v1alpha1.HLBBuild {
		build.Spec.Outputs = []v1alpha1.OutputSpec{
			{Name: "app", Target: "default", Image: cluster.Info.Registry + "/" + image},
		}
		return build
	}
	const made = `fs default() { image "IMAGE"; run "true"; }`

	allowed := output(on("allowed", made), "e2e-listed/app:1")
	run(t, allowed)
	succeeded(t, allowed)

	elsewhere := output(on("pushes-elsewhere", made), "e2e-other/app:1")
	run(t, elsewhere)
	if f := failedWith(t, elsewhere, v1alpha1.ReasonNotPermitted); !strings.Contains(f.Message, "allowedPushes") {
		t.Errorf("the failure is %q, which lacks the field", f.Message)
	}
	for name, program := range map[string]string{
		"reads-elsewhere": `fs default() { image "docker.io/library/alpine" }`,
		"fetches":         `fs default() { http "http://169.254.169.254/latest/meta-data" }`,
		"clones":          `fs default() { git "https://github.com/openllb/hlb" "" }`,
		"reads-the-cache": `fs default() { image "` + cache.Spec.Registry.Repository + `:mount-x" }`,
	} {
		build := on(name, program)
		run(t, build)
		f := failedWith(t, build, v1alpha1.ReasonCompileFailed)
		if len(f.Diagnostics) != 1 || f.Diagnostics[0].Code != "NOT-ALLOWED" || f.Diagnostics[0].Line != 1 {
			t.Errorf("%s: diagnostics are %+v, want NOT-ALLOWED", name, f.Diagnostics)
		}
	}

	secret := sshSecret(t, "e2e-unlabelled")
	must(t, cluster.Client.Create(t.Context(), secret))
	waits := on("names-a-secret", made)
	waits.Spec.SSH = []v1alpha1.BuildSSH{
		{ID: "default", SecretRef: v1alpha1.LocalObjectReference{Name: secret.Name}},
	}
	apply(t, waits)
	eventually(t, waits, "the build waits for the label", func(b *v1alpha1.HLBBuild) bool {
		ready := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady)
		return ready != nil && ready.Reason == v1alpha1.ReasonSecretNotAllowed &&
			strings.Contains(ready.Message, secret.Name)
	})
	secret.Labels = map[string]string{"use": "builds"}
	must(t, cluster.Client.Update(t.Context(), secret))
	await(t, waits)
	succeeded(t, waits)
}
