// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/apicaps"
	capspb "github.com/moby/buildkit/util/apicaps/pb"
)

func TestADaemonThatLacksFeaturesIsTooOld(t *testing.T) {
	t.Parallel()
	all := pb.Caps.All()
	if err := skewOf(pb.Caps.CapSet(all)); err != nil {
		t.Errorf("BuildKit's own features: %v", err)
	}
	for _, lacks := range neededCaps {
		has := slices.DeleteFunc(slices.Clone(all), func(c *capspb.APICap) bool { return c.ID == string(lacks) })
		err := skewOf(pb.Caps.CapSet(has))
		var skew *SkewError
		if !errors.As(err, &skew) || !slices.Equal(skew.Missing, []apicaps.CapID{lacks}) ||
			!strings.Contains(err.Error(), string(lacks)) {
			t.Errorf("a daemon without %s: %v", lacks, err)
		}
	}
}
