// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// counting appends a line to a file in a cache mount and prints how many there are: what it prints tells how often
// the mount was used.
const counting = `fs default() {
	image "IMAGE"
	run "echo WORD >> /cache/lines; wc -l < /cache/lines > /count; cat /count" with option {
		cacheMount "/cache" with option { id "KEY"; }
	}
}
`

func countingProgram(key, word string) string {
	return strings.NewReplacer("KEY", key, "WORD", word).Replace(counting)
}

func TestAnEditIsBuiltWarmOnTheSameDaemon(t *testing.T) {
	build := newBuild("warm", countingProgram("warm", "first"))
	build.Spec.Outputs = []v1alpha1.OutputSpec{{
		Name: "app", Target: "default", Image: cluster.Info.Registry + "/e2e-warm:latest",
	}}
	run(t, build)
	succeeded(t, build)
	home, first := build.Status.Placement.Daemon, build.Status.Outputs
	if !build.Status.Cache.Fresh {
		t.Error("the first build did not find its daemon fresh")
	}
	if len(first) != 1 || !strings.HasPrefix(first[0].Digest, "sha256:") {
		t.Errorf("outputs are %+v, want one with a digest", first)
	}

	for _, word := range []string{"second", "third"} {
		edit(t, build, func(s *v1alpha1.HLBBuildSpec) {
			s.HLB.Inline = newBuild("", countingProgram("warm", word)).Spec.HLB.Inline
		})
		await(t, build)
		succeeded(t, build)
		if got := build.Status.Placement.Daemon; got != home {
			t.Errorf("the %s build went to %s, the first to %s", word, got, home)
		}
		if build.Status.Cache != nil && build.Status.Cache.Fresh {
			t.Errorf("the %s build found the daemon fresh", word)
		}
		if m := build.Status.Mounts; len(m) != 1 || !m[0].Hit || m[0].Target != "/cache" {
			t.Errorf("the %s build's mounts are %+v, want one hit", word, m)
		}
	}
	// The daemon was measured after the earlier builds.
	eventually(t, build, "the mount's bytes are reported", func(b *v1alpha1.HLBBuild) bool {
		return len(b.Status.Mounts) == 1 && b.Status.Mounts[0].Bytes > 0
	})
	if got := build.Status.Outputs; len(got) != 1 || got[0].Digest == first[0].Digest {
		t.Errorf("outputs are %+v after the edits, as before", got)
	}
	if h := build.Status.History; len(h) != 2 || h[0].ID != "g2" || h[0].Reason != v1alpha1.ReasonSucceeded {
		t.Errorf("history is %+v, want g2 and g1", h)
	}
}

func TestAnUnchangedBuildIsCachedWhenRequestedAgain(t *testing.T) {
	build := newBuild("again", countingProgram("again", "once"))
	run(t, build)
	succeeded(t, build)
	if s := build.Status.Steps; s.Total != 1 || s.Cached != 0 {
		t.Errorf("steps are %s at first, want 0/1", s.Display)
	}
	// Where home misses a heartbeat, the next run goes elsewhere and has the step from the registry.
	exported(t, build)
	home := build.Status.Placement.Daemon
	kubectl(t, "annotate", "hb/again", v1alpha1.AnnotationRequestedAt+"=2026-01-01T00:00:00Z")
	eventually(t, build, "the requested run has ended", func(b *v1alpha1.HLBBuild) bool {
		return b.Status.Run.RequestedAt != "" && b.Status.Run.FinishedAt != nil
	})
	succeeded(t, build)
	if s := build.Status.Steps; s.Total != 1 || s.Cached != 1 {
		t.Errorf("steps are %s the second time, want 1/1; the first run was on %s, the second's placement is %+v, "+
			"its cache use %+v and its mounts %+v", s.Display, home, build.Status.Placement, build.Status.Cache,
			build.Status.Mounts)
	}
	if build.Status.Run.Cause != v1alpha1.CauseRequested {
		t.Errorf("cause is %s", build.Status.Run.Cause)
	}
}

