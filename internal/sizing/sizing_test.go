// SPDX-License-Identifier: Apache-2.0

package sizing_test

import (
	"fmt"
	"math"
	"math/rand/v2"
	"runtime"
	"testing"
	"time"

	"github.com/openllb/hlb-operator/internal/sizing"
)

const mib = 1 << 20

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// use is an access to an object of so many MiB.
type use struct {
	object int
	mib    int64
}

// curve is that of uses.
func curve(accesses ...use) sizing.Curve {
	s := sizing.NewSampler()
	for _, a := range accesses {
		s.Access(fmt.Sprint(a.object), a.mib*mib, start)
	}
	return s.Curve(start)
}

func TestHitRatioOfASize(t *testing.T) {
	abcabc := []use{{0, 10}, {1, 20}, {2, 30}, {0, 10}, {1, 20}, {2, 30}}
	cases := map[string]struct {
		accesses []use
		sizeMiB  float64
		want     float64
	}{
		"no accesses, nothing is held":                  {nil, 1000, 0},
		"a first access is never a hit":                 {[]use{{0, 10}, {1, 10}}, 1000, 0},
		"an object used again at once needs its size":   {[]use{{0, 10}, {0, 10}}, 11, 0.5},
		"less than its size does not hold it":           {[]use{{0, 10}, {0, 10}}, 9, 0},
		"a round needs room for all of it":              {abcabc, 62, 0.5},
		"a round in less room never hits":               {abcabc, 58, 0},
		"bytes count, not accesses":                     {[]use{{0, 90}, {1, 10}, {1, 10}, {1, 10}}, 11, 20.0 / 120},
		"of an object that grew only the old part hits": {[]use{{0, 10}, {1, 10}, {1, 50}, {0, 10}}, 62, 20.0 / 80},
		"objects of no bytes are not accesses":          {[]use{{0, 10}, {1, 0}, {0, 10}}, 11, 0.5},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := curve(tc.accesses...).HitRatio(tc.sizeMiB * mib); math.Abs(got-tc.want) > 1e-9 {
				t.Errorf("hit ratio %.3f, want %.3f", got, tc.want)
			}
		})
	}
}

func TestTheCurveNeverFalls(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	s := sizing.NewSampler()
	for range 50_000 {
		s.Access(fmt.Sprint(r.IntN(20_000)), r.Int64N(100*mib), start)
	}
	c, last := s.Curve(start), 0.0
	for size := 1.0; size < 1<<50; size *= 1.3 {
		ratio := c.HitRatio(size)
		if ratio < last || ratio > 1 {
			t.Fatalf("hit ratio %.4f at %.0f bytes, after %.4f below", ratio, size, last)
		}
		last = ratio
	}
	if c.Reusable() != last {
		t.Errorf("the curve ends at %.4f, want %.4f", last, c.Reusable())
	}
}

func TestOldAccessesFade(t *testing.T) {
	s := sizing.NewSampler()
	at := start
	for range 100 { // for a long time one mount was used again and again
		s.Access("a", 10*mib, at)
	}
	at = at.Add(8 * 7 * 24 * time.Hour)
	before := s.Curve(at)
	for i := range 100 { // now each build has another
		s.Access(fmt.Sprint("new", i), 10*mib, at)
	}
	if after := s.Curve(at); before.Reusable() < 0.98 || after.Reusable() > 0.06 {
		t.Errorf("hit ratio %.3f, after eight weeks and other work %.3f; want the latter near 1/17", before.Reusable(),
			after.Reusable())
	}
	if got := before.SeenBytes() / mib; math.Abs(got-1000.0/16) > 0.01 {
		t.Errorf("a thousand MiB of eight weeks ago count as %.2f, want a sixteenth", got)
	}
	at = at.Add(3 * 365 * 24 * time.Hour) // weights are scaled down on the way
	for range 3 {
		s.Access("a", 10*mib, at)
	}
	if got := s.Curve(at); math.Abs(got.SeenBytes()/mib-30) > 0.01 || math.Abs(got.Reusable()-1) > 0.001 {
		t.Errorf("after years %.2f MiB count, hit ratio %.3f; want 30 and 1: the object is an old acquaintance",
			got.SeenBytes()/mib, got.Reusable())
	}
}

func TestAStateGoesOn(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	whole, half := sizing.NewSampler(), sizing.NewSampler()
	access := func(s *sizing.Sampler, o int) { s.Access(fmt.Sprint(o), int64(1+o%50)*mib, start) }
	for range 40_000 {
		o := r.IntN(20_000)
		access(whole, o)
		access(half, o)
	}
	data, err := half.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	if len(data) > 600<<10 {
		t.Errorf("the state takes %d bytes", len(data))
	}
	resumed := sizing.NewSampler()
	if err := resumed.UnmarshalBinary(data); err != nil {
		t.Fatal(err)
	}
	for range 40_000 {
		o := r.IntN(20_000)
		access(whole, o)
		access(resumed, o)
	}
	for size := 1.0 * mib; size < 1<<42; size *= 2 {
		if a, b := whole.Curve(start).HitRatio(size), resumed.Curve(start).HitRatio(size); math.Abs(a-b) > 1e-9 {
			t.Errorf("at %.0f MiB: %.6f without a restart, %.6f with one", size/mib, a, b)
		}
	}
	for name, broken := range map[string][]byte{"nothing": nil, "half of it": data[:len(data)/2],
		"something else": []byte("{}")} {
		if err := resumed.UnmarshalBinary(broken); err == nil {
			t.Errorf("%s was taken for a state", name)
		}
	}
	if resumed.Curve(start).Accesses() != 80_000 {
		t.Error("a broken state changed the sampler")
	}
}

func TestMemoryStaysBelowAMegabyte(t *testing.T) {
	allocated := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapAlloc
	}
	before := allocated()
	s := sizing.NewSampler()
	for i := range 200_000 {
		s.Access(fmt.Sprint(i), int64(i+1), start)
	}
	if took := allocated() - before; took > 1_000_000 {
		t.Errorf("a sampler of 200,000 objects takes %d bytes", took)
	}
	if got := s.Curve(start).Accesses(); got != 200_000 { // also keeps the sampler alive
		t.Errorf("%d accesses were counted", got)
	}
}
