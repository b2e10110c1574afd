// SPDX-License-Identifier: Apache-2.0

package scheduler

import "maps"

// Shares divides slot-seconds fairly over queues by start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996). The tag
// of a queue is the slot-seconds it was given over its weight; the waiting queue with the smallest tag is served next.
// A queue that was idle starts at the current tag, so it neither saves up turns nor pays for the time when it was
// alone.
type Shares struct {
	now    float64 // tag of the last started build
	tag    map[string]float64
	weight map[string]float64
}

// NewShares returns an instance without history, with weight 1 for every queue.
func NewShares() *Shares {
	return &Shares{tag: map[string]float64{}, weight: map[string]float64{}}
}

// SetWeights replaces the weights of all queues. Queues without a weight above 0 have weight 1.
func (s *Shares) SetWeights(weights map[string]float64) {
	s.weight = maps.Clone(weights)
	maps.DeleteFunc(s.weight, func(_ string, w float64) bool { return !(w > 0) })
}

// Begin charges a queue for a build that starts and is expected to hold its slot for seconds.
func (s *Shares) Begin(queue string, seconds float64) {
	s.now = s.start(queue)
	s.tag[queue] = s.now + seconds/s.weightOf(queue)
}

// End corrects the charge of a build that was charged chargedSeconds and held its slot for actualSeconds.
func (s *Shares) End(queue string, chargedSeconds, actualSeconds float64) {
	if tag, known := s.tag[queue]; known {
		s.tag[queue] = tag + (actualSeconds-chargedSeconds)/s.weightOf(queue)
	}
}

// Trim forgets queues whose history no longer matters, to bound memory.
func (s *Shares) Trim() {
	for queue, tag := range s.tag {
		if tag <= s.now {
			delete(s.tag, queue)
		}
	}
}

// start returns the tag of the queue's next build.
func (s *Shares) start(queue string) float64 { return max(s.now, s.tag[queue]) }

func (s *Shares) weightOf(queue string) float64 {
	if w, set := s.weight[queue]; set {
		return w
	}
	return 1
}
