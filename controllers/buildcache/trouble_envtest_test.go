// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// warn sends a Warning event about a daemon's StatefulSet, as its controller does.
func (w *world) warn(daemon, reason, message string) {
	w.T.Helper()
	w.Create(&corev1.Event{
		ObjectMeta: metav1.ObjectMeta{Namespace: w.NS, GenerateName: daemon + "-"},
		InvolvedObject: corev1.ObjectReference{
			Kind: "StatefulSet", Namespace: w.NS, Name: daemon, APIVersion: "apps/v1", UID: w.Set(daemon).UID,
		},
		Type: corev1.EventTypeWarning, Reason: reason, Message: message,
		FirstTimestamp: metav1.Now(), LastTimestamp: metav1.Now(), Count: 1, Source: corev1.EventSource{
			Component: "test",
		},
	})
}

// TestAPodThatIsRefusedIsExplained has Pod Security refuse a daemon's pod, and then a user label the namespace.
func TestAPodThatIsRefusedIsExplained(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.keep(w.made(2))
	w.work("c-0")
	w.warn("c-0", "FailedCreate", `create Pod c-0-0 in StatefulSet c-0 failed error: pods "c-0-0" is forbidden: `+
		`violates PodSecurity "restricted:latest": privileged`)
	w.Clock.Step(10 * time.Second)
	if result := w.work("c-0"); result.RequeueAfter <= 0 || result.RequeueAfter > time.Minute {
		t.Errorf("it is looked at again after %s, want within a minute", result.RequeueAfter)
	}
	d := w.Daemon("c-0")
	ready := envtestkit.Condition(d, "Ready")
	if ready == nil || ready.Reason != v1alpha1.ReasonPodSecurityRefused ||
		envtestkit.Kstatus(t, d) != kstatus.FailedStatus {
		t.Errorf("Ready of the daemon is %+v", ready)
	}
	w.manager.writes = 0
	if w.work("c-0"); w.manager.writes > 0 {
		t.Errorf("the same trouble is written %d times more", w.manager.writes)
	}
	cache = w.keep(cache)
	ready = envtestkit.Condition(cache, "Ready")
	if ready.Reason != v1alpha1.ReasonPodSecurityRefused ||
		!strings.Contains(ready.Message, "0 of 2 daemons are ready; c-0:") {
		t.Errorf("Ready of the fleet is %+v", ready)
	}
	if got := envtestkit.Kstatus(t, cache); got != kstatus.FailedStatus {
		t.Errorf("kstatus is %s", got)
	}
	cache = w.settle(cache)
	if c := envtestkit.Condition(cache, "Ready"); c.Status != metav1.ConditionTrue {
		t.Errorf("after the user has helped, Ready is %+v", c)
	}
}

// TestTheAgentHasTheFirstWord finds trouble with the pod of a daemon whose agent reports, and then does not.
func TestTheAgentHasTheFirstWord(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(1))
	pod := w.Pod("c-0")
	pod.Status.Conditions[0].Status = corev1.ConditionFalse // the node is silent
	w.Must(w.Client.Status().Update(t.Context(), pod))
	w.work("c-0")
	if c := envtestkit.Condition(w.Daemon("c-0"), "Ready"); c.Reason != v1alpha1.ReasonDaemonServing {
		t.Errorf("while its agent reports Ready is %+v", c)
	}
	d := w.Daemon("c-0")
	testbuild.WithReady(metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired)(d)
	w.Must(w.Client.Status().Update(t.Context(), d))
	w.work("c-0")
	if c := envtestkit.Condition(w.Daemon("c-0"), "Ready"); c.Reason != v1alpha1.ReasonNodeLost {
		t.Errorf("Ready is %+v", c)
	}
	if c := envtestkit.Condition(w.keep(cache), "Ready"); c.Reason != v1alpha1.ReasonNodeLost {
		t.Errorf("Ready of the fleet is %+v", c)
	}
}

// TestADaemonThatIsWokenIsNoLongerAsleep is about the time until its agent reports.
func TestADaemonThatIsWokenIsNoLongerAsleep(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.settle(w.made(1))
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { *s.Replicas = 0 })
	w.settle(cache)
	w.change(cache, func(s *v1alpha1.BuildCacheSpec) { *s.Replicas = 1 })
	w.keep(cache)
	w.work("c-0")
	if c := envtestkit.Condition(w.Daemon("c-0"), "Ready"); c.Reason != v1alpha1.ReasonNotStarted {
		t.Errorf("Ready is %+v", c)
	}
}
