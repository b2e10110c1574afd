// SPDX-License-Identifier: Apache-2.0

package sizing_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/sizing"
)

// rounds is the report of a daemon whose builds use mounts of so many MiB each, in turn, with a budget.
func rounds(mounts int, mountMiB, budgetMiB int64, times int) *v1alpha1.DaemonSizing {
	s := sizing.NewSampler()
	for range times {
		for m := range mounts {
			s.Access(fmt.Sprint(m), mountMiB*mib, start)
		}
	}
	return sizing.Report(s.Curve(start), budgetMiB*mib)
}

func TestAdvice(t *testing.T) {
	cases := map[string]struct {
		reports    []*v1alpha1.DaemonSizing
		size       string
		wantReason v1alpha1.SizingReason
		wantSize   string
		wantAt     []int32 // basis points at half, once, twice, four times
	}{
		"what does not fit wants a larger volume": { // 10 mounts of 100 MiB each need 1000 of 520
			[]*v1alpha1.DaemonSizing{rounds(10, 100, 520, 100)}, "10Gi", v1alpha1.SizingLargerHoldsMore, "20Gi",
			[]int32{0, 0, 9900, 9900}},
		"what fits barely is left": {
			[]*v1alpha1.DaemonSizing{rounds(10, 100, 1020, 100)}, "10Gi", v1alpha1.SizingSizeFits, "10Gi",
			[]int32{0, 9900, 9900, 9900}},
		"what fits into half says so": {
			[]*v1alpha1.DaemonSizing{rounds(10, 100, 2040, 100)}, "10Gi", v1alpha1.SizingSmallerHoldsAsMuch, "5Gi",
			[]int32{9900, 9900, 9900, 9900}},
		"nothing below the smallest size is recommended": {
			[]*v1alpha1.DaemonSizing{rounds(2, 1, 2000, 100)}, "2Gi", v1alpha1.SizingSmallerHoldsAsMuch, "1Gi",
			[]int32{9900, 9900, 9900, 9900}},
		"a few accesses are no ground for advice": {
			[]*v1alpha1.DaemonSizing{rounds(2, 1, 2000, 3)}, "2Gi", v1alpha1.SizingTooFewAccesses, "",
			[]int32{6667, 6667, 6667, 6667}},
		// three quarters of the bytes fit now, the rest needs twice the size
		"daemons count by the bytes their builds use": {
			[]*v1alpha1.DaemonSizing{rounds(3, 100, 510, 1000), rounds(10, 100, 510, 100), nil}, "10Gi",
			v1alpha1.SizingLargerHoldsMore, "20Gi",
			[]int32{0, 7493, 9968, 9968}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := sizing.Advise(tc.reports, resource.MustParse(tc.size))
			var at []int32
			for _, p := range got.Points {
				at = append(at, p.HitBasisPoints)
			}
			if diff := cmp.Diff(tc.wantAt, at); diff != "" {
				t.Errorf("hit ratios (-want +got):\n%s", diff)
			}
			recommended := ""
			if got.RecommendedSize != nil {
				recommended = got.RecommendedSize.String()
			}
			if got.Reason != tc.wantReason || recommended != tc.wantSize || got.Message == "" {
				t.Errorf("got %q because of %s: %s; want %q because of %s", recommended, got.Reason, got.Message,
					tc.wantSize, tc.wantReason)
			}
		})
	}
	if got := sizing.Advise([]*v1alpha1.DaemonSizing{nil}, resource.MustParse("1Gi")); got != nil {
		t.Errorf("without a report there is advice: %+v", got)
	}
	if got := sizing.Report(sizing.NewSampler().Curve(start), mib); got != nil {
		t.Errorf("without an access there is a report: %+v", got)
	}
}

func TestPointsShowTheirSize(t *testing.T) {
	got := sizing.Advise([]*v1alpha1.DaemonSizing{rounds(1, 1, 100, 60)}, resource.MustParse("3Gi"))
	var sizes []string
	for _, p := range got.Points {
		sizes = append(sizes, fmt.Sprintf("%d%% %s", p.SizePercent, p.Size.String()))
	}
	if diff := cmp.Diff([]string{"50% 1536Mi", "100% 3Gi", "200% 6Gi", "400% 12Gi"}, sizes); diff != "" {
		t.Errorf("sizes (-want +got):\n%s", diff)
	}
}

func TestVolumeSize(t *testing.T) {
	for name, tc := range map[string]struct {
		grown string // status.storage.size, empty for none
		want  string
	}{
		"that of the spec":                 {"", "10Gi"},
		"what autoExpand has grown":        {"13Gi", "13Gi"},
		"the spec's once it has overtaken": {"8Gi", "10Gi"},
	} {
		t.Run(name, func(t *testing.T) {
			cache := &v1alpha1.BuildCache{}
			cache.Spec.Storage.Size = resource.MustParse("10Gi")
			if tc.grown != "" {
				cache.Status.Storage = &v1alpha1.StorageStatus{Size: resource.MustParse(tc.grown)}
			}
			if got := sizing.VolumeSize(cache); got.Cmp(resource.MustParse(tc.want)) != 0 {
				t.Errorf("got %s, want %s", got.String(), tc.want)
			}
		})
	}
}
