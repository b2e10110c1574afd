// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

func TestAWrongProgramIsToldWhere(t *testing.T) {
	build := newBuild("wrong", "fs default() {\n\tscratch\n\tmkfil \"/f\" 0o644 \"x\"\n}\n")
	run(t, build)
	f := failedWith(t, build, v1alpha1.ReasonCompileFailed)
	if len(f.Diagnostics) != 1 {
		t.Fatalf("diagnostics are %+v, want one", f.Diagnostics)
	}
	d := f.Diagnostics[0]
	if d.Code != "UNDEFINED" || d.Line != 3 || d.Column != 2 || d.File == "" ||
		!strings.Contains(d.Message+d.Hint, "mkfile") {
		t.Errorf("the diagnostic is %+v, want UNDEFINED at 3:2 that suggests mkfile", d)
	}
	ready := meta.FindStatusCondition(build.Status.Conditions, v1alpha1.ConditionReady)
	if !strings.Contains(ready.Message, ":3:2") {
		t.Errorf("Ready says %q, which lacks the place", ready.Message)
	}
}

func TestAFailingStepIsToldWithItsOutput(t *testing.T) {
	build := newBuild("failing",
		"fs default() {\n\timage \"IMAGE\"\n\trun \"echo to stdout; echo to stderr >&2; exit 7\"\n}\n")
	run(t, build)
	f := failedWith(t, build, v1alpha1.ReasonSolveFailed)
	if f.ExitCode == nil || *f.ExitCode != 7 {
		t.Errorf("exit code is %v, want 7", f.ExitCode)
	}
	if !strings.Contains(f.LogTail, "to stdout") || !strings.Contains(f.LogTail, "to stderr") {
		t.Errorf("log tail is %q", f.LogTail)
	}
	if f.Source == nil || f.Source.Line != 3 || f.Step == "" {
		t.Errorf("the step is %q at %+v, want line 3", f.Step, f.Source)
	}
	if build.Status.Run.Attempt != 1 {
		t.Errorf("a failing program was tried %d times", build.Status.Run.Attempt)
	}
	log := kubectl(t, "exec", harness.Pod(build.Status.Placement.Daemon), "-c", "buildkitd", "--", "cat",
		logPath(build))
	if !strings.Contains(log, "to stderr") {
		t.Errorf("the log file has %q", log)
	}
}

func TestAMissingImageFailsTheBuild(t *testing.T) {
	build := newBuild("noimage", `fs default() { image "`+cluster.Info.Registry+`/no-such-image:1"; run "true"; }`)
	run(t, build)
	if f := build.Status.Failure; f == nil || !strings.Contains(f.Message, "no-such-image") {
		t.Errorf("failure is %+v, want one that names the image", f)
	}
}

func TestAMissingSecretIsWaitedForUntilTheDeadline(t *testing.T) {
	t.Parallel() // it mostly waits
	build := newBuild("nosecret", `fs default() { image "IMAGE"; run "true" with secret("token", "/token"); }`)
	build.Spec.Secrets = []v1alpha1.BuildSecret{{
		ID: "token", SecretKeyRef: v1alpha1.SecretKeyReference{Name: "gone", Key: "token"},
	}}
	build.Spec.ActiveDeadlineSeconds = ptr.To[int32](20)
	run(t, build)
	if f := failedWith(t, build, v1alpha1.ReasonDeadlineExceeded); !strings.Contains(f.Message, "gone") {
		t.Errorf("the message %q does not name the Secret", f.Message)
	}
}

func TestATimeoutEndsTheBuild(t *testing.T) {
	build := newBuild("slow", `fs default() { image "IMAGE"; run "sleep 600"; }`)
	build.Spec.TimeoutSeconds = 2
	run(t, build)
	failedWith(t, build, v1alpha1.ReasonDeadlineExceeded)
}

