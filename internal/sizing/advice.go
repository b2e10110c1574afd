// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"fmt"
	"math"

	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// percents are the sizes that daemons report of their curves, in percent of today's.
var percents = []int32{25, 50, 75, 100, 125, 150, 200, 300, 400, 600, 800}

// shown are the sizes that a BuildCache shows.
var shown = map[int32]bool{50: true, 100: true, 200: true, 400: true}

const (
	// enough accesses to advise on: with fewer, one busy day decides.
	enough = 50
	// worthless is how many basis points of the bytes used are not worth a larger volume.
	worthless = 100
	// least is the smallest size that the API takes.
	least = 1 << 30
)

// Report sums a curve up for a daemon whose mounts may take budgetBytes; nil when nothing was accessed or there is no
// budget.
func Report(c Curve, budgetBytes int64) *v1alpha1.DaemonSizing {
	if c.Accesses() == 0 || budgetBytes <= 0 {
		return nil
	}
	out := &v1alpha1.DaemonSizing{Accesses: c.Accesses(), SeenBytes: int64(c.SeenBytes())}
	for _, p := range percents {
		ratio := c.HitRatio(float64(budgetBytes) / 100 * float64(p))
		out.Points = append(
			out.Points,
			v1alpha1.SizingPoint{SizePercent: p, HitBasisPoints: int32(math.Round(ratio * 10_000))},
		)
	}
	return out
}

// Advise merges the reports of a fleet, by the bytes that each daemon's builds used, and recommends a size; nil when
// there are none. Daemons keep their keys, so a fleet's volumes are right when each daemon's is.
func Advise(reports []*v1alpha1.DaemonSizing, size resource.Quantity) *v1alpha1.SizingStatus {
	out := &v1alpha1.SizingStatus{}
	var seen float64
	hits := map[int32]float64{}
	for _, r := range reports {
		if r == nil {
			continue
		}
		out.Accesses += r.Accesses
		seen += float64(r.SeenBytes)
		for _, p := range r.Points {
			hits[p.SizePercent] += float64(r.SeenBytes) * float64(p.HitBasisPoints)
		}
	}
	if seen <= 0 {
		return nil
	}
	basisPoints := func(percent int32) int32 { return int32(math.Round(hits[percent] / seen)) }
	best := percents[len(percents)-1]
	for _, p := range percents {
		if shown[p] {
			q := times(size, p)
			out.Points = append(out.Points,
				v1alpha1.SizingPoint{SizePercent: p, Size: &q, HitBasisPoints: basisPoints(p)})
		}
		if q := times(size, p); p < best && q.Value() >= least &&
			basisPoints(p) >= basisPoints(percents[len(percents)-1])-worthless {
			best = p
		}
	}
	recommend(out, size, best, basisPoints(100), basisPoints(best))
	return out
}

// recommend fills in the recommendation: best is the recommended size in percent of today's, now and then are the hit
// ratios in basis points at today's size and at the recommended one.
func recommend(out *v1alpha1.SizingStatus, size resource.Quantity, best, now, then int32) {
	if out.Accesses < enough {
		out.Reason = v1alpha1.SizingTooFewAccesses
		out.Message = fmt.Sprintf("Builds have used cache mounts %d times; advice needs %d", out.Accesses, enough)
		return
	}
	q := times(size, best)
	out.RecommendedSize = &q
	switch {
	case best > 100:
		out.Reason = v1alpha1.SizingLargerHoldsMore
		out.Message = fmt.Sprintf(
			"At %s %s %% of the bytes that builds use are there, at %s %s %%",
			size.String(),
			percent(now),
			q.String(),
			percent(then),
		)
	case best < 100:
		out.Reason = v1alpha1.SizingSmallerHoldsAsMuch
		out.Message = fmt.Sprintf(
			"At %s %s %% of the bytes that builds use are there, at %s still %s %%",
			size.String(),
			percent(now),
			q.String(),
			percent(then),
		)
	default:
		out.Reason = v1alpha1.SizingSizeFits
		out.Message = fmt.Sprintf(
			"At %s %s %% of the bytes that builds use are there, and a larger volume would not hold more",
			size.String(),
			percent(now),
		)
	}
}

// percent renders basisPoints for people.
func percent(basisPoints int32) string { return fmt.Sprintf("%d.%d", basisPoints/10, basisPoints%10) }

// times is a part of a size, in whole MiB.
func times(size resource.Quantity, percent int32) resource.Quantity {
	const mib = 1 << 20
	return *resource.NewQuantity(int64(float64(size.Value())/100*float64(percent))/mib*mib, resource.BinarySI)
}

// VolumeSize is the size that each volume of the fleet is to have: the spec's, or more where autoExpand has grown it.
// The manager sizes claims by it, agents bound their garbage collection by it.
func VolumeSize(cache *v1alpha1.BuildCache) resource.Quantity {
	if s := cache.Status.Storage; s != nil && s.Size.Cmp(cache.Spec.Storage.Size) > 0 {
		return s.Size
	}
	return cache.Spec.Storage.Size
}
