// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// fault injects a fault while builds run, and returns what ends it after lasts; nil for a fault that ends by itself.
type fault struct {
	name string
	// short: it is part of the short form, which make test runs.
	short  bool
	lasts  time.Duration
	inject func(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) (end func() error)
}

// faults are the cells of the matrix, in the order in which they are run.
var faults = []fault{
	{name: "manager-killed", short: true, inject: killManager},
	{name: "manager-stopped-40s", lasts: 40 * time.Second, inject: stopped("manager")},
	{name: "agent-killed", short: true, inject: killed("agent")},
	{name: "agent-stopped-40s", lasts: 40 * time.Second, inject: stopped("agent")},
	{name: "buildkitd-killed", short: true, inject: killed("buildkitd")},
	{name: "buildkitd-stopped", short: true, inject: stuck},
	{name: "disk-stalled-40s", lasts: 40 * time.Second, inject: stallDisk},
	{name: "volume-full-20s", lasts: 20 * time.Second, inject: fillVolume},
	{name: "inodes-exhausted-20s", lasts: 20 * time.Second, inject: exhaustInodes},
	{name: "pod-deleted", inject: deletePod},
	{name: "pod-and-volume-deleted", inject: deletePodAndVolume},
	{name: "node-killed-and-back", lasts: 20 * time.Second, inject: killNode},
	{name: "node-killed-for-good", lasts: 60 * time.Second, inject: buryNode},
	{name: "node-partitioned-40s", lasts: 40 * time.Second, inject: partition(daemonNode)},
	{name: "leader-partitioned-40s", lasts: 40 * time.Second, inject: partition(managerNode)},
	{name: "api-server-down-30s", lasts: 30 * time.Second, inject: controlPlaneDown("kube-apiserver")},
	{name: "api-server-restarted", short: true, lasts: time.Second, inject: controlPlaneDown("kube-apiserver")},
	{name: "etcd-restarted", lasts: time.Second, inject: controlPlaneDown("etcd")},
	{name: "api-storm-30s", lasts: 30 * time.Second, inject: apiStorm},
	{name: "watch-30s-behind", lasts: 45 * time.Second, inject: slowWatch},
	{name: "clock-hour-ahead-30s", lasts: 30 * time.Second, inject: clockStep(time.Hour)},
	{name: "clock-hour-behind-30s", lasts: 30 * time.Second, inject: clockStep(-time.Hour)},
	{name: "status-denied-20s", lasts: 20 * time.Second, inject: denyStatus},
	{name: "registry-down-20s", lasts: 20 * time.Second, inject: registryDown},
	{name: "registry-500-20s", lasts: 20 * time.Second, inject: registryAnswers(http.StatusInternalServerError)},
	{name: "registry-429-20s", lasts: 20 * time.Second, inject: registryAnswers(http.StatusTooManyRequests)},
	{name: "registry-resets-20s", lasts: 20 * time.Second, inject: registryAnswers(0)},
	{name: "registry-slow-30s", lasts: 30 * time.Second, inject: registrySlow},
	{name: "registry-full-30s", lasts: 30 * time.Second, inject: registryFull},
	{name: "step-out-of-memory", lasts: 5 * time.Second, inject: stepOutOfMemory},
	{name: "daemon-out-of-memory", inject: daemonOutOfMemory},
	{name: "poison-build", lasts: time.Second, inject: poison},
	{name: "namespace-deleted", lasts: time.Second, inject: deleteGuests},
	{name: "roll-out", inject: rollOut},
	{name: "scaled-down-and-up", lasts: 15 * time.Second, inject: scaleDown},
	{name: "operator-restarted", inject: restartOperator},
	{name: "operator-upgraded", lasts: 20 * time.Second, inject: upgradeOperator},
	{name: "buildcache-made-again", lasts: 15 * time.Second, inject: remakeCache},
}

