// SPDX-License-Identifier: Apache-2.0

package scheduler

// Shares divides slot-seconds fairly over queues by start-time fair queueing (Goyal, Vin, Cheng, SIGCOMM 1996): every
// queue has a tag, the slot-seconds it was given over its weight; the backlogged queue with the smallest tag is
// served next. A queue that was idle starts at the tag being served, so it can neither save up turns nor be made to
// pay for having been alone.
type Shares struct {
	now    float64 // tag of the build started last
	tag    map[string]float64
	weight map[string]float64
}

// NewShares gives every queue the same weight and no history.
func NewShares() *Shares {
	return &Shares{tag: map[string]float64{}, weight: map[string]float64{}}
}

// SetWeight sets a queue's weight relative to the 1 of others. Weights not above 0 count as 1.
func (s *Shares) SetWeight(queue string, weight float64) {
	if weight <= 0 || weight == 1 {
		delete(s.weight, queue)
		return
	}
	s.weight[queue] = weight
}

// Begin charges a queue for a build that starts and is expected to hold its slot for seconds.
func (s *Shares) Begin(queue string, seconds float64) {
	s.now = s.start(queue)
	s.tag[queue] = s.now + seconds/s.weightOf(queue)
}

// End corrects the charge of a build that held its slot for actualSeconds and was charged for chargedSeconds.
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

// start is the tag with which the queue's next build competes.
func (s *Shares) start(queue string) float64 { return max(s.now, s.tag[queue]) }

func (s *Shares) weightOf(queue string) float64 {
	if w, set := s.weight[queue]; set {
		return w
	}
	return 1
}
