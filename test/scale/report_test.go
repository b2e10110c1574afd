// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"text/tabwriter"
)

// report is what is measured: one flat object, kept as JSON. Requests are by kind, as in "PATCH hlbbuilds/status".
// Requests of the test, for itself or for other tenants, and of the API server to itself are left out everywhere.
// Figures a build are figures an attempt: a machine that is too busy loses some attempts and repeats them.
type report struct {
	Builds  int `json:"builds"`
	Daemons int `json:"daemons"`
	// Keys is the number of cache keys of the builds.
	Keys int `json:"keys"`
	// OtherConfigMaps, OtherPods and OtherLeases are the objects of other tenants; each Lease is renewed every ten
	// seconds.
	OtherConfigMaps int `json:"otherConfigMaps"`
	OtherPods       int `json:"otherPods"`
	OtherLeases     int `json:"otherLeases"`

	// The burst is from the first creation of Builds builds at once to the end of the last of them.

	// StatusWritesPerBuild counts writes of HLBBuild statuses in the burst, refused ones included.
	StatusWritesPerBuild float64 `json:"statusWritesPerBuild"`
	// SingleStatusWritesPerBuild is the same for builds applied one by one afterwards, which never wait.
	SingleStatusWritesPerBuild float64 `json:"singleStatusWritesPerBuild"`
	// DaemonStatusWritesPerBuild counts those of BuildDaemons.
	DaemonStatusWritesPerBuild float64 `json:"daemonStatusWritesPerBuild"`
	// EventsPerBuild counts events that are created or repeated.
	EventsPerBuild float64 `json:"eventsPerBuild"`
	// AppliesPerBuild counts writes of desired objects, of which none drifts in the burst.
	AppliesPerBuild float64 `json:"appliesPerBuild"`
	// RequestsPerBuild counts all requests.
	RequestsPerBuild float64 `json:"requestsPerBuild"`
	// Requests of the burst, by everybody; ManagerRequests and AgentRequests are their two parts.
	Requests        map[string]int `json:"requests"`
	ManagerRequests map[string]int `json:"managerRequests"`
	AgentRequests   map[string]int `json:"agentRequests"`
	// RefusedRequests of the burst, with the code of the answer, as in "PATCH hlbbuilds/status 409".
	RefusedRequests map[string]int `json:"refusedRequests"`
	// StatusTransitions are the changes of HLBBuild statuses in the burst, by what they did.
	StatusTransitions map[string]int `json:"statusTransitions"`
	// EventObjects are the events of the whole run, by reason.
	EventObjects map[string]int `json:"eventObjects"`

	// ApplySeconds is how long it took to create all builds, TotalSeconds is the length of the burst.
	ApplySeconds float64 `json:"applySeconds"`
	TotalSeconds float64 `json:"totalSeconds"`
	// PlacementsPerSecond is placements over the time from the first to the last.
	PlacementsPerSecond float64 `json:"placementsPerSecond"`
	// BurstToPlacedP50Ms and BurstToPlacedP99Ms are from a build's creation to when a watch shows it placed, in the
	// burst: mostly waiting for a slot.
	BurstToPlacedP50Ms float64 `json:"burstToPlacedP50Ms"`
	BurstToPlacedP99Ms float64 `json:"burstToPlacedP99Ms"`
	// ApplyToPlacedP50Ms and ApplyToPlacedP99Ms are the same for builds applied one by one to the idle fleet.
	ApplyToPlacedP50Ms float64 `json:"applyToPlacedP50Ms"`
	ApplyToPlacedP99Ms float64 `json:"applyToPlacedP99Ms"`
	// SlotShare is the part of the slots' time that builds had, WarmShare the part of the builds that found their key
	// on their daemon.
	SlotShare float64 `json:"slotShare"`
	WarmShare float64 `json:"warmShare"`
	// LostAttempts of the burst are those given up because an agent could not renew its Lease in time.
	LostAttempts int `json:"lostAttempts"`
	// ManagerRestarts are the times that the manager lost its leader election and began anew.
	ManagerRestarts int `json:"managerRestarts"`
	// Limit says what kept the builds from being done sooner.
	Limit string `json:"limit"`

	// APIServerCPUMsPerBuild is the API server's processor time of the burst, less that of the renewals of Leases by
	// other tenants meanwhile.
	APIServerCPUMsPerBuild float64 `json:"apiServerCPUMsPerBuild"`
	// APIServerCPUMsPerRenewal is what a renewal takes, measured before the manager and the agents start.
	APIServerCPUMsPerRenewal float64 `json:"apiServerCPUMsPerRenewal"`
	// RenewalsPerBuild is the quotient of the two: it says the same of a slow and of a fast machine.
	RenewalsPerBuild float64 `json:"renewalsPerBuild"`
	// IdleAPIServerCPUMsPerSecond is the same processor time for a second of the fleet without builds: mostly renewals
	// of its daemons' Leases, of which a build that takes longer pays more.
	IdleAPIServerCPUMsPerSecond float64 `json:"idleAPIServerCPUMsPerSecond"`
	// ManagerCPUSeconds is the manager's processor time of the burst, ManagerPeakMiB its peak resident memory of the
	// whole run.
	ManagerCPUSeconds float64 `json:"managerCPUSeconds"`
	ManagerPeakMiB    float64 `json:"managerPeakMiB"`
	// ProcessorSeconds of the burst: those of the manager, of the agents with the test that follows them, of the API
	// server and its etcd, and of the whole machine.
	ProcessorSeconds map[string]float64 `json:"processorSeconds"`

	// StartRequests are from the manager's start to when all daemons are Ready.
	StartRequests map[string]int `json:"startRequests"`
	// NoDriftSeconds is the length of a time in which nothing happens; NoDriftRequests and NoDriftApplies are its
	// requests, and NoDriftWatchEvents what all watches, also those of the API server, were sent in it, by resource.
	NoDriftSeconds     float64        `json:"noDriftSeconds"`
	NoDriftRequests    map[string]int `json:"noDriftRequests"`
	NoDriftApplies     int            `json:"noDriftApplies"`
	NoDriftWatchEvents map[string]int `json:"noDriftWatchEvents"`
	// DaemonChangeApplies and DaemonChangeRequests are counted after the status of every BuildDaemon was changed.
	DaemonChangeApplies  int            `json:"daemonChangeApplies"`
	DaemonChangeRequests map[string]int `json:"daemonChangeRequests"`
	// DriftApplies is what it takes to mend one object that somebody changed.
	DriftApplies int `json:"driftApplies"`
	// BuildDaemonMaxBytes is the size of the largest BuildDaemon at the end, as JSON.
	BuildDaemonMaxBytes int `json:"buildDaemonMaxBytes"`
}

