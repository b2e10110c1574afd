// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestFleetConditions(t *testing.T) {
	rolled := func(n int32) *appsv1.StatefulSet {
		return &appsv1.StatefulSet{ObjectMeta: metav1.ObjectMeta{Generation: 3}, Status: appsv1.StatefulSetStatus{ObservedGeneration: 3, Replicas: n, UpdatedReplicas: n}}
	}
	with := func(s *appsv1.StatefulSet, change func(*appsv1.StatefulSet)) *appsv1.StatefulSet { change(s); return s }
	cases := map[string]struct {
		wanted, serving int32
		sts             *appsv1.StatefulSet
		failure         error
		wantReason      string
		want            kstatus.Status
	}{
		"all serve":                          {2, 2, rolled(2), nil, v1alpha1.ReasonAllDaemonsReady, kstatus.CurrentStatus},
		"one does not serve":                 {2, 1, rolled(2), nil, v1alpha1.ReasonDaemonsNotReady, kstatus.InProgressStatus},
		"nothing was made yet":               {2, 0, nil, nil, v1alpha1.ReasonDaemonsNotReady, kstatus.InProgressStatus},
		"none wanted":                        {0, 0, rolled(0), nil, v1alpha1.ReasonScaledToZero, kstatus.CurrentStatus},
		"none wanted, one pod left":          {0, 0, rolled(1), nil, v1alpha1.ReasonDaemonsNotReady, kstatus.InProgressStatus},
		"all serve, some by the old pods":    {2, 2, with(rolled(2), func(s *appsv1.StatefulSet) { s.Status.UpdatedReplicas = 1 }), nil, v1alpha1.ReasonDaemonsNotReady, kstatus.InProgressStatus},
		"all serve, the change not yet seen": {2, 2, with(rolled(2), func(s *appsv1.StatefulSet) { s.Generation = 4 }), nil, v1alpha1.ReasonDaemonsNotReady, kstatus.InProgressStatus},
		"a surplus pod is still there":       {2, 2, rolled(3), nil, v1alpha1.ReasonDaemonsNotReady, kstatus.InProgressStatus},
		"a name is taken":                    {2, 2, rolled(2), fmt.Errorf("x: %w", &write.NameConflictError{Kind: "Role", Name: "c", OwnerKind: "BuildCache"}), v1alpha1.ReasonNameConflict, kstatus.FailedStatus},
		"the config can't be made":           {2, 2, rolled(2), &configError{errors.New("x")}, v1alpha1.ReasonInvalidConfig, kstatus.FailedStatus},
		"the API is the trouble":             {2, 2, rolled(2), errors.New("timeout"), v1alpha1.ReasonRetryingAfterError, kstatus.InProgressStatus},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cache := testbuild.BuildCache("ns", "c", testbuild.WithReplicas(tc.wanted))
			cache.Generation = 5
			daemons := []v1alpha1.BuildDaemon{}
			for i := range tc.serving {
				daemons = append(daemons, *testbuild.BuildDaemon("ns", "c", i, testbuild.Serving))
			}
			cache.Status = fleetStatus(cache, tc.sts, daemons, status.FailureOf(tc.failure, 99), envtestkit.Epoch)
			if ready := meta.FindStatusCondition(cache.Status.Conditions, "Ready"); ready == nil || ready.Reason != tc.wantReason || ready.ObservedGeneration != 5 {
				t.Errorf("Ready is %+v, want %s", ready, tc.wantReason)
			}
			if got := envtestkit.Kstatus(t, cache); got != tc.want {
				t.Errorf("kstatus is %s, want %s", got, tc.want)
			}
			if meta.IsStatusConditionTrue(cache.Status.Conditions, "Stalled") && meta.IsStatusConditionTrue(cache.Status.Conditions, "Reconciling") {
				t.Error("Stalled and Reconciling stand together")
			}
		})
	}
}

