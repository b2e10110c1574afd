// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"fmt"

	"github.com/openllb/hlb-operator/internal/eviction"
)

// Params are the parameters of placement. DefaultParams states the origin of each default.
type Params struct {
	// RankSeconds is added for each rank away from home, so that equal costs fall towards home.
	RankSeconds float64 `json:"rankSeconds"`

	// The price of a slot-second as a function of load u = (busy + queued)/slots: Slope*u up to Knee, rising by Steep
	// from Knee to 1, and Full from 1 on.
	PriceSlope float64 `json:"priceSlope"`
	PriceKnee  float64 `json:"priceKnee"`
	PriceSteep float64 `json:"priceSteep"`
	PriceFull  float64 `json:"priceFull"`

	// Later builds of a key count for HorizonSeconds, UnknownBuilds of them if the rate of the key is unknown. Crowding
	// scales the expected wait for a daemon; see expectedWait. KeepShare is the part of the staleness cost of a second
	// copy that is charged: builds prefer the newest free copy, so they rarely meet the stale one.
	HorizonSeconds float64 `json:"horizonSeconds"`
	UnknownBuilds  float64 `json:"unknownBuilds"`
	Crowding       float64 `json:"crowding"`
	KeepShare      float64 `json:"keepShare"`

	// Priming takes PrimeFixedSeconds + bytes / pull rate, where PullBytesPerSecond is the rate of unmeasured daemons.
	// A build on a primed daemon takes PrimedFactor × its warm length. PullSecondsPerGB is the cost to others of
	// pulling a GB (1e9 bytes); WaitSecondsPerGB is added if a ready daemon has a copy that the build could wait for.
	// Updating a stale copy moves min(1, RefreshSpread × missing part) of the bytes.
	PrimeFixedSeconds  float64 `json:"primeFixedSeconds"`
	PullBytesPerSecond float64 `json:"pullBytesPerSecond"`
	PrimedFactor       float64 `json:"primedFactor"`
	PullSecondsPerGB   float64 `json:"pullSecondsPerGB"`
	WaitSecondsPerGB   float64 `json:"waitSecondsPerGB"`
	RefreshSpread      float64 `json:"refreshSpread"`

	// JoinLoses is what a build loses that runs beside the build that makes its copy, as a part of the remaining time
	// of that build: 1 if it finds the copy only when that build ends, 0 if they share all work.
	JoinLoses float64 `json:"joinLoses"`

	// StalePerVersion is the part of the gain that a copy loses for each build of its key that it missed.
	StalePerVersion float64 `json:"stalePerVersion"`

	// A build is overdue at the age max(OverdueSeconds, OverdueFactor × warm length). Overdue builds are decided first.
	// From a load of StayLoad they never run cold while a ready daemon holds their caches; docs/scheduling.md says why.
	OverdueFactor  float64 `json:"overdueFactor"`
	OverdueSeconds float64 `json:"overdueSeconds"`
	StayLoad       float64 `json:"stayLoad"`

	// Priors for builds without estimates, for slots whose build is unknown, and for overdue builds; see remaining.
	PriorColdSeconds float64 `json:"priorColdSeconds"`
	PriorColdRatio   float64 `json:"priorColdRatio"`
	UnknownSeconds   float64 `json:"unknownSeconds"`
	OverdueShare     float64 `json:"overdueShare"`

	// WaitFactor bounds the whole wait of a build that could start elsewhere, as a multiple of what that costs more; at
	// least 1. It holds below a load of StayLoad.
	WaitFactor float64 `json:"waitFactor"`

	// ReturnPatience is by how many lengths of a restart a daemon may be late before no build waits for it.
	ReturnPatience float64 `json:"returnPatience"`

	// MaxPending is how many requests that keep waiting are considered for a daemon in a cycle; 0 for all.
	MaxPending int `json:"maxPending,omitempty"`
}