// goal is a figure that is wanted.
type goal struct {
	name  string
	of    func(*report) float64
	want  float64
	least bool // want is the least that will do, not the most
	// timed figures depend on the machine: they are wanted of 10,000 builds on 100 daemons with two processors, and
	// are shown only. The others count requests, and every run fails that misses one.
	timed bool
}

var goals = []goal{
	{name: "status writes a build", of: func(r *report) float64 { return r.StatusWritesPerBuild }, want: 3.2},
	{
		name: "status writes a build that need not wait",
		of:   func(r *report) float64 { return r.SingleStatusWritesPerBuild },
		want: 3.2,
	},
	{name: "events a build", of: func(r *report) float64 { return r.EventsPerBuild }, want: 1.5},
	{name: "applies a build", of: func(r *report) float64 { return r.AppliesPerBuild }, want: 0},
	{name: "applies without drift", of: func(r *report) float64 { return float64(r.NoDriftApplies) }, want: 0},
	{
		name: "applies after BuildDaemons changed",
		of:   func(r *report) float64 { return float64(r.DaemonChangeApplies) },
		want: 0,
	},
	{
		name: "applies after drift", // else the counts of the other times would show nothing
		of:   func(r *report) float64 { return float64(r.DriftApplies) },
		want: 1, least: true,
	},
	{
		name: "placements a second",
		of:   func(r *report) float64 { return r.PlacementsPerSecond },
		want: 80, least: true, timed: true,
	},
	{
		name: "API server's processor time a build (ms)",
		of:   func(r *report) float64 { return r.APIServerCPUMsPerBuild },
		want: 15, timed: true,
	},
	{
		name: "manager's peak memory (MiB)",
		of:   func(r *report) float64 { return r.ManagerPeakMiB },
		want: 160, timed: true,
	},
	{
		name: "largest BuildDaemon (bytes)",
		of:   func(r *report) float64 { return float64(r.BuildDaemonMaxBytes) },
		want: 32 << 10, timed: true,
	},
}

