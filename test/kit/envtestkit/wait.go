// SPDX-License-Identifier: Apache-2.0

package envtestkit

import (
	"fmt"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Patience bounds every wait; it is long because test machines are busy, and costs nothing when all is well.
const Patience = 2 * time.Minute

// pause between two looks of a wait.
const pause = 20 * time.Millisecond

// Eventually looks until check finds nothing amiss, and fails the test with its last finding when patience runs out.
func Eventually(t testing.TB, check func() error) {
	t.Helper()
	deadline := time.Now().Add(Patience)
	for {
		err := check()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("waited %s in vain: %v", Patience, err)
		}
		time.Sleep(pause)
	}
}

// WaitCondition reads o until its condition has the given status and, unless it is empty, reason. o holds what was
// read last.
func (c *Cluster) WaitCondition(t testing.TB, o client.Object, kind string, want metav1.ConditionStatus,
	reason string) {
	t.Helper()
	Eventually(t, func() error {
		if err := c.Client.Get(t.Context(), client.ObjectKeyFromObject(o), o); err != nil {
			return err
		}
		found := Condition(o, kind)
		if found == nil || found.Status != want || (reason != "" && found.Reason != reason) {
			return fmt.Errorf("condition %s of %s is %+v, want %s %s", kind, o.GetName(), found, want, reason)
		}
		return nil
	})
}

// Condition finds a condition of one of this project's objects; nil when it has none of that type.
func Condition(o client.Object, kind string) *metav1.Condition {
	switch o := o.(type) {
	case *v1alpha1.BuildCache:
		return meta.FindStatusCondition(o.Status.Conditions, kind)
	case *v1alpha1.BuildDaemon:
		return meta.FindStatusCondition(o.Status.Conditions, kind)
	case *v1alpha1.HLBBuild:
		return meta.FindStatusCondition(o.Status.Conditions, kind)
	default:
		return nil
	}
}

// Kstatus is how tools that wait for objects (kustomize, Flux, Argo CD) read o.
func Kstatus(t testing.TB, o client.Object) status.Status {
	t.Helper()
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(o)
	if err != nil {
		t.Fatalf("convert %s: %v", o.GetName(), err)
	}
	result, err := status.Compute(&unstructured.Unstructured{Object: content})
	if err != nil {
		t.Fatalf("compute the kstatus of %s: %v", o.GetName(), err)
	}
	return result.Status
}

// Epoch is when a fake clock starts: some instant with no part that rounding would hide.
var Epoch = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// Clock stands still until it is stepped. It is safe for concurrent use.
type Clock = clocktesting.FakeClock

// NewClock is a clock that stands at Epoch.
func NewClock() *Clock { return clocktesting.NewFakeClock(Epoch) }