func TestAnUngrantedEntitlementIsRefused(t *testing.T) {
	build := newBuild("insecure", `fs default() { image "IMAGE"; run "true" with security("insecure"); }`)
	run(t, build)
	f := build.Status.Failure
	if f == nil || !strings.Contains(f.Message+diagnosticsText(f), "security.insecure") {
		t.Errorf("failure is %+v, want one that names security.insecure", f)
	}
}

func diagnosticsText(f *v1alpha1.FailureStatus) string {
	var all strings.Builder
	for _, d := range f.Diagnostics {
		all.WriteString(d.Message + d.Hint)
	}
	return all.String()
}

func TestABuildWaitsForItsBuildCache(t *testing.T) {
	build := newBuild("early", `fs default() { scratch; mkfile "/f" 0o644 "x"; }`)
	build.Spec.CacheRef.Name = "late"
	apply(t, build)
	eventually(t, build, "the build says what it waits for", func(b *v1alpha1.HLBBuild) bool {
		c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionReady)
		return c != nil && c.Reason == v1alpha1.ReasonCacheNotFound && strings.Contains(c.Message, `"late"`)
	})
	if got := envtestkit.Kstatus(t, build); got != status.InProgressStatus {
		t.Errorf("kstatus reads %s, want InProgress", got)
	}
	late := newFleet("late", 1)
	must(t, cluster.Client.Create(t.Context(), late))
	t.Cleanup(func() {
		if err := cluster.Client.Delete(contextFor(t), late); err != nil {
			t.Error(err)
		}
	})
	await(t, build)
	succeeded(t, build)
	if build.Status.Placement.Daemon != "late-0" {
		t.Errorf("the build ran on %s", build.Status.Placement.Daemon)
	}
}

// TestTheRegistryIsDown shows that a build that needs nothing of the registry succeeds without it, on a fresh key
// too, and says what it could not do. A build that pushes waits for the registry and tries again.
func TestTheRegistryIsDown(t *testing.T) {
	must(t, cluster.Local.StopRegistry("registry"))
	stopped := true
	start := func() {
		if stopped {
			must(t, cluster.Local.StartRegistry(t.Context(), "registry"))
			stopped = false
		}
	}
	defer start()
	build := newBuild("down", `fs default() { scratch; copy fs { mkfile "/f" 0o644 "registry down"; } "/f" "/g"; }`)
	run(t, build)
	succeeded(t, build)
	eventually(t, build, "the failed export is told", func(b *v1alpha1.HLBBuild) bool {
		c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionCacheExported)
		return c != nil && c.Reason == v1alpha1.ReasonCacheExportFailed
	})
	if c := meta.FindStatusCondition(build.Status.Conditions, v1alpha1.ConditionCacheImported); c == nil ||
		c.Reason != v1alpha1.ReasonImportUnavailable {
		t.Errorf("CacheImported is %+v, want %s", c, v1alpha1.ReasonImportUnavailable)
	}

	pushing := func(name string) *v1alpha1.HLBBuild {
		push := newBuild(name, `fs default() { scratch; mkfile "/f" 0o644 "push"; }`)
		push.Spec.Outputs = []v1alpha1.OutputSpec{{
			Name: "app", Target: "default", Image: cluster.Info.Registry + "/e2e-" + name + ":latest",
		}}
		return push
	}
	hasty := pushing("push-once")
	hasty.Spec.RetryLimit = ptr.To[int32](0)
	run(t, hasty)
	failedWith(t, hasty, v1alpha1.ReasonRemoteUnavailable)

	patient := pushing("push-down")
	apply(t, patient)
	eventually(t, patient, "an attempt is lost to the registry", func(b *v1alpha1.HLBBuild) bool {
		return b.Status.Run != nil && b.Status.Run.Lost != nil &&
			b.Status.Run.Lost.Reason == v1alpha1.ReasonRemoteUnavailable
	})
	start()
	await(t, patient)
	succeeded(t, patient)
}
