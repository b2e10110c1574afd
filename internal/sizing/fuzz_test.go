// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"fmt"
	"math"
	"testing"
	"time"
)

// FuzzState: whatever a state file holds, it is an error, or a sampler that goes on: its curve rises from 0 to at most
// 1, and its own state can be read again.
func FuzzState(f *testing.F) {
	s := NewSampler()
	start := time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)
	for i := range 300 {
		s.Access(fmt.Sprint("mount-", i%40), int64(1+i%7)<<20, start.Add(time.Duration(i)*time.Hour))
		if i%100 == 50 {
			data, err := s.MarshalBinary()
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Add([]byte(nil))
	f.Add([]byte("no gob"))
	f.Fuzz(func(t *testing.T, data []byte) {
		s := NewSampler()
		if err := s.UnmarshalBinary(data); err != nil {
			return
		}
		now := start.AddDate(1, 0, 0)
		for i := range 50 {
			s.Access(fmt.Sprint("mount-", i%7), 1<<20, now)
		}
		last := 0.0
		for _, size := range []float64{0, 1, 1 << 20, 1 << 30, 1 << 40, math.MaxInt64} {
			ratio := s.Curve(now).HitRatio(size)
			if math.IsNaN(ratio) || ratio < last || ratio > 1 {
				t.Errorf("the hit ratio at %v bytes is %v, after %v", size, ratio, last)
			}
			last = ratio
		}
		again, err := s.MarshalBinary()
		if err == nil {
			err = NewSampler().UnmarshalBinary(again)
		}
		if err != nil {
			t.Errorf("the state that was written can't be read: %v", err)
		}
	})
}

func TestStateOutOfBoundsIsRefused(t *testing.T) {
	cases := map[string]func(*state){
		"hits below zero":      func(s *state) { s.Counts.Hits[3] = -1 },
		"hits that are none":   func(s *state) { s.Counts.Hits[3] = math.NaN() },
		"endless bytes":        func(s *state) { s.Counts.Seen = math.Inf(1) },
		"one object twice":     func(s *state) { s.Objects = append(s.Objects, s.Objects[0]) },
		"an object of nothing": func(s *state) { s.Objects[0].Bytes = 0 },
		"more bits than exist": func(s *state) { s.Set = 1 },
	}
	for name, spoil := range cases {
		t.Run(name, func(t *testing.T) {
			s := &state{Threshold: wholeRate, Objects: []stateObject{{ID: 1, Bytes: 1, First: 1}}}
			if !s.isValid() {
				t.Fatal("the state that is to be spoilt is refused already")
			}
			if spoil(s); s.isValid() {
				t.Error("the state is accepted")
			}
		})
	}
}