// process is the process of a program in a pod, which may be about to start.
func process(t *testing.T, w *world, namespace string, pod func() (string, error), program string) (pid int) {
	t.Helper()
	err := harness.Eventually(t.Context(), time.Minute, "find "+program, func(ctx context.Context) (bool, error) {
		name, err := pod()
		if err == nil {
			pid, err = w.Process(ctx, namespace, name, program)
		}
		return err == nil, nil //nolint:nilerr // it may have been killed a moment ago
	})
	if err != nil {
		t.Fatal(err)
	}
	return pid
}

// target is the process of a program: the manager, or one of the daemon that runs most builds.
func target(t *testing.T, w *world, builds []*v1alpha1.HLBBuild, program string) int {
	t.Helper()
	if program == "manager" {
		return process(t, w, harness.SystemNamespace, func() (string, error) { return w.Leader(t.Context()) }, program)
	}
	victim := harness.Pod(w.daemonOf(t, builds))
	return process(t, w, namespace, func() (string, error) { return victim, nil }, program)
}

func send(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
}

func killManager(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	send(t, target(t, w, builds, "manager"), syscall.SIGKILL)
	return nil
}

func killed(program string) func(*testing.T, *world, []*v1alpha1.HLBBuild) func() error {
	return func(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
		send(t, target(t, w, builds, program), syscall.SIGKILL)
		return nil
	}
}

func stopped(program string) func(*testing.T, *world, []*v1alpha1.HLBBuild) func() error {
	return func(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
		pid := target(t, w, builds, program)
		send(t, pid, syscall.SIGSTOP)
		return func() error {
			if err := syscall.Kill(pid, syscall.SIGCONT); !errors.Is(err, syscall.ESRCH) { // a probe may have killed it
				return err
			}
			return nil
		}
	}
}

// stuck stops a buildkitd for good: the agent has to have it killed.
func stuck(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	send(t, target(t, w, builds, "buildkitd"), syscall.SIGSTOP)
	return nil
}

func stallDisk(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	thaw, err := harness.Freeze(target(t, w, builds, "buildkitd"), "/var/lib/buildkit")
	if err != nil {
		t.Fatal(err)
	}
	return thaw
}

// onVolume runs a shell command beside a daemon's buildkitd, in the folder of its cache, and returns what runs another
// one there later.
func onVolume(t *testing.T, w *world, builds []*v1alpha1.HLBBuild, begin, end string) func() error {
	t.Helper()
	pod := harness.Pod(w.daemonOf(t, builds))
	do := func(ctx context.Context, command string) error {
		_, err := w.Kubectl(ctx, "", "-n", namespace, "exec", pod, "-c", "buildkitd", "--", "/bin/sh", "-c",
			"cd /var/lib/buildkit; "+command)
		return err
	}
	must(t, do(t.Context(), begin))
	ctx := context.WithoutCancel(t.Context())
	return func() error { return do(ctx, end) }
}

func fillVolume(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	return onVolume(t, w, builds, "dd if=/dev/zero of=chaos bs=1M 2>/dev/null; true", "rm -f chaos")
}

func exhaustInodes(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	return onVolume(t, w, builds, "mkdir chaos; i=0; while true > chaos/$i; do i=$((i+1)); done 2>/dev/null; true",
		"rm -rf chaos")
}

func (w *world) mustKubectl(t *testing.T, args ...string) {
	t.Helper()
	if _, err := w.Kubectl(t.Context(), "", append([]string{"-n", namespace}, args...)...); err != nil {
		t.Fatal(err)
	}
}

func deletePod(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	w.mustKubectl(t, "delete", "pod", harness.Pod(w.daemonOf(t, builds)), "--grace-period=0", "--force")
	return nil
}

func deletePodAndVolume(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	victim := w.daemonOf(t, builds)
	w.mustKubectl(t, "delete", "pvc", harness.Claim(victim), "--wait=false")
	w.mustKubectl(t, "delete", "pod", harness.Pod(victim), "--grace-period=0", "--force")
	return nil
}

