// SPDX-License-Identifier: Apache-2.0

package sizing

import (
	"bytes"
	"encoding/gob"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"
)

// state is what is kept of a sampler.
type state struct {
	Threshold uint32
	Began     time.Time
	Counts    histogram
	Bits      []uint64
	Set       int
	Sum       float64
	Objects   []stateObject // in the order of their last access
}

type stateObject struct {
	ID           uint64
	Bytes, First int64
}

// isValid reports whether a state may be one that a sampler has written: a file can hold anything.
func (s *state) isValid() bool {
	c := &s.Counts
	if s.Threshold == 0 || s.Threshold > wholeRate || len(s.Objects) > sampled ||
		len(s.Bits) != 0 && len(s.Bits) != seenBits/64 || s.Set < 0 || s.Set > len(s.Bits)*64 || c.Accesses < 0 {
		return false
	}
	for _, n := range append([]float64{s.Sum, c.Seen, c.Followed}, c.Hits[:]...) {
		if !(n >= 0 && n <= math.MaxFloat64/float64(len(c.Hits))) { // false for NaN, too
			return false
		}
	}
	ids := make(map[uint64]bool, len(s.Objects))
	for _, o := range s.Objects {
		if o.Bytes <= 0 || o.Bytes > maxBytes || o.First <= 0 || o.First > maxBytes || ids[o.ID] {
			return false
		}
		ids[o.ID] = true
	}
	return true
}

// maxBytes of an object, so that the sum over all that are followed can't overflow.
const maxBytes = math.MaxInt64 / sampled / 2

// MarshalBinary returns the sampler's state, at most a few hundred KiB. It never fails.
func (s *Sampler) MarshalBinary() ([]byte, error) {
	out := state{
		Threshold: s.threshold, Began: s.began, Counts: s.counts, Bits: s.distinct.bits, Set: s.distinct.set,
		Sum: s.distinct.sum,
	}
	objects := make([]*object, 0, len(s.objects))
	for _, o := range s.objects {
		objects = append(objects, o)
	}
	slices.SortFunc(objects, func(a, b *object) int { return int(a.at - b.at) })
	for _, o := range objects {
		out.Objects = append(out.Objects, stateObject{o.id, o.bytes, o.first})
	}
	var b bytes.Buffer
	err := gob.NewEncoder(&b).Encode(&out)
	return b.Bytes(), err
}

// UnmarshalBinary makes the sampler one that goes on from a state. After an error it is as before.
func (s *Sampler) UnmarshalBinary(data []byte) error {
	var in state
	if err := gob.NewDecoder(bytes.NewReader(data)).Decode(&in); err != nil {
		return fmt.Errorf("read the state of a sampler: %w", err)
	}
	if !in.isValid() {
		return errors.New("the state of a sampler is out of bounds")
	}
	next := NewSampler()
	next.threshold, next.began, next.counts = in.Threshold, in.Began, in.Counts
	next.distinct = distinct{bits: in.Bits, set: in.Set, sum: in.Sum}
	for _, e := range in.Objects {
		o := &object{id: e.ID, bytes: e.Bytes, first: e.First}
		o.at = next.order.append(e.Bytes)
		next.first += e.First
		next.objects[e.ID] = o
		next.byHash.Push(o)
	}
	*s = *next
	return nil
}
