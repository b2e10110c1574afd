// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"fmt"
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// volumes makes a fleet with a volume of so many GB each; 0: unknown.
func volumes(gigabytes ...float64) []Daemon {
	daemons := fleet(len(gigabytes), 4)
	for i, gb := range gigabytes {
		daemons[i].VolumeBytes = int64(gb * 1e9)
	}
	return daemons
}

func TestWeightsByVolume(t *testing.T) {
	own := volumes(100, 100, 100, 400)
	own[3].Weight = 500
	cases := map[string]struct {
		daemons []Daemon
		want    []uint32 // by ordinal
	}{
		"equal volumes": {volumes(100, 100, 100), []uint32{1000, 1000, 1000}},
		"twice and half the median": {
			volumes(100, 200, 100, 50, 100), []uint32{1000, 2000, 1000, 500, 1000},
		},
		"small differences are none": {
			volumes(100, 130, 75, 99, 101), []uint32{1000, 1000, 1000, 1000, 1000},
		},
		"the nearest power of two counts": {
			volumes(100, 100, 100, 290, 270), []uint32{1000, 1000, 1000, 4000, 2000},
		},
		"at most eight times, at least an eighth": {
			volumes(100, 1e4, 100, 1, 100), []uint32{1000, 8000, 1000, 125, 1000},
		},
		"unknown volumes are ordinary":               {volumes(0, 200, 100, 100), []uint32{1000, 2000, 1000, 1000}},
		"nothing is known":                           {volumes(0, 0), []uint32{1000, 1000}},
		"of two, the smaller is the ordinary daemon": {volumes(400, 200), []uint32{2000, 1000}},
		"a weight of one's own stays":                {own, []uint32{1000, 1000, 1000, 500}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			v := viewOf(t, tc.daemons, nil)
			var got []uint32
			for i := range tc.daemons {
				got = append(got, v.Daemons[v.knownPosition(tc.daemons[i].ID)].Weight)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("weights (-want +got):\n%s", diff)
			}
		})
	}
}

// TestADaemonWithTwiceTheVolumeIsHomeToTwiceTheKeys also checks that small differences move no key.
func TestADaemonWithTwiceTheVolumeIsHomeToTwiceTheKeys(t *testing.T) {
	const keys = 20000
	equal := viewOf(t, volumes(100, 100, 100, 100, 100), nil)
	nearly := viewOf(t, volumes(95, 100, 120, 101, 80), nil)
	uneven := viewOf(t, volumes(100, 200, 100, 100, 100), nil)
	count := map[string]int{}
	for k := range keys {
		key := KeyOf("ns", fmt.Sprint(k))
		if diff := cmp.Diff(rankNames(equal, key, 5), rankNames(nearly, key, 5)); diff != "" {
			t.Fatalf("small differences change the order of key %d (-without +with):\n%s", k, diff)
		}
		before, after := rankNames(equal, key, 1)[0], rankNames(uneven, key, 1)[0]
		if before != after && after != "builds-1" {
			t.Fatalf("a larger builds-1 moves key %d from %s to %s", k, before, after)
		}
		count[after]++
	}
	for name, weight := range map[string]float64{"builds-0": 1, "builds-1": 2, "builds-4": 1} {
		want := weight / 6 * keys
		if math.Abs(float64(count[name])-want) > 4*math.Sqrt(want) {
			t.Errorf("%s is home of %d keys, want about %.0f", name, count[name], want)
		}
	}
}

func TestWeightsChanged(t *testing.T) {
	cases := map[string]struct {
		change func(v *View, d *Daemon) // d is builds-0
		want   bool
	}{
		"nothing changed":        {func(*View, *Daemon) {}, false},
		"a volume grew a little": {func(_ *View, d *Daemon) { d.VolumeBytes = 120e9 }, false},
		"a volume was doubled":   {func(_ *View, d *Daemon) { d.VolumeBytes = 200e9 }, true},
		"all were doubled": {func(v *View, _ *Daemon) {
			for i := range v.Daemons {
				v.Daemons[i].VolumeBytes = 200e9
			}
		}, false},
		"it is no longer known": {func(_ *View, d *Daemon) { d.VolumeBytes = 0 }, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			v := viewOf(t, volumes(100, 100, 100), nil)
			tc.change(v, &v.Daemons[v.knownPosition(DaemonOf("ns/builds", 0))])
			if got := v.WeightsChanged(); got != tc.want {
				t.Errorf("weights changed: %t, want %t", got, tc.want)
			}
		})
	}
	t.Run("a weight of one's own does not change", func(t *testing.T) {
		daemons := volumes(100, 100, 100)
		daemons[0].Weight = 1000
		v := viewOf(t, daemons, nil)
		v.Daemons[v.knownPosition(daemons[0].ID)].VolumeBytes = 400e9
		if v.WeightsChanged() {
			t.Error("weights changed")
		}
	})
}