// TestAFreshDaemonImportsTheRegistryCache takes a key's daemon away with its volume: the next build lands elsewhere
// and finds its steps in the registry.
func TestAFreshDaemonImportsTheRegistryCache(t *testing.T) {
	build := newBuild("fresh", countingProgram("fresh", "first"))
	run(t, build)
	succeeded(t, build)
	exported(t, build)
	lost := build.Status.Placement.Daemon
	kubectl(t, "delete", "pvc", harness.Claim(lost), "--wait=false")
	kubectl(t, "delete", "pod", harness.Pod(lost), "--wait=false")
	must(t, harness.Eventually(t.Context(), patience, lost+" takes no builds", func(context.Context) (bool, error) {
		d := daemon(t, lost)
		return meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionDraining) ||
			!meta.IsStatusConditionTrue(d.Status.Conditions, v1alpha1.ConditionReady), nil
	}))

	requestRun(t, build)
	await(t, build)
	succeeded(t, build)
	if build.Status.Placement.Daemon == lost {
		t.Fatalf("the build went to %s, which had just lost its volume", lost)
	}
	if c := build.Status.Cache; c == nil || !c.Fresh || len(c.ImportRefs) != 1 {
		t.Errorf("cache use is %+v, want a fresh daemon and one import", c)
	}
	if s := build.Status.Steps; s.Cached != s.Total || s.Total == 0 {
		t.Errorf("steps are %s on the fresh daemon, want all cached", s.Display)
	}
	imported := meta.FindStatusCondition(build.Status.Conditions, v1alpha1.ConditionCacheImported)
	if imported == nil || imported.Reason != v1alpha1.ReasonImported {
		t.Errorf("CacheImported is %+v", imported)
	}
	must(t, cluster.WaitCache(t.Context(), fleet))
}

// exported waits for the registry cache, which is written after the build is Ready.
func exported(t *testing.T, build *v1alpha1.HLBBuild) {
	t.Helper()
	eventually(t, build, "the registry cache is exported", func(b *v1alpha1.HLBBuild) bool {
		return meta.IsStatusConditionTrue(b.Status.Conditions, v1alpha1.ConditionCacheExported)
	})
}

func TestThePushedImageRuns(t *testing.T) {
	build := newBuild("image", `fs default() { image "IMAGE"; mkfile "/words" 0o644 "it runs"; cmd "cat" "/words"; }`)
	ref := cluster.Info.Registry + "/e2e-image:latest"
	build.Spec.Outputs = []v1alpha1.OutputSpec{{Name: "app", Target: "default", Image: ref}}
	run(t, build)
	succeeded(t, build)
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "image", Namespace: namespace},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers: []corev1.Container{
				{Name: "c", Image: strings.TrimSuffix(ref, ":latest") + "@" + build.Status.Outputs[0].Digest},
			},
		},
	}
	must(t, cluster.Client.Create(t.Context(), pod))
	logs, err := cluster.PodLogs(t.Context(), namespace, "image")
	must(t, err)
	if strings.TrimSpace(logs) != "it runs" {
		t.Errorf("the image printed %.200q", logs)
	}
	kubectl(t, "delete", "pod", "image")
}

func TestSeveralBuildsRunAtOnce(t *testing.T) {
	builds := make([]*v1alpha1.HLBBuild, 5)
	for i := range builds {
		// One key, so that the daemon's slots and the spill over them are what limits them.
		builds[i] = newBuild("many-"+string(rune('a'+i)),
			strings.ReplaceAll(`fs default() { image "IMAGE"; run "sleep 3; echo N"; }`, "N", string(rune('a'+i))))
		builds[i].Spec.CacheKey = "many"
		builds[i].Spec.RetryLimit = ptr.To[int32](0)
		apply(t, builds[i])
	}
	for _, b := range builds {
		await(t, b)
		succeeded(t, b)
	}
	for _, d := range []string{"fleet-0", "fleet-1", "fleet-2"} {
		if most := overlap(builds, d); most > 3 {
			t.Errorf("%s ran %d builds at once, its limit is 3", d, most)
		}
	}
}

// overlap is the largest number of builds that ran on the daemon at the same instant.
func overlap(builds []*v1alpha1.HLBBuild, daemon string) int {
	most := 0
	for _, at := range builds {
		n := 0
		for _, b := range builds {
			started, ended := b.Status.Run.StartedAt, b.Status.Run.FinishedAt
			if b.Status.Placement.Daemon == daemon && !started.After(at.Status.Run.StartedAt.Time) &&
				ended.After(at.Status.Run.StartedAt.Time) {
				n++
			}
		}
		most = max(most, n)
	}
	return most
}
