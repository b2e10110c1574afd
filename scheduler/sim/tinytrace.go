// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bytes"
	"fmt"
	"io"
)

// GeneratedTrace writes a small recording in the format that Recorded reads, for machines without a real one: a year
// of which only the first fortnights have builds. It is drawn as Generate draws, with perDay builds a day in the mean
// in each of the given number of fortnights.
func GeneratedTrace(fortnights int, perDay float64) Trace {
	var b bytes.Buffer
	for lane := range fortnights {
		g := Generated{
			Seed:        uint64(lane + 1),
			Daemons:     1,
			Slots:       1,
			Programs:    120,
			Zipf:        .9,
			ColdRatio:   1.2,
			Days:        laneDays,
			Utilisation: 1,
		}
		g.Utilisation = perDay / day * 280 // a build is 280 s long in the mean
		w := Generate(g)
		for _, x := range w.Builds {
			fmt.Fprintf(
				&b,
				"%.0f\t%d\tmain\t%.0f\t1\n",
				x.ArriveSeconds+float64(lane)*laneDays*day,
				x.Program,
				max(x.ColdSeconds, 1),
			)
		}
	}
	return func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(b.Bytes())), nil }
}
