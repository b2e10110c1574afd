// SPDX-License-Identifier: Apache-2.0

package status_test

import (
	"errors"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"pgregory.net/rapid"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// taken is a fault that is mended elsewhere.
type taken struct{}

func (taken) Error() string { return "the name is taken" }
func (taken) Fault() (string, status.FailureClass) {
	return v1alpha1.ReasonNameConflict, status.MendedElsewhere
}

var (
	roles     = schema.GroupResource{Resource: "roles"}
	forbidden = apierrors.NewForbidden(roles, "r", errors.New("quota"))
	conflict  = apierrors.NewConflict(roles, "r", errors.New("changed"))
)

func retried(err error, quiet bool) *status.Failure {
	return &status.Failure{Reason: "RetryingAfterError", Message: err.Error(), Quiet: quiet}
}

func TestFailuresAreClassified(t *testing.T) {
	cases := map[string]struct {
		err   error
		tries int
		want  *status.Failure
	}{
		"none":                  {nil, 0, nil},
		"one conflict":          {conflict, 1, retried(conflict, true)},
		"many conflicts":        {conflict, 4, retried(conflict, false)},
		"a refusal of a moment": {forbidden, 1, retried(forbidden, true)},
		"refusals for a while":  {forbidden, 10, retried(forbidden, false)},
		"conflicts for long":    {conflict, 50, retried(conflict, false)},
		"refusals for long": {forbidden, 11, &status.Failure{
			Class: status.MendedElsewhere, Reason: "ApplyRefused", Message: forbidden.Error(),
		}},
		"a fault the first time": {fmt.Errorf("x: %w", taken{}), 1, &status.Failure{
			Class: status.MendedElsewhere, Reason: "NameConflict", Message: "the name is taken",
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := status.FailureOf(tc.err, tc.tries)
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("failure (-want +got):\n%s", diff)
			}
			elsewhere := tc.want != nil && tc.want.Class == status.MendedElsewhere
			if elsewhere != (got.RetryAfter() > 0) {
				t.Errorf("is tried again after %s", got.RetryAfter())
			}
		})
	}
}

var (
	served   = status.FleetFacts{Wanted: 2, Running: 2, Ready: 2, Updated: 2, Pods: 2}
	rolling  = status.FleetFacts{Wanted: 2, Running: 2, Ready: 1, Updated: 1, Pods: 2}
	blinked  = status.FleetFacts{Failure: status.FailureOf(conflict, 1)}
	retrying = status.FleetFacts{Failure: status.FailureOf(conflict, 9)}
	named    = status.FleetFacts{Failure: status.FailureOf(taken{}, 1)}
)

func newCache(facts ...status.FleetFacts) *v1alpha1.BuildCache {
	c := &v1alpha1.BuildCache{ObjectMeta: metav1.ObjectMeta{Name: "c", Generation: 1}}
	c.APIVersion, c.Kind = v1alpha1.GroupVersion.String(), "BuildCache"
	c.Status.ObservedGeneration = 1
	for _, f := range facts {
		status.ReportFleet(&c.Status, f, start)
	}
	return c
}

const allReady = "Ready True AllDaemonsReady"

func TestTransientFailuresKeepWhatIsKnown(t *testing.T) {
	cases := map[string]struct {
		facts []status.FleetFacts
		want  []string
		seen  kstatus.Status
	}{
		"a fleet that serves": {[]status.FleetFacts{served}, []string{allReady}, kstatus.CurrentStatus},
		"one failure shows nowhere": {
			[]status.FleetFacts{served, blinked}, []string{allReady}, kstatus.CurrentStatus,
		},
		"several leave Ready as it was": {
			[]status.FleetFacts{served, retrying},
			[]string{allReady, "Reconciling True RetryingAfterError"}, kstatus.InProgressStatus,
		},
		"the end of it": {
			[]status.FleetFacts{served, retrying, served}, []string{allReady}, kstatus.CurrentStatus,
		},
		"a fleet of which nothing is known": {
			[]status.FleetFacts{blinked},
			[]string{"Ready Unknown RetryingAfterError", "Reconciling True RetryingAfterError"},
			kstatus.InProgressStatus,
		},
		"a fleet that rolls out": {
			[]status.FleetFacts{rolling, retrying},
			[]string{"Ready False DaemonsNotReady", "Reconciling True RetryingAfterError"}, kstatus.InProgressStatus,
		},
		"a fleet that needs a user still does": {
			[]status.FleetFacts{served, named, retrying},
			[]string{"Ready False NameConflict", "Stalled True NameConflict"}, kstatus.FailedStatus,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := newCache(tc.facts...)
			if diff := cmp.Diff(tc.want, held(c.Status.Conditions)); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			if got := computed(t, c); got != tc.seen {
				t.Errorf("kstatus reads %s, want %s", got, tc.seen)
			}
		})
	}
}

func TestAFailureOfANewGenerationIsNeverQuiet(t *testing.T) {
	c := newCache(served)
	c.Generation, c.Status.ObservedGeneration = 2, 2
	status.ReportFleet(&c.Status, blinked, start)
	if got := computed(t, c); got != kstatus.InProgressStatus {
		t.Errorf("kstatus reads %s of a generation that was not applied, want InProgress", got)
	}
}

func TestACacheIsReadyReconcilingOrStalled(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		c := newCache()
		for range rapid.IntRange(1, 12).Draw(t, "length") {
			if rapid.Bool().Draw(t, "edited") {
				c.Generation++
				c.Status.ObservedGeneration = c.Generation
			}
			all := []status.FleetFacts{served, rolling, blinked, retrying, named, {}}
			facts := rapid.SampledFrom(all).Draw(t, "facts")
			status.ReportFleet(&c.Status, facts, start)
			conditions := c.Status.Conditions
			if retrying := meta.FindStatusCondition(conditions, "Reconciling"); retrying == nil ||
				retrying.Reason != v1alpha1.ReasonRetryingAfterError {
				expectOneVerdict(t, conditions)
			}
			stalled := meta.IsStatusConditionTrue(conditions, "Stalled")
			if stalled && meta.IsStatusConditionTrue(conditions, "Reconciling") {
				t.Fatal("Stalled and Reconciling are both True")
			}
			computed(t, c)
		}
	})
}
