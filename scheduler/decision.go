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

// Mode says how a build finds its primary cache.
type Mode uint8

// The modes.
const (
	Cold   Mode = iota // not there
	Primed             // brought in before the build starts
	Warm               // there already
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

// Why is the short reason of a decision, fit for statuses and events.
type Reason uint8

// The reasons of decisions.
const (
	NoDaemonFits       Reason = iota // no daemon can start it now
	WarmDaemon                       // it runs where its caches are
	HomeDaemon                       // nobody holds its caches: it starts them at home
	NextInRank                       // nobody holds its caches and home takes no builds: it starts them at a later rank
	Spilled                          // the daemons that hold its caches are busy for longer than running elsewhere takes
	HolderDown                       // the daemons that hold its caches take no builds
	NewReplica                       // its key is hot enough to be worth another copy
	NoCaches                         // it has no caches
	WaitsForWarmDaemon               // a daemon that holds its caches will soon be free
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
}

// String is the reason's name.
func (w Reason) String() string { return nameOf(reasonNames[:], uint8(w)) }

// MarshalText writes the reason by name.
func (w Reason) MarshalText() ([]byte, error) { return []byte(w.String()), nil }

// UnmarshalText reads a reason by name.
func (w *Reason) UnmarshalText(text []byte) error {
	at, err := indexOf("reason", reasonNames[:], text)
	*w = Reason(at)
	return err
}

// Cost is what a way of running a build is expected to cost, in seconds by part.
type Cost struct {
	WaitSeconds    float64 `json:"waitSeconds"`    // until it can start
	SetupSeconds   float64 `json:"setupSeconds"`   // bringing caches in
	ServiceSeconds float64 `json:"serviceSeconds"` // the build itself, with the caches it finds
	// what others lose by its taking longer than a warm build, and by the bytes it pulls
	PriceSeconds float64 `json:"priceSeconds"`
	EvictSeconds float64 `json:"evictSeconds"` // what later builds lose by what it evicts
	// what later builds of the key lose, or gain, by the copy that this one makes
	FutureSeconds float64 `json:"futureSeconds"`
	RankSeconds   float64 `json:"rankSeconds"` // ties fall towards home
}

// Total is the sum that is compared.
func (c *Cost) Total() float64 {
	return c.WaitSeconds + c.SetupSeconds + c.ServiceSeconds + c.PriceSeconds + c.EvictSeconds + c.FutureSeconds + c.RankSeconds
}

// Option is one way of running a build.
type Option struct {
	Daemon DaemonID `json:"daemon,string"`
	Name   string   `json:"name"`
	// At is the daemon's position in View.Daemons.
	At int32 `json:"-"`
	// Rank is the daemon's place in the primary key's rendezvous order, home being 1; 0 means beyond the ranks looked
	// at.
	Rank int32 `json:"rank"`
	Mode Mode  `json:"mode"`
	// Prime has bit i set when Request.Keys[i] is to be primed before the build starts.
	Prime uint8 `json:"prime,omitempty"`
	Cost  Cost  `json:"cost"`
}

// Exists is false for the zero Option, which stands for "there was none".
func (o *Option) Exists() bool { return o.Name != "" }

// Decision is what to do with one request, and why.
type Decision struct {
	UID    string `json:"uid"`
	Action Action `json:"action"`
	Reason Reason `json:"reason"`
	// Chosen is the daemon to run on or to wait for. With NoFit it is the one likely to be free for it first, if any
	// may ever take it.
	Chosen Option `json:"chosen"`
	// RunnerUp is the best way on another daemon, if there was one.
	RunnerUp Option `json:"runnerUp"`
	// Load and Price are those the decision was made under.
	Load  float64 `json:"load"`
	Price float64 `json:"price"`
	// Refused counts the whole fleet's refusals, with NoFit only.
	Refused Refusals `json:"refused"`
	Daemons int      `json:"daemons"`
	// Overdue says that the request had waited long enough to go before its queue's turn.
	Overdue bool `json:"overdue,omitempty"`
}

// Err is the *NoFitError of a NoFit decision, otherwise nil.
func (d *Decision) Err() error {
	if d.Action != NoFit {
		return nil
	}
	return &NoFitError{Daemons: d.Daemons, Refused: d.Refused}
}

// String tells a user what was decided and why, in one sentence.
func (d *Decision) String() string {
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
