// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/agent/cacheplan"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hlb/solve"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
	"github.com/openllb/hlb-operator/test/kit/compiletest"
)

func dial(t *testing.T, bk *buildkittest.Daemon) *daemon.Daemon {
	t.Helper()
	d, err := daemon.Dial(context.Background(), "unix://"+bk.Socket, compiletest.New(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	return d
}

// inline is a job of an inline program.
func inline(program string) *daemon.Job {
	return &daemon.Job{
		Namespace: "ns",
		Spec:      &v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{Targets: []string{"default"}}},
		Inputs:    &inputs.Inputs{Filename: "build.hlb", Program: []byte(program), Secrets: map[string][]byte{}},
	}
}

func build(t *testing.T, d *daemon.Daemon, job *daemon.Job) *daemon.Outcome {
	t.Helper()
	out, err := d.Build(t.Context(), job)
	if err != nil {
		t.Fatalf("build: %v", err)
	}
	return out
}

// cached renders the count of steps.
func cached(out *daemon.Outcome) string { return fmt.Sprintf("%d/%d", out.Cached, out.Total) }

func TestColdThenWarm(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	bk := buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}})
	d := dial(t, bk)
	program := fmt.Sprintf(`fs default() {
	image %q
	run "echo built >> /cache/log && cp /cache/log /log" with option {
		mount scratch "/cache" with option {
			cache "log" "shared"
		}
	}
	mkfile "/done" 0o644 "yes"
}
`, registry.Busybox())
	job := inline(program)
	job.Spec.Outputs = []v1alpha1.OutputSpec{{Name: "app", Target: "default", Image: registry.Ref("app:1")}}
	cold := build(t, d, job)
	warm := build(t, d, job)
	if got := cached(cold) + " " + cached(warm); got != "0/2 2/2" {
		t.Errorf("cached steps, cold then warm: %s, want 0/2 2/2", got)
	}
	if diff := cmp.Diff([]daemon.Mount{{ID: cold.Mounts[0].ID, Target: "/cache", Sharing: "shared"}},
		warm.Mounts); diff != "" || !strings.HasPrefix(cold.Mounts[0].ID, "ns") {
		t.Errorf("mounts of namespace ns (-want +got):\n%s%v", diff, cold.Mounts)
	}
	if len(warm.Outputs) != 1 || warm.Outputs[0].Image != registry.Ref("app:1") ||
		!strings.HasPrefix(warm.Outputs[0].Digest, "sha256:") {
		t.Errorf("outputs: %+v", warm.Outputs)
	}

	seen, err := d.Observe(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if bytes, held := seen.MountBytes[cold.Mounts[0].ID]; !held || bytes == 0 || seen.Records < 3 ||
		seen.Bytes < bytes {
		t.Errorf("the daemon reports %d bytes of mount %s among %+v", bytes, cold.Mounts[0].ID, seen)
	}
	if seen.Version == "" || !strings.HasPrefix(seen.Platform, "linux/") || len(seen.GCPolicy) == 0 {
		t.Errorf("the daemon says about itself: %+v", seen)
	}
}

