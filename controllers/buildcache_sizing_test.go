// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestAdviceIsAboutTheWantedDaemons(t *testing.T) {
	cache := testbuild.BuildCache("ns", "c", func(c *v1alpha1.BuildCache) {
		c.Spec.Replicas, c.Spec.Storage.Size = ptr.To[int32](1), resource.MustParse("10Gi")
	})
	report := func(hitToday, hitTwice int32) *v1alpha1.DaemonSizing {
		return &v1alpha1.DaemonSizing{Accesses: 100, SeenBytes: 1 << 30, Points: []v1alpha1.SizingPoint{
			{SizePercent: 100, HitBasisPoints: hitToday}, {SizePercent: 200, HitBasisPoints: hitTwice}, {SizePercent: 800, HitBasisPoints: hitTwice},
		}}
	}
	wanted, asleep := testbuild.BuildDaemon("ns", "c", 0), testbuild.BuildDaemon("ns", "c", 1)
	if got := fleetStatus(cache, nil, []v1alpha1.BuildDaemon{*wanted}, nil, time.Now()); got.Sizing != nil {
		t.Errorf("a daemon without a report leads to advice: %+v", got.Sizing)
	}
	wanted.Status.Sizing, asleep.Status.Sizing = report(5000, 9000), report(1000, 1000)
	got := fleetStatus(cache, nil, []v1alpha1.BuildDaemon{*wanted, *asleep}, nil, time.Now()).Sizing
	if got == nil || got.Accesses != 100 || got.Reason != v1alpha1.SizingLargerHoldsMore || got.RecommendedSize.String() != "20Gi" {
		t.Errorf("advice is %+v, want 20Gi from the accesses of one daemon", got)
	}
}