func (g *goal) isMet(r *report) bool {
	if g.least {
		return g.of(r) >= g.want
	}
	return g.of(r) <= g.want
}

func (g *goal) bound() string {
	if g.least {
		return fmt.Sprintf("at least %v", g.want)
	}
	return fmt.Sprintf("at most %v", g.want)
}

// check fails the test for each goal that any machine can meet and this run has not.
func (r *report) check(t *testing.T) {
	t.Helper()
	for i := range goals {
		if g := &goals[i]; !g.timed && !g.isMet(r) {
			t.Errorf("%s: %.2f, want %s", g.name, g.of(r), g.bound())
		}
	}
}

// keep writes the figures where -scale.out says.
func (r *report) keep(t *testing.T) {
	t.Helper()
	if *out == "" {
		return
	}
	data, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(filepath.Dir(*out), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(*out, append(data, '\n'), 0o644); err != nil {
		t.Fatal(fmt.Errorf("keep the figures: %w", err))
	}
}

// String is the figures as tables for people.
func (r *report) String() string {
	var text strings.Builder
	w := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	fmt.Fprintf(w, "\n%d builds of %d keys on %d daemons; others: %d ConfigMaps, %d Pods, %d Leases\n",
		r.Builds, r.Keys, r.Daemons, r.OtherConfigMaps, r.OtherPods, r.OtherLeases)
	r.writeFigures(w)
	fmt.Fprintf(w, "\nrequests of the burst\tall\ta build\tmanager\tagents\n")
	for _, kind := range counts(r.Requests).largest() {
		n := r.Requests[kind]
		fmt.Fprintf(w, "%s\t%d\t%.2f\t%d\t%d\n",
			kind, n, float64(n)/float64(r.Builds), r.ManagerRequests[kind], r.AgentRequests[kind])
	}
	for _, part := range []struct {
		name string
		of   counts
	}{
		{"refused requests", r.RefusedRequests},
		{"changes of HLBBuild statuses", r.StatusTransitions},
		{"events of the whole run", r.EventObjects},
		{"requests of the start", r.StartRequests},
		{fmt.Sprintf("requests of %.0f s without drift", r.NoDriftSeconds), r.NoDriftRequests},
		{"watch events then", r.NoDriftWatchEvents},
		{"requests after BuildDaemons changed", r.DaemonChangeRequests},
	} {
		fmt.Fprintf(w, "\n%s\t%d\n", part.name, part.of.total())
		for _, kind := range part.of.largest() {
			fmt.Fprintf(w, "%s\t%d\n", kind, part.of[kind])
		}
	}
	fmt.Fprintf(w, "\nLimit: %s\n", r.Limit)
	if err := w.Flush(); err != nil { // a strings.Builder takes everything
		return err.Error()
	}
	return text.String()
}

// writeFigures writes the goals, and the figures that are no goals.
func (r *report) writeFigures(w io.Writer) {
	fmt.Fprintln(w, "\nfigure\tmeasured\twanted")
	for i := range goals {
		fmt.Fprintf(w, "%s\t%.2f\t%s\n", goals[i].name, goals[i].of(r), goals[i].bound())
	}
	for _, row := range []struct {
		name  string
		value float64
	}{
		{"BuildDaemon status writes a build", r.DaemonStatusWritesPerBuild},
		{"requests a build", r.RequestsPerBuild},
		{"seconds of the burst", r.TotalSeconds},
		{"creation to placement, idle fleet, p50 (ms)", r.ApplyToPlacedP50Ms},
		{"creation to placement, idle fleet, p99 (ms)", r.ApplyToPlacedP99Ms},
		{"creation to placement, burst, p50 (ms)", r.BurstToPlacedP50Ms},
		{"creation to placement, burst, p99 (ms)", r.BurstToPlacedP99Ms},
		{"manager's processor seconds", r.ManagerCPUSeconds},
		{"API server's processor time a renewal by other tenants (ms)", r.APIServerCPUMsPerRenewal},
		{"API server's processor time a build, in such renewals", r.RenewalsPerBuild},
		{"API server's processor time a second of the idle fleet (ms)", r.IdleAPIServerCPUMsPerSecond},
		{"share of warm builds", r.WarmShare},
		{"lost attempts", float64(r.LostAttempts)},
		{"restarts of the manager", float64(r.ManagerRestarts)},
	} {
		fmt.Fprintf(w, "%s\t%.2f\t\n", row.name, row.value)
	}
}
