// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// daemonSteps lists what can happen to a daemon; every one can follow every other.
var daemonSteps = map[string]func(*v1alpha1.BuildDaemon){
	"serve":      func(d *v1alpha1.BuildDaemon) { status.ReportService(d, status.DaemonService{}, start) },
	"drain":      func(d *v1alpha1.BuildDaemon) { status.ReportService(d, draining, start) },
	"unreach":    func(d *v1alpha1.BuildDaemon) { status.ReportService(d, unreachable, start) },
	"expire":     func(d *v1alpha1.BuildDaemon) { status.FallSilent(d, status.LeaseExpired, start) },
	"stop":       func(d *v1alpha1.BuildDaemon) { status.FallSilent(d, status.AgentStopped, start) },
	"silence":    func(d *v1alpha1.BuildDaemon) { status.FallSilent(d, status.NotStarted, start) },
	"scale-down": func(d *v1alpha1.BuildDaemon) { status.ScaleDown(d, start) },
	"fill": func(d *v1alpha1.BuildDaemon) {
		status.Set(&d.Status.Conditions, metav1.Condition{
			Type: v1alpha1.ConditionDiskPressure, Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonVolumeNearlyFull,
		}, start)
	},
	"cordon":  func(d *v1alpha1.BuildDaemon) { d.Spec.Unschedulable = true },
	"suspend": func(d *v1alpha1.BuildDaemon) { d.Spec.Suspend = true },
	"delete":  func(d *v1alpha1.BuildDaemon) { d.DeletionTimestamp = &metav1.Time{Time: start} },
}

var (
	draining    = status.DaemonService{Draining: true}
	unreachable = status.DaemonService{Unreachable: errors.New("EOF"), RunningBuilds: 2}
)

func newDaemon(path string) *v1alpha1.BuildDaemon {
	d := &v1alpha1.BuildDaemon{ObjectMeta: metav1.ObjectMeta{Name: "c-0", Generation: 1}}
	d.APIVersion, d.Kind = v1alpha1.GroupVersion.String(), "BuildDaemon"
	for _, s := range strings.Fields(path) {
		daemonSteps[s](d)
	}
	return d
}

// held lists conditions as "type status reason".
func held(conditions []metav1.Condition) []string {
	var out []string
	for _, c := range conditions {
		out = append(out, strings.Join([]string{c.Type, string(c.Status), c.Reason}, " "))
	}
	return out
}

var (
	serving = []string{"Ready True DaemonServing", "Draining False InService"}
	asleep  = []string{"Ready False ScaledDown", "Reconciling True ScaledDown"}
)

func TestADaemonsConditionsFollowItsService(t *testing.T) {
	cases := map[string]struct {
		path string
		want []string
	}{
		"one that serves": {"serve", serving},
		"one that does not answer": {"unreach", []string{
			"Ready False DaemonUnreachable", "Reconciling True DaemonUnreachable", "Draining False InService",
		}},
		"one that drains":          {"drain", []string{"Ready True DaemonServing", "Draining True ShuttingDown"}},
		"one that never reported":  {"silence", []string{"Ready Unknown NotStarted", "Reconciling True NotStarted"}},
		"one that was scaled away": {"drain scale-down", asleep},
		"one whose agent died": {"serve expire", []string{
			"Ready Unknown LeaseExpired", "Draining False InService", "Reconciling True LeaseExpired",
		}},
		"one whose agent ended": {"drain stop", []string{
			"Ready Unknown AgentStopped", "Draining True ShuttingDown", "Reconciling True AgentStopped",
		}},
		"scaled away is known already": {"scale-down stop", asleep},
		"one that comes back":          {"serve expire serve", serving},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, held(newDaemon(tc.path).Status.Conditions)); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
		})
	}
}

func TestADaemonsPhase(t *testing.T) {
	cases := map[string]struct {
		path                string
		want                status.DaemonPhase
		takes, starts, gone bool
	}{
		"one that serves":                           {"serve", status.DaemonServing, true, true, false},
		"one under disk pressure":                   {"serve fill", status.DaemonCordoned, false, true, false},
		"one that is cordoned":                      {"cordon serve", status.DaemonCordoned, false, true, false},
		"one that is to stop, before its pod knows": {"serve suspend", status.DaemonDraining, false, false, false},
		"one that has stopped": {
			"serve suspend scale-down", status.DaemonDormant, false, false, true,
		},
		"one that is to stop, and died":          {"serve suspend expire", status.DaemonGone, false, false, true},
		"one that drains, however full":          {"drain fill", status.DaemonDraining, false, false, false},
		"one that does not answer":               {"unreach fill", status.DaemonNotReady, false, false, false},
		"one that was never reported on":         {"", status.DaemonNotReady, false, false, false},
		"one that did not start":                 {"silence", status.DaemonNotReady, false, false, false},
		"one that is deleted, while it serves":   {"serve delete", status.DaemonDeleting, false, false, false},
		"one that is deleted, and died":          {"serve delete expire", status.DaemonGone, false, false, true},
		"one whose agent died while it drained":  {"drain expire", status.DaemonGone, false, false, true},
		"one whose agent ended":                  {"drain stop", status.DaemonGone, false, false, true},
		"one that was scaled away":               {"serve scale-down", status.DaemonDormant, false, false, true},
		"one that was scaled away and is back":   {"scale-down serve", status.DaemonServing, true, true, false},
		"one that died and was then scaled away": {"expire scale-down", status.DaemonDormant, false, false, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			d := newDaemon(tc.path)
			if got := status.PhaseOfDaemon(d); got != tc.want {
				t.Errorf("phase is %s, want %s", got, tc.want)
			}
			got := []bool{status.TakesBuilds(d), status.StartsBuilds(d), status.IsGone(d)}
			if diff := cmp.Diff([]bool{tc.takes, tc.starts, tc.gone}, got); diff != "" {
				t.Errorf("takes builds, starts builds, is gone (-want +got):\n%s", diff)
			}
		})
	}
}

func TestADaemonIsReadyReconcilingOrStalled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := newDaemon("")
		for range rapid.IntRange(1, 12).Draw(t, "length") {
			step := rapid.SampledFrom([]string{"serve", "drain", "unreach", "expire", "stop", "silence", "scale-down"}).
				Draw(t, "step")
			daemonSteps[step](d)
			d.Status.ObservedGeneration = d.Generation
			expectOneVerdict(t, d.Status.Conditions)
			want := kstatus.InProgressStatus
			if status.IsReady(d) {
				want = kstatus.CurrentStatus
			}
			if got := computed(t, d); got != want {
				t.Fatalf("after %s kstatus reads %s, want %s", step, got, want)
			}
			if status.IsGone(d) && status.StartsBuilds(d) {
				t.Fatalf("after %s it is gone and starts builds", step)
			}
		}
	})
}
