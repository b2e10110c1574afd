// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"fmt"
	"strings"
)

// Action is what to do with a request now.
type Action uint8

// The actions.
const (
	NoFit Action = iota // no daemon can start it now
	Run                 // bind it to the chosen daemon
	Wait                // leave it queued: waiting for the chosen daemon is cheaper than running elsewhere now
)

var actionNames = [...]string{"NoFit", "Run", "Wait"}

// String is the action's name.
func (a Action) String() string { return nameOf(actionNames[:], uint8(a)) }

// MarshalText writes the action by name.
func (a Action) MarshalText() ([]byte, error) { return []byte(a.String()), nil }

// UnmarshalText reads an action by name.
func (a *Action) UnmarshalText(text []byte) error {
	at, err := indexOf("action", actionNames[:], text)
	*a = Action(at)
	return err
}

// Mode is the state in which a build finds its primary cache.
type Mode uint8

// The modes.
const (
	Cold   Mode = iota // missing
	Primed             // restored before the build starts
	Warm               // present
)

var modeNames = [...]string{"Cold", "Primed", "Warm"}

// String is the mode's name.
func (m Mode) String() string { return nameOf(modeNames[:], uint8(m)) }

// MarshalText writes the mode by name.
func (m Mode) MarshalText() ([]byte, error) { return []byte(m.String()), nil }

// UnmarshalText reads a mode by name.
func (m *Mode) UnmarshalText(text []byte) error {
	at, err := indexOf("mode", modeNames[:], text)
	*m = Mode(at)
	return err
}

// Reason is the short reason of a decision, fit for statuses and events.
type Reason uint8

// The reasons of decisions.
const (
	NoDaemonFits       Reason = iota // no daemon can start it now
	WarmDaemon                       // it runs on a daemon that holds its caches
	HomeDaemon                       // no daemon holds its caches: it runs at the home of its key
	NextInRank                       // no daemon holds its caches and the home takes no builds: it runs at a later rank
	Spilled                          // waiting for the daemons that hold its caches costs more than running elsewhere
	HolderDown                       // the daemons that hold its caches take no builds
	NewReplica                       // its key is hot enough for another copy
	NoCaches                         // it has no caches
	WaitsForWarmDaemon               // a daemon that holds its caches will soon be free
	QueueFull                        // it is behind the first Params.MaxPending that wait
	WaitsForRestart                  // a daemon that restarts with its volume will soon be back
)

var reasonNames = [...]string{
	"NoDaemonFits",
	"WarmDaemon",
	"HomeDaemon",
	"NextInRank",
	"Spilled",
	"HolderDown",
	"NewReplica",
	"NoCaches",
	"WaitsForWarmDaemon",
	"QueueFull",
	"WaitsForRestart",
}

// String is the reason's name.
func (r Reason) String() string { return nameOf(reasonNames[:], uint8(r)) }

// MarshalText writes the reason by name.
func (r Reason) MarshalText() ([]byte, error) { return []byte(r.String()), nil }

// UnmarshalText reads a reason by name.
func (r *Reason) UnmarshalText(text []byte) error {
	at, err := indexOf("reason", reasonNames[:], text)
	*r = Reason(at)
	return err
}

// Cost is the expected cost of one way of running a build, in seconds by part.
type Cost struct {
	WaitSeconds    float64 `json:"waitSeconds"`    // until it can start
	SetupSeconds   float64 `json:"setupSeconds"`   // restoring caches
	ServiceSeconds float64 `json:"serviceSeconds"` // the build with the caches it finds
	// PriceSeconds is the cost to other builds of the extra slot-seconds and the bytes pulled.
	PriceSeconds float64 `json:"priceSeconds"`
	EvictSeconds float64 `json:"evictSeconds"` // cost to later builds of the evicted copies
	// FutureSeconds is the cost (if negative, the gain) to later builds of the key of the copy that this one makes.
	FutureSeconds float64 `json:"futureSeconds"`
	RankSeconds   float64 `json:"rankSeconds"` // breaks ties towards home
}

// Total returns the sum of the parts. Candidates are compared by it.
func (c *Cost) Total() float64 {
	return c.WaitSeconds + c.SetupSeconds + c.ServiceSeconds +
		c.PriceSeconds + c.EvictSeconds + c.FutureSeconds + c.RankSeconds
}

// Option is one way of running a build.
type Option struct {
	Daemon DaemonID `json:"daemon,string"`
	Name   string   `json:"name"`
	// At is the daemon's position in View.Daemons.
	At int32 `json:"-"`
	// Rank is the daemon's place in the primary key's rendezvous order, from 1 for the home; 0: beyond the scored
	// ranks.
	Rank int32 `json:"rank"`
	Mode Mode  `json:"mode"`
	// Prime has bit i set when Request.Keys[i] is to be primed before the build starts.
	Prime uint8 `json:"prime,omitempty"`
	Cost  Cost  `json:"cost"`
}

// Exists reports whether o is an option: the zero Option is not.
func (o *Option) Exists() bool { return o.Name != "" }

// Decision is the answer for one request, with its reason.
type Decision struct {
	UID    string `json:"uid"`
	Action Action `json:"action"`
	Reason Reason `json:"reason"`
	// Chosen is the daemon to run on or to wait for. With NoFit it is the daemon that is expected to be free first; it
	// does not exist if no daemon is eligible.
	Chosen Option `json:"chosen"`
	// RunnerUp is the best option on another daemon, if there is one.
	RunnerUp Option `json:"runnerUp"`
	// Load of the fleet and Price of a slot-second at the time of the decision.
	Load  float64 `json:"load"`
	Price float64 `json:"price"`
	// Refused counts the daemons by refusal reason, with NoFit only. Daemons is the size of the fleet.
	Refused Refusals `json:"refused"`
	Daemons int      `json:"daemons"`
	// Position of a request that keeps waiting among those, in the order of service, from 1.
	Position int32 `json:"position,omitempty"`
	// Overdue is set if the request waited long enough to be decided before its queue's turn.
	Overdue bool `json:"overdue,omitempty"`
}

// Err returns the *NoFitError of a NoFit decision, otherwise nil.
func (d *Decision) Err() error {
	if d.Action != NoFit {
		return nil
	}
	return &NoFitError{Daemons: d.Daemons, Refused: d.Refused}
}

// String describes the decision and its reason to a user, in one sentence.
func (d *Decision) String() string {
	if d.Reason == QueueFull {
		return "more builds wait than spec.queue.maxPending of the BuildCache; " +
			"this one is considered when there is room"
	}
	if d.Action == NoFit {
		return (&NoFitError{Daemons: d.Daemons, Refused: d.Refused}).Error()
	}
	var b strings.Builder
	c := &d.Chosen
	if d.Action == Wait {
		fmt.Fprintf(&b, "waits %.0fs for %s: ", c.Cost.WaitSeconds, c.Name)
	} else {
		fmt.Fprintf(&b, "runs on %s: ", c.Name)
	}
	fmt.Fprintf(
		&b,
		"%s, %s, expected %.0fs",
		d.Reason,
		strings.ToLower(c.Mode.String()),
		c.Cost.WaitSeconds+c.Cost.SetupSeconds+c.Cost.ServiceSeconds,
	)
	if o := &d.RunnerUp; o.Exists() {
		fmt.Fprintf(
			&b,
			"; next best is %s, %s, at %.0fs instead of %.0fs",
			o.Name,
			strings.ToLower(o.Mode.String()),
			o.Cost.Total(),
			c.Cost.Total(),
		)
	}
	return b.String()
}