// DefaultParams returns the values that the simulator found good on generated loads and on the recorded trace
// (docs/scheduling.md).
func DefaultParams() Params {
	return Params{
		RankSeconds: 0.001, // far below any real difference: only breaks ties

		PriceSlope: 0.3, PriceKnee: 0.85, PriceSteep: 2, PriceFull: 8,

		HorizonSeconds: 2 * 3600, UnknownBuilds: 2, Crowding: 1.4, KeepShare: 0.25,

		PrimeFixedSeconds:  eviction.PrimeFixedSeconds,
		PullBytesPerSecond: eviction.PrimeBytesPerSecond, // until a daemon is measured
		PrimedFactor:       1.1,                          // an imported cache lacks a little of a local one
		PullSecondsPerGB:   2,                            // two fifths of the pull time: saves a tenth of the bytes

		// measured (make bench-cache): a snapshot after 1% of the files changed has 2.7% of the bytes
		RefreshSpread: 2.7,

		JoinLoses: 1, // cautious: BuildKit shares running steps, but builds differ

		StalePerVersion: 0.02, // until learned

		OverdueFactor: 2, OverdueSeconds: 120, StayLoad: 0.85,

		PriorColdSeconds: 183, // exp(5.21), the median of recorded builds
		PriorColdRatio:   eviction.PriorColdRatio,
		UnknownSeconds:   177, // median of recorded builds
		// more than lengths vary by: waiting for a slot that stays taken costs more than a copy
		OverdueShare: 0.4,

		WaitFactor: 2, // one to wait for, and one more because the wait took longer than expected

		ReturnPatience: 3, // a restart three times as long as usual is rare: an image that has to be pulled
	}
}

// Validate returns an error for the first value out of its range.
func (p *Params) Validate() error {
	switch {
	case p.RankSeconds < 0,
		p.PriceSlope < 0,
		p.PriceSteep < 0,
		p.PriceFull < 0,
		p.PrimeFixedSeconds < 0,
		p.PullSecondsPerGB < 0,
		p.WaitSecondsPerGB < 0,
		p.RefreshSpread < 0,
		p.StalePerVersion < 0:
		return fmt.Errorf("a cost is negative: every cost and price must be at least 0")
	case p.HorizonSeconds < 0, p.UnknownBuilds < 0, p.Crowding < 0, p.KeepShare < 0:
		return fmt.Errorf(
			"a look ahead is negative: horizonSeconds, unknownBuilds, crowding and keepShare must be at least 0",
		)
	case p.PriceKnee <= 0 || p.PriceKnee >= 1:
		return fmt.Errorf("priceKnee is %g, want between 0 and 1", p.PriceKnee)
	case p.PullBytesPerSecond <= 0:
		return fmt.Errorf("pullBytesPerSecond is %g, want more than 0", p.PullBytesPerSecond)
	case p.PrimedFactor < 1:
		return fmt.Errorf("primedFactor is %g, want at least 1", p.PrimedFactor)
	case p.JoinLoses < 0 || p.JoinLoses > 1:
		return fmt.Errorf("joinLoses is %g, want 0 to 1", p.JoinLoses)
	case p.MaxPending < 0:
		return fmt.Errorf("maxPending is %d, want at least 0", p.MaxPending)
	case p.OverdueFactor < 0, p.OverdueSeconds < 0, p.StayLoad < 0, p.ReturnPatience < 0:
		return fmt.Errorf("a bound on waiting is negative: factors, seconds and loads must be at least 0")
	case p.WaitFactor < 1:
		return fmt.Errorf("waitFactor is %g, want at least 1", p.WaitFactor)
	case p.PriorColdSeconds <= 0, p.PriorColdRatio < 1, p.UnknownSeconds <= 0, p.OverdueShare <= 0:
		return fmt.Errorf("a prior is out of range: seconds and shares must be more than 0, the cold ratio at least 1")
	}
	return nil
}

// price returns the cost to others of one more slot-second at load u, in seconds. Below the knee an extra slot-second
// rarely delays a build, above it nearly always; from 1 on only less work helps, that is, staying warm.
func (p *Params) price(u float64) float64 {
	switch {
	case u >= 1:
		return p.PriceFull
	case u > p.PriceKnee:
		return p.PriceSlope*u + p.PriceSteep*(u-p.PriceKnee)/(1-p.PriceKnee)
	default:
		return p.PriceSlope * u
	}
}