func TestFleetStatusSumsUp(t *testing.T) {
	cache := testbuild.BuildCache("ns", "c", testbuild.WithReplicas(2))
	busy := func(d *v1alpha1.BuildDaemon) { d.Status.RunningBuilds, d.Status.NodeName = 3, "n1" }
	daemons := []v1alpha1.BuildDaemon{
		*testbuild.BuildDaemon("ns", "c", 0, testbuild.Serving, busy), *testbuild.BuildDaemon("ns", "c", 1), *testbuild.BuildDaemon("ns", "c", 2, testbuild.Serving),
	}
	sts := &appsv1.StatefulSet{Status: appsv1.StatefulSetStatus{Replicas: 3}}
	got := fleetStatus(cache, sts, daemons, nil, envtestkit.Epoch)
	got.Conditions = nil
	want := v1alpha1.BuildCacheStatus{
		Replicas: 3, ReadyReplicas: 1, Isolation: v1alpha1.IsolationUserNamespace,
		Selector: "build.openllb.dev/cache=c,build.openllb.dev/component=daemon",
		Daemons: []v1alpha1.DaemonSummary{
			{Name: "c-0", Ready: true, Reason: "DaemonServing", Node: "n1", RunningBuilds: 3}, {Name: "c-1", Reason: "NotStarted"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status differs (-want +got):\n%s", diff)
	}
}

func TestStatusShowsNoMoreThanTheAPITakes(t *testing.T) {
	cache := testbuild.BuildCache("ns", "c", testbuild.WithReplicas(70))
	var daemons []v1alpha1.BuildDaemon
	for i := range int32(70) {
		daemons = append(daemons, *testbuild.BuildDaemon("ns", "c", i, testbuild.Serving))
	}
	if got := fleetStatus(cache, nil, daemons, nil, envtestkit.Epoch); got.ReadyReplicas != 70 || len(got.Daemons) != 64 {
		t.Errorf("%d ready and %d shown, want 70 and 64", got.ReadyReplicas, len(got.Daemons))
	}
}

func TestSurplusDaemonsHaveNoPod(t *testing.T) {
	cache := testbuild.BuildCache("ns", "c", testbuild.WithReplicas(1))
	existing := []v1alpha1.BuildDaemon{*testbuild.BuildDaemon("ns", "c", 0), *testbuild.BuildDaemon("ns", "c", 1), *testbuild.BuildDaemon("ns", "c", 2)}
	var names []string
	for _, d := range surplusDaemons(cache, existing, func(name string) bool { return name == "c-1" }) {
		names = append(names, d.Name)
	}
	if diff := cmp.Diff([]string{"c-2"}, names); diff != "" {
		t.Errorf("surplus differs (-want +got):\n%s", diff)
	}
}

func TestAgentsRoleNamesItsDaemons(t *testing.T) {
	for name, tc := range map[string]struct {
		replicas int32
		existing []v1alpha1.BuildDaemon
		want     []string
	}{
		"two wanted":                    {2, nil, []string{"c-0", "c-1"}},
		"none wanted, never everything": {0, nil, []string{"c-0"}},
		"one that still exists":         {1, []v1alpha1.BuildDaemon{*testbuild.BuildDaemon("ns", "c", 4)}, []string{"c-0", "c-4"}},
	} {
		t.Run(name, func(t *testing.T) {
			cache := testbuild.BuildCache("ns", "c", testbuild.WithReplicas(tc.replicas))
			for _, rule := range desiredRole(cache, daemonNames(cache, tc.existing)).Rules {
				switch rule.Resources[0] {
				case "builddaemons", "builddaemons/status", "leases":
					if diff := cmp.Diff(tc.want, rule.ResourceNames); diff != "" {
						t.Errorf("%s: names differ (-want +got):\n%s", rule.Resources[0], diff)
					}
				case "secrets", "configmaps":
					t.Errorf("the Role reads %s", rule.Resources[0])
				}
			}
		})
	}
}
