// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"fmt"
	"testing"
)

// benchView is a fleet of n four-slot daemons, every third full, with 2,000 keys that have one to three copies each.
// The daemons have volumes of the given sizes in turn.
func benchView(tb testing.TB, n int, volumeBytes ...int64) (*View, []Request) {
	daemons := fleet(n, 4)
	for i := range daemons {
		if len(volumeBytes) > 0 {
			daemons[i].VolumeBytes = volumeBytes[i%len(volumeBytes)]
		}
		if i%3 == 0 {
			daemons[i].Running = 4
			for j := range 4 {
				daemons[i].Busy = append(daemons[i].Busy, Busy{EndsAtSeconds: float64(10 + 7*j), ExpectedSeconds: 100})
			}
		}
	}
	v := viewOf(tb, daemons, nil)
	requests := make([]Request, 2000)
	for i := range requests {
		requests[i] = request(fmt.Sprint("uid-", i), fmt.Sprint("key-", i))
		id := requests[i].Keys[0].ID
		for _, at := range Ranks(v, id, 1+i%3) {
			v.Ledger.Restore(id, Copy{Daemon: v.Daemons[at].ID})
		}
	}
	return v, requests
}

func BenchmarkPlace(b *testing.B) {
	p := DefaultParams()
	for _, n := range []int{10, 100, 1000, 10000} {
		for _, cached := range []bool{false, true} {
			b.Run(fmt.Sprintf("daemons=%d/cached=%t", n, cached), func(b *testing.B) {
				v, requests := benchView(b, n)
				if cached {
					c := NewRankCache()
					c.Follow(v)
					for i := range requests {
						c.Learn(v, requests[i].Keys[0].ID)
					}
				}
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					if _, err := Place(v, &requests[i%len(requests)], &p); err != nil {
						b.Fatal(err)
					}
					i++
				}
			})
		}
	}
}