func TestFailuresSayWhereAndWhy(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}}))

	t.Run("a failing step", func(t *testing.T) {
		_, err := d.Build(t.Context(),
			inline(fmt.Sprintf("fs default() {\n\timage %q\n\trun \"echo to the log; exit 7\"\n}\n",
				registry.Busybox())))
		var step *solve.StepError
		if !errors.As(err, &step) {
			t.Fatalf("got %v, want a StepError", err)
		}
		if step.ExitCode != 7 || !strings.Contains(step.LogTail, "to the log") || step.Span.File != "build.hlb" ||
			step.Span.Start.Line != 3 {
			t.Errorf("exit code %d, log %q, at %s", step.ExitCode, step.LogTail, step.Span)
		}
	})
	t.Run("a wrong program", func(t *testing.T) {
		_, err := d.Build(t.Context(), inline("fs default() {\n\tscrach\n}\n"))
		var compile *daemon.CompileError
		if !errors.As(err, &compile) {
			t.Fatalf("got %v, want a CompileError", err)
		}
		if at := compile.Diagnostics[0].Primary.String(); at != "build.hlb:2:2" {
			t.Errorf("the error is at %s, want build.hlb:2:2", at)
		}
	})
	t.Run("a missing image", func(t *testing.T) {
		_, err := d.Build(t.Context(),
			inline(fmt.Sprintf("fs default() {\n\timage %q\n\trun \"true\"\n}\n", registry.Ref("nothing:here"))))
		if err == nil || !strings.Contains(err.Error(), "nothing:here") || daemon.IsLost(err) {
			t.Errorf("got %v, want an error about the image", err)
		}
	})
	t.Run("an output that can't be pushed", func(t *testing.T) {
		job := inline("fs default() {\n\tscratch\n\tmkfile \"/a\" 0o644 \"a\"\n}\n")
		job.Spec.Outputs = []v1alpha1.OutputSpec{{Name: "app", Target: "default", Image: "127.0.0.1:1/app:1"}}
		_, err := d.Build(t.Context(), job)
		var push *daemon.PushError
		if !errors.As(err, &push) {
			t.Errorf("got %v, want a PushError", err)
		}
	})
	t.Run("an entitlement that is not granted", func(t *testing.T) {
		_, err := d.Build(t.Context(), inline(fmt.Sprintf(
			"fs default() {\n\timage %q\n\trun \"true\" with option {\n\t\tnetwork \"host\"\n\t}\n}\n",
			registry.Busybox())))
		if err == nil || !strings.Contains(err.Error(), "network.host") {
			t.Errorf("got %v, want a refusal of network.host", err)
		}
	})
}

func TestAFreshDaemonImports(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	options := buildkittest.Options{Registries: []string{registry.Address}}
	first, second, third := dial(t, buildkittest.Start(t, options)), dial(t, buildkittest.Start(t, options)), dial(t,
		buildkittest.Start(t, options))
	repository := registry.Ref("build-cache")
	job := inline(fmt.Sprintf(`fs default() {
	image %[1]q
	run "echo one > /one" with option {
		cacheMount "/cache"
	}
}

fs other() {
	image %[1]q
	run "echo two > /two"
}
`, registry.Busybox()))
	job.Spec.HLB.Targets = []string{"default", "other"}
	job.Registry = &v1alpha1.RegistryCacheSpec{
		Repository: repository, ImportPolicy: v1alpha1.ImportOnFreshDaemon,
		ExportPolicy: v1alpha1.ExportOnFreshDaemon, ExportMode: "max", ExportCompression: "zstd",
	}
	job.Plan = cacheplan.Decide(job.Registry, true, "key", "ns")

	cold := build(t, first, job)
	if cold.ImportErrors[job.Plan.Imports[0]] == "" {
		t.Errorf("nothing says that there was nothing to import: %v", cold.ImportErrors)
	}
	if err := first.ExportCache(t.Context(), job, cold); err != nil {
		t.Fatalf("export: %v", err)
	}
	fresh := build(t, second, job)
	if got := cached(cold) + " " + cached(fresh); got != "0/2 2/2" {
		t.Errorf("cached steps, cold then on a fresh daemon: %s, want 0/2 2/2", got)
	}
	if len(fresh.ImportErrors) != 0 {
		t.Errorf("the import failed: %v", fresh.ImportErrors)
	}
	if err := second.ExportCache(t.Context(), job, fresh); err != nil {
		t.Fatalf("export what was imported: %v", err)
	}
	if seen, err := second.Observe(t.Context()); err != nil || len(seen.MountBytes) > 0 {
		t.Errorf("the daemon holds the cache mounts %v (%v): the export ran the steps that were imported",
			seen.MountBytes, err)
	}
	if got := cached(build(t, third, job)); got != "2/2" {
		t.Errorf("after an export of what was imported %s steps are cached", got)
	}

	registry.Stop()
	if err := first.ExportCache(t.Context(), job, cold); err == nil {
		t.Error("an export to a dead registry succeeded")
	}
}

