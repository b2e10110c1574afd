// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"strings"
	"testing"
	"time"
)

// scenario is where an exploration begins.
type scenario struct {
	daemonOf [agents]uint8
	steady   [agents]bool
	first    state
}

// serving is a state in which both agents hold the Leases of their daemons, if those differ, and everybody has seen
// everything. A build exists, and no run of it.
func serving(daemonOf [agents]uint8) state {
	s := state{build: build{daemon: nowhere}, faults: 2, asks: 1}
	for d := range s.holder {
		s.holder[d] = never
	}
	for i := range s.a {
		d := daemonOf[i]
		a := agent{age: leaseTicks, lease: lease{holder: never}, build: view{build{daemon: nowhere}, true}}
		if s.holder[d] == never {
			a.session, a.sessions, a.age = session(i, 1), 1, 0
			s.holder[d] = a.session
			a.lease = lease{holder: a.session, fresh: true, known: true}
		}
		s.a[i] = a
	}
	for d := range s.m.leases {
		s.m.leases[d] = lease{holder: s.holder[d], fresh: true, known: true}
	}
	s.m.build = view{s.build, true}
	return s
}

// executed is serving with the run's first attempt executing on the first agent.
func executed(daemonOf [agents]uint8) state {
	s := serving(daemonOf)
	s.build = build{run: 1, attempt: 1, daemon: 0, startedBy: session(0, 1)}
	s.m.build = view{s.build, true}
	for i := range s.a {
		s.a[i].build = view{s.build, true}
	}
	s.a[0].at, s.a[0].on = executing, claimed{1, 1, session(0, 1)}
	return s
}

// suspected is executed with two daemons that have died under the run before.
func suspected(daemonOf [agents]uint8) state {
	s := executed(daemonOf)
	s.build.deaths, s.build.isolated = maxDeaths-1, true
	s.m.build = view{s.build, true}
	for i := range s.a {
		s.a[i].build = view{s.build, true}
	}
	return s
}

// released is executed with another run opened, so that the attempt is to be released.
func released(daemonOf [agents]uint8) state {
	s := executed(daemonOf)
	s.build.releasing = releasing{run: 1, attempt: 1, by: session(0, 1)}
	s.build.asked, s.build.runAsked, s.build.run, s.build.startedBy = 1, 1, 2, nobody
	s.m.build = view{s.build, true}
	for i := range s.a {
		s.a[i].build = view{s.build, true}
	}
	return s
}

var (
	apart    = [agents]uint8{0, 1} // each agent has a daemon
	together = [agents]uint8{0, 0} // two pods of one daemon, such as after a node was lost

	otherSteady = [agents]bool{false, true}
	noneSteady  = [agents]bool{}
)

var scenarios = map[string]scenario{
	"a new build, two daemons":            {apart, otherSteady, serving(apart)},
	"an attempt executes, two daemons":    {apart, otherSteady, executed(apart)},
	"an attempt executes, two pods":       {together, noneSteady, executed(together)},
	"a suspect executes, two daemons":     {apart, otherSteady, suspected(apart)},
	"an attempt is released, two daemons": {apart, otherSteady, released(apart)},
	"an attempt is released, two pods":    {together, noneSteady, released(together)},
}

// budgets are how much may go wrong in one exploration: the more, the less deep it gets.
var budgets = map[string]struct{ faults, asks uint8 }{
	"without a fault": {0, 1}, "with a fault": {1, 0}, "with two faults": {2, 1},
}

// explored is how far every exploration goes.
var explored = bounds{depth: 40, states: 100_000, settle: 64}

func TestTheProtocolHolds(t *testing.T) {
	began, states := time.Now(), 0
	for name, sc := range scenarios {
		for much, budget := range budgets {
			t.Run(name+", "+much, func(t *testing.T) {
				w := &world{daemonOf: sc.daemonOf, steady: sc.steady, mem: memory{}}
				first := sc.first
				first.faults, first.asks = budget.faults, budget.asks
				got := w.explore(first, explored)
				states += got.states
				t.Logf("%d states to depth %d, %d transitions of builds", got.states, got.depth, len(w.mem))
				if got.broken != sound {
					t.Fatalf("%s, after:\n%s", faultNames[got.broken], strings.Join(got.trace, "\n"))
				}
			})
		}
	}
	t.Logf("%d states in %s", states, time.Since(began).Round(time.Millisecond))
}

func TestEveryPreconditionIsNeeded(t *testing.T) {
	const (
		fresh    = "a new build, two daemons"
		runs     = "an attempt executes, two daemons"
		pods     = "an attempt executes, two pods"
		releases = "an attempt is released, two daemons"
		suspect  = "a suspect executes, two daemons"
	)
	cases := map[mutation]struct{ scenario, budget string }{
		claimBlind:         {fresh, "without a fault"},
		claimNoSession:     {fresh, "without a fault"},
		reportBlind:        {runs, "without a fault"},
		reportAny:          {runs, "without a fault"},
		reportDropped:      {runs, "with a fault"},
		resumeNot:          {fresh, "with a fault"},
		placeReleasing:     {releases, "without a fault"},
		openNoRelease:      {runs, "without a fault"},
		acknowledgeEarly:   {releases, "without a fault"},
		acknowledgeNot:     {releases, "without a fault"},
		releaseEarly:       {releases, "without a fault"},
		releaseNot:         {releases, "with a fault"},
		loseUnproven:       {runs, "without a fault"},
		loseByCache:        {fresh, "without a fault"},
		takeBlind:          {runs, "without a fault"},
		takeEarly:          {runs, "without a fault"},
		takeNot:            {runs, "with a fault"},
		fenceNot:           {runs, "without a fault"},
		sessionAtOnce:      {runs, "without a fault"},
		sessionSameID:      {runs, "without a fault"},
		acquireForeign:     {pods, "without a fault"},
		revokedIsOver:      {releases, "with a fault"},
		renewTaken:         {releases, "with a fault"},
		withdrawClaimed:    {runs, "without a fault"},
		isolationNot:       {suspect, "with a fault"},
		continueAfterTaken: {releases, "with a fault"},
	}
	for without, tc := range cases {
		t.Run(string(without), func(t *testing.T) {
			sc := scenarios[tc.scenario]
			w := &world{daemonOf: sc.daemonOf, steady: sc.steady, mem: memory{}, without: without}
			first := sc.first
			first.faults, first.asks = budgets[tc.budget].faults, budgets[tc.budget].asks
			got := w.explore(first, bounds{depth: explored.depth, states: 4 * explored.states, settle: 16})
			if got.broken == sound {
				t.Fatalf("not noticed in %d states to depth %d", got.states, got.depth)
			}
			t.Logf("noticed after %d states at depth %d: %s", got.states, got.depth, faultNames[got.broken])
		})
	}
}
