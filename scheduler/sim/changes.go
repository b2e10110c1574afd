// SPDX-License-Identifier: Apache-2.0

package sim

import "github.com/openllb/hlb-operator/scheduler"

// change applies a change of the fleet.
func (sim *Simulation) change(c Change) {
	at := sim.position[c.Daemon]
	d := &sim.View.Daemons[at]
	d.Phase = c.Phase
	if c.NewVolume {
		sim.wipe(at)
		d.Epoch++
	}
	sim.restarts[at] = c.RestartSeconds
	sim.policy.Changed(sim, at, c.NewVolume)
	sim.restart(at)
}

// returning is a daemon that restarts and will be back.
type returning struct {
	atSeconds float64
	at        int
}

// before orders by time, and equal times by position.
func (r returning) before(o returning) bool {
	if r.atSeconds != o.atSeconds {
		return r.atSeconds < o.atSeconds
	}
	return r.at < o.at
}

// restart lets a daemon go that drains for a restart and runs nothing any more.
func (sim *Simulation) restart(at int) {
	if away := sim.restarts[at]; away > 0 && sim.View.Daemons[at].Running == 0 {
		sim.restarts[at] = 0
		sim.setPhase(at, scheduler.NotReady)
		sim.returns.Push(returning{sim.Now + away, at})
	}
}

// setPhase changes a daemon's phase.
func (sim *Simulation) setPhase(at int, phase scheduler.Phase) {
	sim.View.Daemons[at].Phase = phase
	sim.policy.Changed(sim, at, false)
}
