// SPDX-License-Identifier: Apache-2.0

package eviction_test

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/internal/eviction"
)

type replica = eviction.Copy[string]

// held is a copy of 1 GB that saves a minute, used at an instant before 100.
func held(id string, usedAt float64, change ...func(*replica)) replica {
	c := replica{ID: id, Bytes: 1e9, UsedAtSeconds: usedAt, LostSeconds: 60}
	for _, f := range change {
		f(&c)
	}
	return c
}

func gigabytes(n int64) func(*replica) { return func(c *replica) { c.Bytes = n * 1e9 } }

func loses(seconds float64) func(*replica) { return func(c *replica) { c.LostSeconds = seconds } }

// elsewhere gives another daemon a copy with a last use.
func elsewhere(usedAt float64) func(*replica) {
	return func(c *replica) { c.ReplicaUsedAtSeconds = usedAt }
}

func TestOrder(t *testing.T) {
	cases := map[string]struct {
		copies []replica
		want   []string
	}{
		"of equal worth the least recently used is first": {
			[]replica{held("new", 50), held("old", 0)}, []string{"old", "new"}},
		"one of five times the size is before one twice as old": {
			[]replica{held("old", 0), held("large", 50, gigabytes(5))}, []string{"large", "old"}},
		"unless it saves five times as much": {
			[]replica{held("large", 50, gigabytes(5), loses(300)), held("old", 0)}, []string{"old", "large"}},
		"one that saves a fifth is before one twice as old": {
			[]replica{held("old", 0), held("cheap", 50, loses(12))}, []string{"cheap", "old"}},
		"unknown worth is the mean of the others": {
			[]replica{held("unknown", 50, loses(0), gigabytes(9)), held("cheap", 50, loses(12)), held("dear", 50)},
			[]string{"cheap", "unknown", "dear"}},
		"without any known worth the order is LRU whatever the size": {
			[]replica{held("large", 50, loses(0), gigabytes(9)), held("old", 0, loses(0))}, []string{"old", "large"}},
		"without sizes worth is unknown": {
			[]replica{held("cheap", 50, gigabytes(0), loses(1)), held("old", 0, gigabytes(0))},
			[]string{"old", "cheap"}},
		"a redundant copy is first whatever it saves": {
			[]replica{held("cheap", 0, loses(1)), held("twice", 90, loses(600), elsewhere(91))},
			[]string{"twice", "cheap"}},
		"redundant copies have the same order": {
			[]replica{held("b", 50, elsewhere(90)), held("a", 0, elsewhere(90))}, []string{"a", "b"}},
		"the copy with the last use is not redundant, nor are equal ones": {
			[]replica{held("last", 60, elsewhere(50)), held("equal", 60, elsewhere(60)), held("old", 50)},
			[]string{"old", "equal", "last"}},
		"uses in the future and this second are alike but for ties": {
			[]replica{held("future", 101), held("now", 99.5)}, []string{"now", "future"}},
		"equal copies are ordered by id": {[]replica{held("b", 0), held("a", 0)}, []string{"a", "b"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			eviction.Order(tc.copies, 100)
			var got []string
			for _, c := range tc.copies {
				got = append(got, c.ID)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("order of eviction (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOrderDoesNotDependOnTheGivenOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var copies []eviction.Copy[int]
		for i := range rapid.IntRange(0, 12).Draw(t, "copies") {
			copies = append(copies, eviction.Copy[int]{
				ID:                   i,
				Bytes:                rapid.Int64Range(0, 1e12).Draw(t, "bytes"),
				UsedAtSeconds:        rapid.Float64Range(0, 200).Draw(t, "used"),
				ReplicaUsedAtSeconds: rapid.Float64Range(0, 200).Draw(t, "replica"),
				LostSeconds:          rapid.Float64Range(0, 1e5).Draw(t, "lost"),
			})
		}
		shuffled := rapid.Permutation(copies).Draw(t, "shuffled")
		eviction.Order(copies, 100)
		eviction.Order(shuffled, 100)
		if diff := cmp.Diff(copies, shuffled); diff != "" {
			t.Fatalf("another order of the same copies:\n%s", diff)
		}
		firstUnique := slices.IndexFunc(copies, func(c eviction.Copy[int]) bool { return !c.IsRedundant() })
		if firstUnique >= 0 && slices.ContainsFunc(copies[firstUnique:], isRedundant) {
			t.Fatalf("a redundant copy comes after a unique one: %+v", copies)
		}
	})
}

func isRedundant(c eviction.Copy[int]) bool { return c.IsRedundant() }

func TestSavedSeconds(t *testing.T) {
	cases := map[string]struct {
		cold, warm float64
		mounts     int
		want       float64
	}{
		"the difference":                                {cold: 100, warm: 40, mounts: 1, want: 60},
		"in equal parts":                                {cold: 100, warm: 40, mounts: 3, want: 20},
		"at least a tenth of cold":                      {cold: 100, warm: 99, mounts: 1, want: 10},
		"also if warm took longer":                      {cold: 100, warm: 200, mounts: 2, want: 5},
		"a warm build alone is a quarter of a cold one": {warm: 40, mounts: 2, want: 60},
		"a cold build alone is four times a warm one":   {cold: 100, mounts: 1, want: 75},
		"unknown without builds":                        {mounts: 1},
		"unknown without mounts":                        {cold: 100, warm: 40},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := eviction.SavedSeconds(tc.cold, tc.warm, tc.mounts); math.Abs(got-tc.want) > 1e-9 {
				t.Errorf("a mount saves %g s, want %g", got, tc.want)
			}
		})
	}
}

func TestLostSeconds(t *testing.T) {
	cases := map[string]struct {
		saved         float64
		snapshotBytes int64
		want          float64
	}{
		"without a snapshot all is lost":       {60, 0, 60},
		"with one no more than priming takes":  {60, 1e9, 10},
		"what saves less is not worth priming": {3, 1e9, 3},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := eviction.LostSeconds(tc.saved, tc.snapshotBytes); math.Abs(got-tc.want) > 1e-9 {
				t.Errorf("%g s are lost, want %g", got, tc.want)
			}
		})
	}
}
