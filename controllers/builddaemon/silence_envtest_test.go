// SPDX-License-Identifier: Apache-2.0

package builddaemon

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/liveness"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

func TestSilentDaemonIsGivenUp(t *testing.T) {
	w := fleettest.New(t)
	daemons := &Reconciler{
		Client: w.Client, Events: w.Events, Clock: w.Clock,
		Liveness: &liveness.Watch{Client: w.Client, Live: w.Client, Clock: w.Clock},
	}
	w.Create(testbuild.BuildDaemon(w.NS, "cache", 0))
	look := func() (*v1alpha1.BuildDaemon, time.Duration) {
		d := fleettest.Read(w, testbuild.BuildDaemon(w.NS, "cache", 0))
		result, err := daemons.Reconcile(t.Context(), d)
		w.Must(err)
		return fleettest.Read(w, d), result.RequeueAfter
	}
	expect := func(d *v1alpha1.BuildDaemon, value metav1.ConditionStatus, reason string) {
		t.Helper()
		if c := envtestkit.Condition(d, "Ready"); c == nil || c.Status != value || c.Reason != reason {
			t.Errorf("Ready is %+v, want %s %s", c, value, reason)
		}
	}
	look() // makes the Lease
	l := fleettest.Read(w, &coordinationv1.Lease{ObjectMeta: metav1.ObjectMeta{Namespace: w.NS, Name: "cache-0"}})
	d, _ := look()
	expect(d, metav1.ConditionUnknown, v1alpha1.ReasonNotStarted)
	renewed, duration := metav1.NewMicroTime(w.Clock.Now()), int32(13)
	l.Spec.HolderIdentity, l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = ptr.To("pod/agent"), &renewed, &duration
	w.Must(w.Client.Update(t.Context(), l))
	w.SetDaemon(0, testbuild.Serving)
	d, after := look()
	expect(d, metav1.ConditionTrue, v1alpha1.ReasonDaemonServing)
	if after != 13*time.Second {
		t.Errorf("the next look is after %s", after)
	}
	w.Clock.Step(after)
	w.Events.Take()
	d, _ = look()
	expect(d, metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired)
	if diff := cmp.Diff([]string{v1alpha1.ReasonLeaseExpired}, w.Events.Reasons()); diff != "" {
		t.Errorf("events differ (-want +got):\n%s", diff)
	}
	if got := attempt.Holder(fleettest.Read(w, l)); got != attempt.Taken {
		t.Errorf("the Lease is held by %q, want it taken", got)
	}
	version := d.ResourceVersion
	if d, _ = look(); d.ResourceVersion != version || len(w.Events.Take()) > 0 {
		t.Error("the same silence is reported twice")
	}
	w.Must(w.Client.Delete(t.Context(), l))
	look()
	if fleettest.Read(w, l); len(l.OwnerReferences) != 1 || l.Spec.HolderIdentity != nil {
		t.Errorf("the Lease that was deleted comes back as %+v", l)
	}
	w.SetDaemon(0, testbuild.Serving) // an agent that dies while its Lease is gone
	if _, after = look(); after != 13*time.Second {
		t.Errorf("a Lease that was made anew is waited for %s", after)
	}
	w.Clock.Step(after)
	d, _ = look()
	expect(d, metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired)
}
