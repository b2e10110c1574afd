// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// stalled is a daemon in trouble that only a user can help.
func stalled(d *daemon) {
	testbuild.WithCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, d.ready().Reason)(d.BuildDaemon)
}

func TestFleetConditions(t *testing.T) {
	t.Parallel()
	taken := fmt.Errorf("x: %w", &write.NameConflictError{Kind: "Role", Name: "c", OwnerKind: "BuildCache"})
	with := func(s *snapshot, r ...remains) *snapshot { s.remains = r; return s }
	cases := map[string]struct {
		fleet      *snapshot
		failure    error
		wantReason string
		want       kstatus.Status
		says       string
	}{
		"all serve": {
			fleet(2, serving(0), serving(1)), nil, v1alpha1.ReasonAllDaemonsReady, kstatus.CurrentStatus, "2 of 2",
		},
		"one is cordoned": {
			fleet(2, serving(0), serving(1, cordoned)), nil, v1alpha1.ReasonAllDaemonsReady, kstatus.CurrentStatus, "",
		},
		"one does not serve": {
			fleet(2, serving(0), serving(1, starting)), nil, v1alpha1.ReasonDaemonsNotReady, kstatus.InProgressStatus,
			"1 of 2",
		},
		"one is yet to be made": {
			fleet(2, serving(0)), nil, v1alpha1.ReasonDaemonsNotReady, kstatus.InProgressStatus, "",
		},
		"nothing was made yet": {fleet(2), nil, v1alpha1.ReasonDaemonsNotReady, kstatus.InProgressStatus, ""},
		"none wanted":          {fleet(0, asleep(0)), nil, v1alpha1.ReasonScaledToZero, kstatus.CurrentStatus, ""},
		"none wanted, a pod left": {
			with(fleet(0), left(0, true, "")), nil, v1alpha1.ReasonDaemonsNotReady, kstatus.InProgressStatus, "",
		},
		"one is outdated": {
			fleet(2, serving(0), serving(1, outdated)), nil, v1alpha1.ReasonDaemonsNotReady, kstatus.InProgressStatus,
			"1 of 2 pods",
		},
		"one agent is replaced": {
			fleet(2, serving(0), serving(1, replacedAgent)), nil, v1alpha1.ReasonDaemonsNotReady,
			kstatus.InProgressStatus, "",
		},
		"a name is taken": {fleet(1, serving(0)), taken, v1alpha1.ReasonNameConflict, kstatus.FailedStatus, ""},
		"the config is wrong": {
			fleet(1, serving(0)), &configError{errors.New("x")}, v1alpha1.ReasonInvalidConfig, kstatus.FailedStatus, "",
		},
		"the API is the trouble": {
			fleet(1, serving(0)), errors.New("timeout"), v1alpha1.ReasonRetryingAfterError, kstatus.InProgressStatus,
			"",
		},
		"one finds no node": {
			fleet(2, serving(0), down(1, v1alpha1.ReasonUnschedulable)), nil,
			v1alpha1.ReasonUnschedulable, kstatus.InProgressStatus, "1 of 2 daemons are ready; c-1: As a test wants it",
		},
		"only a user can help one of two": {
			fleet(2, down(0, v1alpha1.ReasonUnschedulable), down(1, v1alpha1.ReasonQuotaExceeded, stalled)), nil,
			v1alpha1.ReasonQuotaExceeded, kstatus.FailedStatus, "c-1, and 1 more in trouble:",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			cache := tc.fleet.cache
			cache.Generation = 5
			cache.Status = fleetStatus(tc.fleet, status.FailureOf(tc.failure, 99))
			ready := meta.FindStatusCondition(cache.Status.Conditions, "Ready")
			if ready == nil || ready.Reason != tc.wantReason || ready.ObservedGeneration != 5 ||
				!strings.Contains(ready.Message, tc.says) {
				t.Errorf("Ready is %+v, want %s, with %q", ready, tc.wantReason, tc.says)
			}
			if got := envtestkit.Kstatus(t, cache); got != tc.want {
				t.Errorf("kstatus is %s, want %s", got, tc.want)
			}
		})
	}
}