func TestRegistryCredentials(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartAuthRegistry(t, "me", "s3cret")
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}}))
	job := inline("fs default() {\n\tscratch\n\tmkfile \"/a\" 0o644 \"a\"\n}\n")
	job.Spec.Outputs = []v1alpha1.OutputSpec{{Name: "app", Target: "default", Image: registry.Ref("app:1")}}
	if _, err := d.Build(t.Context(), job); err == nil {
		t.Error("a push without credentials succeeded")
	}
	auth := base64.StdEncoding.EncodeToString([]byte("me:s3cret"))
	job.Inputs.Registries = [][]byte{[]byte(`{"auths":{"other.example.com":{"auth":"eDp5"}}}`),
		fmt.Appendf(nil, `{"auths":{%q:{"auth":%q}}}`, registry.Address, auth)}
	build(t, d, job)
}

func TestSecretsReachTheirSteps(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}}))
	job := inline(fmt.Sprintf(`fs default() {
	image %q
	run "test $(cat /run/token) = hush" with option {
		secret "token" "/run/token"
	}
}
`, registry.Busybox()))
	job.Spec.Secrets = []v1alpha1.BuildSecret{{ID: "token"}}
	job.Inputs.Secrets["token"] = []byte("hush")
	build(t, d, job)
	job.Spec.Secrets = nil
	var compile *daemon.CompileError
	if _, err := d.Build(t.Context(), job); !errors.As(err, &compile) {
		t.Errorf("got %v, want a diagnostic about a secret that the build does not declare", err)
	}
}

func TestContextOfAConfigMap(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	d := dial(t, buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}}))
	job := inline(fmt.Sprintf(`fs default() {
	image %q
	copy local(".") "/" "/src"
	run "test $(cat /src/a.txt) = alpha"
}
`, registry.Busybox()))
	job.Inputs.Files = map[string][]byte{"a.txt": []byte("alpha\n"), "b.bin": {0, 1}}
	build(t, d, job)
	// BuildKit makes the files anew to compare them, and finds the copy and the run by their content.
	if again := build(t, d, job); again.Total != 3 || again.Cached < 2 {
		t.Errorf("the same context again: %s steps are cached", cached(again))
	}
}

func TestALostDaemonIsToldFromAFailure(t *testing.T) {
	t.Parallel()
	registry := buildkittest.StartRegistry(t)
	bk := buildkittest.Start(t, buildkittest.Options{Registries: []string{registry.Address}})
	d := dial(t, bk)
	job := inline(fmt.Sprintf("fs default() {\n\timage %q\n\trun \"echo begun; sleep 600\"\n}\n", registry.Busybox()))
	begun := make(chan struct{})
	job.Progress = onLog("begun", begun)
	ended := make(chan error, 1)
	go func() {
		_, err := d.Build(context.Background(), job)
		ended <- err
	}()
	select {
	case <-begun:
	case err := <-ended:
		t.Fatalf("the build ended early: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("the step did not begin")
	}
	bk.Kill()
	select {
	case err := <-ended:
		if !daemon.IsLost(err) {
			t.Errorf("got %v, which does not read as a lost daemon", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("the build outlives its daemon")
	}
	if err := d.Ping(t.Context()); !daemon.IsLost(err) {
		t.Errorf("a ping of a dead daemon says %v", err)
	}
	if _, err := d.Build(t.Context(), job); !daemon.IsLost(err) {
		t.Errorf("a build on a dead daemon says %v", err)
	}
	bk.Restart()
	deadline := time.Now().Add(time.Minute)
	for d.Ping(t.Context()) != nil {
		if time.Now().After(deadline) {
			t.Fatal("the connection does not come back")
		}
		time.Sleep(50 * time.Millisecond)
	}
}
