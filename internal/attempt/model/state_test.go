// SPDX-License-Identifier: Apache-2.0

package model_test

// The numbers of daemons and agents. Which daemon an agent is of is part of a scenario.
const (
	daemons = 2
	agents  = 2
)

// Ticks of the timing: the agent fences itself after fenceAfter, its Lease may be taken after leaseTicks.
const (
	fenceAfter = 2
	leaseTicks = 3
)

// holder is who holds a Lease: a session, or one of these.
type holder uint8

const (
	nobody  holder = 0
	taken   holder = 255
	revoked holder = 254
	never   holder = 253
)

// maxDeaths is how many daemons may die under one run: two beside other builds, and one under it alone.
const maxDeaths = 3

// sessionsPerAgent bounds how many sessions an agent can have.
const sessionsPerAgent = 15

func session(agent int, n uint8) holder { return holder(agent*16 + int(n)) }

func agentOf(h holder) int { return int(h) / 16 }

// nowhere is no daemon.
const nowhere = 9

// build is what the protocol depends on of an HLBBuild.
type build struct {
	asked     uint8 // the request in the annotation
	run       uint8 // number of the run, 0 for none
	runAsked  uint8 // the request that it was opened for
	attempt   uint8
	lost      uint8 // the attempt that was lost last, 0 for none
	died      bool  // the current attempt was lost because the daemon died
	deaths    uint8 // of daemons under the run
	isolated  bool  // the run is alone on its daemon
	daemon    uint8 // that it is placed on, or nowhere
	startedBy holder
	final     bool
	held      bool // it waits for something that it names
	releasing releasing
}

// releasing is status.releasing.
type releasing struct {
	run, attempt uint8
	by           holder
}

// claimed is an attempt and the session that has claimed it; zero for none.
type claimed struct {
	run, attempt uint8
	by           holder
}

// lease is a Lease as one process sees it.
type lease struct {
	holder holder
	fresh  bool  // it is the current version
	known  bool  // it was read at all
	age    uint8 // ticks since it was first seen like this
}

// view is a build as one process sees it.
type view struct {
	build build
	fresh bool // it is the current version
}

type manager struct {
	build  view
	leases [daemons]lease
	over   holder // a session that was found to be over, after the view of the build was read
}

// write is a change of the build on its way.
type write struct {
	build build
	of    claimed // whose end it is, zero for other writes
	final bool
}

// fault is a violation of the protocol.
type fault uint8

const (
	sound fault = iota
	staleReport
	secondEnd
	doubleExecution
	executedAfterwards
	poisonAgain
	stuck
)

var faultNames = map[fault]string{
	staleReport:        "the report of an attempt that is not the current one was accepted",
	secondEnd:          "a second end of a run was accepted",
	doubleExecution:    "two attempts execute at the same time",
	executedAfterwards: "an attempt executes that is neither the current one nor being released",
	poisonAgain:        "a build is tried again under which a daemon died while it ran alone",
	stuck:              "the run does not end as it should, although nothing fails any more",
}

// stage is what an agent does about its attempt.
type stage uint8

const (
	idle stage = iota
	executing
	stopping  // its session has ended, and it may still be executing
	cancelled // it is no longer wanted, and may still be executing
	finished  // its end is to be reported
)

// end is how an attempt ended.
type end uint8

const (
	succeeded end = iota
	lost
	missing
)

// pause is how a process stands still.
type pause uint8

const (
	running      pause = iota
	stopped            // the process; its clock goes on
	frozen             // the machine; its clock stands still
	unsuspecting       // it goes on after it was frozen, and does not know yet how its Lease stands
	gone               // it never comes back, such as with its node
)

type agent struct {
	session  holder
	sessions uint8 // that it has had
	age      uint8 // ticks since the last renewal
	lease    lease
	build    view
	at       stage
	on       claimed // that at is about
	end      end     // of a finished attempt
	kept     bool    // the end is on the volume
	last     claimed // that this process was on last
	pause    pause
}

// state is everything. It is copied by assignment.
type state struct {
	build  build
	holder [daemons]holder
	late   write
	isLate bool  // late may still arrive
	ended  uint8 // bits of the runs that an agent has ended
	broken fault // what the last step has broken
	m      manager
	a      [agents]agent
	faults uint8 // that may still happen
	asks   uint8 // runs that users may still ask for
}