func TestFleetStatusSumsUp(t *testing.T) {
	t.Parallel()
	onNode := func(d *daemon) { d.Status.RunningBuilds, d.Status.NodeName, d.Status.UsedBytes = 3, "n1", 5<<30 }
	s := fleet(2, serving(0, onNode), down(1, v1alpha1.ReasonCrashLoop), asleep(2))
	got := fleetStatus(s, nil)
	got.Conditions = nil
	want := v1alpha1.BuildCacheStatus{
		Replicas: 2, ReadyReplicas: 1, ReadyDisplay: "1/2", Usage: "25% of 20Gi",
		Isolation: v1alpha1.IsolationUserNamespace,
		Selector:  "build.openllb.dev/cache=c,build.openllb.dev/component=daemon",
		Daemons: []v1alpha1.DaemonSummary{
			{Name: "c-0", Ready: true, Reason: "DaemonServing", Node: "n1", RunningBuilds: 3},
			{Name: "c-1", Reason: "CrashLoop"},
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status differs (-want +got):\n%s", diff)
	}
}

func TestStatusShowsNoMoreThanTheAPITakes(t *testing.T) {
	t.Parallel()
	s := fleet(70)
	for ordinal := range int32(70) {
		s.daemons = append(s.daemons, serving(ordinal))
	}
	if got := fleetStatus(s, nil); got.ReadyReplicas != 70 || len(got.Daemons) != 64 {
		t.Errorf("%d ready and %d shown, want 70 and 64", got.ReadyReplicas, len(got.Daemons))
	}
}

func TestAdviceIsAboutTheWantedDaemons(t *testing.T) {
	t.Parallel()
	report := func(today, twice int32) func(*daemon) {
		return func(d *daemon) {
			d.Status.Sizing = &v1alpha1.DaemonSizing{Accesses: 100, SeenBytes: 1 << 30, Points: []v1alpha1.SizingPoint{
				{SizePercent: 100, HitBasisPoints: today},
				{SizePercent: 200, HitBasisPoints: twice},
				{SizePercent: 800, HitBasisPoints: twice},
			}}
		}
	}
	if got := fleetStatus(fleet(1, serving(0)), nil); got.Sizing != nil {
		t.Errorf("a daemon without a report leads to advice: %+v", got.Sizing)
	}
	s := fleet(1, serving(0, report(5000, 9000)), asleep(1, report(1000, 1000)))
	s.cache.Spec.Storage.Size = resource.MustParse("10Gi")
	got := fleetStatus(s, nil).Sizing
	if got == nil || got.Accesses != 100 || got.Reason != v1alpha1.SizingLargerHoldsMore ||
		got.RecommendedSize.String() != "20Gi" {
		t.Errorf("advice is %+v, want 20Gi from the accesses of one daemon", got)
	}
}

func TestAgentsRoleNamesItsDaemons(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		fleet *snapshot
		want  []string
	}{
		"two wanted":                    {fleet(2), []string{"c-0", "c-1"}},
		"none wanted, never everything": {fleet(0), []string{"c-0"}},
		"one that sleeps":               {fleet(0, asleep(4)), []string{"c-0", "c-4"}},
	} {
		t.Run(name, func(t *testing.T) {
			p := decide(tc.fleet)
			for _, rule := range desiredRole(tc.fleet.cache, reportableDaemons(tc.fleet, &p)).Rules {
				switch rule.Resources[0] {
				case "builddaemons/status", "leases":
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

func TestSelectorsMatchThePods(t *testing.T) {
	t.Parallel()
	cache := testbuild.BuildCache("ns", "c")
	template, err := workload.NewTemplate(cache, testImages)
	if err != nil {
		t.Fatal(err)
	}
	pod := labels.Set(template.Pod("c-7").Labels)
	for what, selector := range map[string]*metav1.LabelSelector{
		"the NetworkPolicy":       &desiredNetworkPolicy(cache).Spec.PodSelector,
		"the PodDisruptionBudget": desiredPodDisruptionBudget(cache).Spec.Selector,
	} {
		s, err := metav1.LabelSelectorAsSelector(selector)
		if err != nil || s.Empty() || !s.Matches(pod) {
			t.Errorf("%s does not select the pods: %v %v", what, s, err)
		}
	}
	if policy := desiredNetworkPolicy(cache); len(policy.Spec.Ingress) > 0 || len(policy.Spec.PolicyTypes) != 1 {
		t.Errorf("the NetworkPolicy lets something in: %+v", policy.Spec)
	}
}
