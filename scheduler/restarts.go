// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"encoding/json"
	"fmt"
	"math"
)

// Restarts learns how long daemons that restart with their volume take no builds, by the cause of the restart. It keeps
// exponentially weighted means of logarithms. One that took far longer or shorter than expected counts as four times
// the expected length or a quarter of it.
type Restarts struct {
	byCause map[string]*mean
}

const (
	restartAlpha = 0.2
	// restartSpread bounds what one restart can say: a node that took an hour to boot is no sign of the next restart.
	restartSpread = 4
	// minRestartSeconds and maxRestartSeconds bound the expected length.
	minRestartSeconds, maxRestartSeconds = 1, 900
	// maxCauses bounds the distinct causes.
	maxCauses = 32
)

// restartPriors are the expected lengths before any restart was seen, in seconds, as measured with local volumes.
// Daemons that went for another cause are not expected back until such a restart was seen.
var restartPriors = map[string]float64{
	"AgentStopped": 15, // in order: a roll-out, a drained node
	"LeaseExpired": 30, // killed, noticed 15 s later
}

// NewRestarts returns an instance without observations.
func NewRestarts() *Restarts { return &Restarts{byCause: map[string]*mean{}} }

// Observe learns from a daemon that is back with its volume. Lengths of zero or less are ignored.
func (r *Restarts) Observe(cause string, seconds float64) {
	if seconds <= 0 || math.IsNaN(seconds) {
		return
	}
	m := r.byCause[cause]
	if m == nil {
		if len(r.byCause) >= maxCauses {
			return
		}
		m = &mean{}
		r.byCause[cause] = m
		if prior := restartPriors[cause]; prior > 0 {
			m.add(math.Log(prior), restartAlpha)
		}
	}
	x := math.Log(min(max(seconds, minRestartSeconds), maxRestartSeconds))
	if m.n > 0 {
		x = min(max(x, m.value-math.Log(restartSpread)), m.value+math.Log(restartSpread))
	}
	m.add(x, restartAlpha)
}

// Expect returns the expected length of a restart of this cause, in seconds; 0: the daemon is not expected back.
func (r *Restarts) Expect(cause string) float64 {
	if m := r.byCause[cause]; m != nil {
		return math.Exp(m.value)
	}
	return restartPriors[cause]
}

// Validate refuses what Observe can't have learned.
func (r *Restarts) Validate() error {
	if len(r.byCause) > maxCauses {
		return fmt.Errorf("%d causes of restarts, want at most %d", len(r.byCause), maxCauses)
	}
	for cause, m := range r.byCause {
		if m.n < 1 || m.value < 0 || !m.isWithin(math.Log(maxRestartSeconds)+1e-9) {
			return fmt.Errorf("the length of restarts with cause %q is out of range", cause)
		}
	}
	return nil
}

// MarshalJSON saves what was learned.
func (r *Restarts) MarshalJSON() ([]byte, error) {
	to := make(map[string]savedMean, len(r.byCause))
	for cause, m := range r.byCause {
		to[cause] = m.save()
	}
	return json.Marshal(to)
}

// UnmarshalJSON restores what was saved.
func (r *Restarts) UnmarshalJSON(text []byte) error {
	var from map[string]savedMean
	if err := json.Unmarshal(text, &from); err != nil {
		return err
	}
	*r = Restarts{byCause: make(map[string]*mean, len(from))}
	for cause, m := range from {
		restored := m.restore()
		r.byCause[cause] = &restored
	}
	return nil
}