func controlPlaneDown(name string) func(*testing.T, *world, []*v1alpha1.HLBBuild) func() error {
	return func(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
		if err := w.Local.KillControl(name); err != nil {
			t.Fatal(err)
		}
		return func() error {
			if name == "kube-apiserver" {
				w.startedWith = w.own.Load()
			}
			return w.Local.StartControl(context.WithoutCancel(t.Context()), name)
		}
	}
}

// denial is an admission policy that lets nobody write the status of builds.
const denial = `{"apiVersion": "v1", "kind": "List", "items": [
{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": {"name": "chaos"},
 "spec": {"failurePolicy": "Fail", "matchConstraints": {"resourceRules": [{"apiGroups": ["build.openllb.dev"],
 "apiVersions": ["*"], "operations": ["UPDATE"], "resources": ["hlbbuilds/status"]}]},
 "validations": [{"expression": "false", "message": "denied by chaos"}]}},
{"apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding",
 "metadata": {"name": "chaos"}, "spec": {"policyName": "chaos", "validationActions": ["Deny"]}}]}`

func denyStatus(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
	if _, err := w.Kubectl(t.Context(), denial, "apply", "-f", "-"); err != nil {
		t.Fatal(err)
	}
	ctx := context.WithoutCancel(t.Context())
	return func() error {
		_, err := w.Kubectl(ctx, "", "delete", "validatingadmissionpolicies,validatingadmissionpolicybindings", "chaos")
		return err
	}
}

func rollOut(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
	w.count++
	w.mustKubectl(t, "patch", "bcache", w.fleet.Name, "--type=merge", "-p", fmt.Sprintf(
		`{"spec":{"podTemplate":{"metadata":{"annotations":{"chaos":"%d"}}}}}`, w.count))
	return nil
}

func scaleDown(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
	w.mustKubectl(t, "scale", "bcache/"+w.fleet.Name, "--replicas=2")
	ctx := context.WithoutCancel(t.Context())
	return func() error {
		_, err := w.Kubectl(ctx, "", "-n", namespace, "scale", "bcache/"+w.fleet.Name, "--replicas=3")
		return err
	}
}

func restartOperator(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
	_, err := w.Kubectl(t.Context(), "", "-n", harness.SystemNamespace, "rollout", "restart", "deployment/hlb-operator")
	if err != nil {
		t.Fatal(err)
	}
	return nil
}

func remakeCache(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
	ctx := context.WithoutCancel(t.Context())
	w.mustKubectl(t, "delete", "bcache", w.fleet.Name, "--wait=false")
	return func() error {
		again := w.fleetNamed(w.fleet.Name)
		made := func(ctx context.Context) (bool, error) {
			err := w.Client.Create(ctx, again)
			if err == nil {
				w.fleet = again
			}
			return err == nil, nil //nolint:nilerr // the old one may not be gone yet
		}
		return harness.Eventually(ctx, patience, "the BuildCache is made again", made)
	}
}

// upgradeOperator gives the manager and the agents another name of the operator's image, and takes it back.
func upgradeOperator(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) func() error {
	manager := []string{"-n", harness.SystemNamespace, "deployment/" + harness.ManagerName}
	repository, _, _ := strings.Cut(w.Images["operator"], "@")
	_, err := w.Kubectl(t.Context(), "", append([]string{"patch", "--type=json", "-p", fmt.Sprintf(
		`[{"op":"add","path":"/spec/template/spec/containers/0/args/-","value":"--operator-image=%s:dev"}]`,
		repository)}, manager...)...)
	must(t, err)
	ctx := context.WithoutCancel(t.Context())
	return func() error {
		_, err := w.Kubectl(ctx, "", append([]string{"rollout", "undo"}, manager...)...)
		return errors.Join(err, w.WaitManager(ctx))
	}
}
