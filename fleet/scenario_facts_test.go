// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/failure"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// fleet makes the BuildCache with its daemons, and has them observed once: ends of builds are learned from there on.
// Another such line changes the spec.
func (l *statement) fleet() {
	l.t.Helper()
	if l.cache == nil {
		*l.observed = *observe(l.t)
		n, slots := int32(l.count("replicas", 2)), int32(l.count("slots", 4))
		l.cache = testbuild.BuildCache("ns", "c", testbuild.WithReplicas(n), testbuild.WithSlots(slots))
		l.daemons = nil
		for i := range n {
			l.daemons = append(l.daemons, *testbuild.BuildDaemon("ns", "c", i, testbuild.Serving))
		}
		for _, name := range l.list("notReady") {
			daemonWords["NotReady"](l.daemonNamed(name))
		}
		l.spec()
		l.cycle()
		return
	}
	l.cache = l.cache.DeepCopy()
	l.cache.Generation++
	l.cache.Spec.Replicas = new(int32(l.count("replicas", int(*l.cache.Spec.Replicas))))
	l.spec()
}

// spec changes the BuildCache's spec by the options that are given.
func (l *statement) spec() {
	l.t.Helper()
	spec := &l.cache.Spec
	for name, value := range l.options {
		switch name {
		case "prefetch":
			spec.Prefetch = nil
			if value != "off" {
				spec.Prefetch = &v1alpha1.PrefetchSpec{BandwidthPerHour: resource.MustParse(value)}
			}
		case "prime":
			spec.Mounts = nil
			for _, id := range l.list("prime") {
				spec.Mounts = append(spec.Mounts, v1alpha1.MountPolicy{ID: id, Prime: v1alpha1.PrimeOnFreshDaemon})
			}
		case "registry":
			spec.Registry = &v1alpha1.RegistryCacheSpec{
				Repository: value, ImportPolicy: v1alpha1.ImportPolicy(l.options["importPolicy"]),
				WaitSecondsPerGiB: int32(l.count("waitSecondsPerGiB", 0)),
			}
		case "maxPending":
			spec.Queue = &v1alpha1.QueueLimits{MaxPending: int32(l.count("maxPending", 1))}
		case "queues":
			for _, q := range l.list("queues") {
				name, weight, _ := strings.Cut(q, ":")
				spec.Queues = append(spec.Queues, v1alpha1.QueueSpec{Name: name, Weight: int32(l.number(weight))})
			}
		}
	}
}

func (s *scenario) daemonNamed(name string) *v1alpha1.BuildDaemon {
	s.t.Helper()
	at := slices.IndexFunc(s.daemons, func(d v1alpha1.BuildDaemon) bool { return d.Name == name })
	if at < 0 {
		s.t.Fatalf("%s: no daemon %s", s.line, name)
	}
	return &s.daemons[at]
}

func (s *scenario) buildNamed(name string) *v1alpha1.HLBBuild {
	s.t.Helper()
	at := slices.IndexFunc(s.builds, func(b v1alpha1.HLBBuild) bool { return b.Name == name })
	if at < 0 {
		s.t.Fatalf("%s: no build %s", s.line, name)
	}
	return &s.builds[at]
}

// daemonWords are what can happen to a daemon.
var daemonWords = map[string]func(*v1alpha1.BuildDaemon){
	"Ready":        testbuild.WithReady(metav1.ConditionTrue, v1alpha1.ReasonDaemonServing),
	"NotReady":     testbuild.WithReady(metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable),
	"AgentStopped": testbuild.WithReady(metav1.ConditionUnknown, v1alpha1.ReasonAgentStopped),
	"CrashLoop":    testbuild.WithReady(metav1.ConditionFalse, v1alpha1.ReasonCrashLoop),
	"Cordoned":     func(d *v1alpha1.BuildDaemon) { d.Spec.Unschedulable = true },
	"InService": testbuild.WithCondition(
		v1alpha1.ConditionDraining, metav1.ConditionFalse, v1alpha1.ReasonInService),
	"LeaseExpired": testbuild.WithReady(metav1.ConditionUnknown, v1alpha1.ReasonLeaseExpired),
	"ScaledDown":   testbuild.WithReady(metav1.ConditionFalse, v1alpha1.ReasonScaledDown),
	"Draining": testbuild.WithCondition(
		v1alpha1.ConditionDraining, metav1.ConditionTrue, v1alpha1.ReasonShuttingDown),
	"DiskPressure": testbuild.WithCondition(
		v1alpha1.ConditionDiskPressure, metav1.ConditionTrue, v1alpha1.ReasonVolumeNearlyFull),
	"Suspended":  func(d *v1alpha1.BuildDaemon) { d.Spec.Suspend = true },
	"Unreported": func(d *v1alpha1.BuildDaemon) { d.Status = v1alpha1.BuildDaemonStatus{} },
	"Deleting": func(d *v1alpha1.BuildDaemon) {
		d.DeletionTimestamp = &metav1.Time{Time: envtestkit.Epoch}
	},
	"NewVolume": func(d *v1alpha1.BuildDaemon) {
		d.Status.VolumeEpoch += "+"
		d.Status.Keys, d.Status.Mounts = nil, nil
	},
}

// changeDaemon has something happen to a daemon. One that there is not is made.
func (l *statement) changeDaemon() {
	l.t.Helper()
	name := l.arguments[0]
	if !slices.ContainsFunc(l.daemons, func(d v1alpha1.BuildDaemon) bool { return d.Name == name }) {
		ordinal := int32(l.number(strings.TrimPrefix(name, "c-")))
		l.daemons = append(l.daemons, *testbuild.BuildDaemon("ns", "c", ordinal, testbuild.Serving))
	}
	d := l.daemonNamed(name)
	for _, word := range l.arguments[1:] {
		change := daemonWords[word]
		if change == nil {
			l.t.Fatalf("%s: daemons can't be %s", l.line, word)
		}
		change(d)
	}
	if p := l.list("platforms"); p != nil {
		d.Status.Platforms = p
	}
	d.Status.CapacityBytes = l.bytes("capacity", d.Status.CapacityBytes)
	d.Status.UsedBytes = l.bytes("used", d.Status.UsedBytes)
}

func (l *statement) delete() {
	l.t.Helper()
	name := l.arguments[0]
	builds, daemons := len(l.builds), len(l.daemons)
	l.builds = slices.DeleteFunc(l.builds, func(b v1alpha1.HLBBuild) bool { return b.Name == name })
	l.daemons = slices.DeleteFunc(l.daemons, func(d v1alpha1.BuildDaemon) bool { return d.Name == name })
	if len(l.builds)+len(l.daemons) != builds+daemons-1 {
		l.t.Fatalf("%s: no such build or daemon", l.line)
	}
}

// at is an instant, given as an option relative to now.
func (l *statement) at(name string) time.Time { return l.now.Add(l.duration(name, 0)) }

func (l *statement) reportKey() {
	l.t.Helper()
	warm, cold := l.duration("warm", 0), l.duration("cold", 0)
	testbuild.WithKey(l.key(l.arguments[0]), l.at("used"), int32(warm.Seconds()), int32(cold.Seconds()))(
		l.daemonNamed(l.options["on"]))
}

// reportMounts has a daemon report mounts, each in place of an earlier report.
func (l *statement) reportMounts() {
	l.t.Helper()
	d := l.daemonNamed(l.options["on"])
	for id := range strings.SplitSeq(l.arguments[0], ",") {
		l.report(d, "ns/"+id, l.bytes("bytes", 1e9), l.at("used"), l.bytes("snapshot", 0))
	}
}

// report has a daemon report one mount.
func (s *scenario) report(d *v1alpha1.BuildDaemon, id string, bytes int64, used time.Time, snapshot int64) {
	at := metav1.NewTime(used)
	m := v1alpha1.MountUse{ID: id, Bytes: bytes, LastUsed: &at}
	if snapshot > 0 {
		m.Snapshot = &v1alpha1.MountSnapshotStatus{
			Outcome: v1alpha1.SnapshotPushed, Time: metav1.NewTime(s.now), Ref: "r/x@sha256:1", Bytes: snapshot,
		}
	}
	d.Status.Mounts = slices.DeleteFunc(d.Status.Mounts, func(u v1alpha1.MountUse) bool { return u.ID == id })
	d.Status.Mounts = append(d.Status.Mounts, m)
}

func (l *statement) prune() {
	l.t.Helper()
	d, id := l.daemonNamed(l.options["on"]), "ns/"+l.arguments[0]
	d.Status.Mounts = slices.DeleteFunc(d.Status.Mounts, func(u v1alpha1.MountUse) bool { return u.ID == id })
}

// reportGC has a daemon report the bound of its mounts, and what it evicts next.
func (l *statement) reportGC() {
	l.t.Helper()
	gc := &v1alpha1.GCStatus{MountsBudgetBytes: l.bytes("budget", 0), MountsBytes: l.bytes("mounts", 0)}
	if next := l.options["next"]; next != "" {
		gc.NextEviction = &v1alpha1.NextEviction{
			ID: "ns/" + next, Bytes: 1e9, LostSeconds: int32(l.duration("lost", 0).Seconds()),
			Redundant: l.has("redundant"),
		}
	}
	l.daemonNamed(l.arguments[0]).Status.GC = gc
}

// outcomes of priming that may be named.
const outcomes = "Primed Failed NoSnapshot Held"

// endPrefetches has a daemon report what came of all that was requested of it.
func (l *statement) endPrefetches() {
	l.t.Helper()
	d, outcome := l.daemonNamed(l.arguments[0]), v1alpha1.PrimePrimed
	if len(l.arguments) > 1 {
		outcome = v1alpha1.PrimeOutcome(l.oneOf(l.arguments[1], outcomes))
	}
	d.Status.Prefetch = nil
	for _, r := range d.Spec.Prefetch {
		d.Status.Prefetch = append(d.Status.Prefetch, v1alpha1.PrefetchStatus{
			PrimeStatus: v1alpha1.PrimeStatus{ID: r.ID, Outcome: outcome}, RequestedAt: r.RequestedAt,
		})
		if outcome == v1alpha1.PrimePrimed {
			l.report(d, r.ID, r.Bytes, l.now, 0)
		}
	}
}

// queueBuild creates a build whose run is opened now.
func (l *statement) queueBuild() {
	l.t.Helper()
	b := opened(l.arguments[0], l.key(l.options["key"]))
	b.Spec.Queue, b.Spec.Priority = l.options["queue"], int32(l.count("priority", 0))
	if p := l.options["platform"]; p != "" {
		b.Spec.Platforms = []string{p}
	}
	b.Status.Run.QueuedAt = metav1.NewMicroTime(l.now)
	l.builds = append(l.builds, b)
}

// start has the agent of a build's daemon start it.
func (l *statement) start() {
	l.t.Helper()
	b := l.buildNamed(l.arguments[0])
	if !status.IsBound(b) {
		l.t.Fatalf("%s: it is not placed", l.line)
	}
	status.Start(b, "agent", l.now)
}

// succeed ends a build that was started.
func (l *statement) succeed() {
	l.t.Helper()
	b := l.buildNamed(l.arguments[0])
	b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: !b.Status.Placement.Warm}
	status.Succeed(b, l.now)
}

// lose has a build lose its attempt, and wait for another one, which runs alone if that is said.
func (l *statement) lose() {
	l.t.Helper()
	b := l.buildNamed(l.arguments[0])
	status.Lose(b, cmp.Or(l.options["reason"], v1alpha1.ReasonDaemonLost), "gone", l.now)
	status.Retry(b, failure.Verdict{Counts: true, Isolate: l.has("alone")}, l.now)
}

// ran adds builds that have just ended.
func (l *statement) ran() {
	l.t.Helper()
	began := l.now.Add(-l.duration("took", 10*time.Second))
	sharing := v1alpha1.MountShared
	if s := l.options["sharing"]; s != "" {
		sharing = v1alpha1.MountSharing(l.oneOf(s, "shared locked private"))
	}
	for range l.count("times", 1) {
		l.ended++
		b := opened(fmt.Sprint("ended-", l.ended), l.key(l.arguments[0]))
		b.Status.Run.QueuedAt = metav1.NewMicroTime(began)
		status.Place(&b, v1alpha1.PlacementStatus{Daemon: l.options["on"], Warm: !l.has("fresh")}, began)
		status.Start(&b, "agent", began)
		b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: l.has("fresh")}
		if l.has("exported") {
			b.Status.Cache.ExportRef = "r/x:cache"
		}
		for _, id := range l.list("mounts") {
			m := v1alpha1.BuildMount{ID: "ns/" + id, Sharing: sharing, Bytes: l.bytes("bytes", 1e9)}
			b.Status.Mounts = append(b.Status.Mounts, m)
		}
		b.Status.Prime = l.primed()
		if l.has("failed") {
			status.Fail(&b, v1alpha1.FailureStatus{Reason: v1alpha1.ReasonSolveFailed}, l.now)
		} else {
			status.Succeed(&b, l.now)
		}
		l.builds = append(l.builds, b)
	}
}

// primed reads the option of this name: BYTES:DURATION or BYTES:DURATION:OUTCOME.
func (l *statement) primed() (out []v1alpha1.PrimeStatus) {
	l.t.Helper()
	for i, text := range l.list("primed") {
		parts := append(strings.Split(text, ":"), string(v1alpha1.PrimePrimed))
		out = append(out, v1alpha1.PrimeStatus{
			ID: fmt.Sprint("ns/primed-", i), Bytes: l.quantity(parts[0]),
			DurationSeconds: int32(l.span(parts[1]).Seconds()),
			Outcome:         v1alpha1.PrimeOutcome(l.oneOf(parts[2], outcomes)),
		})
	}
	return out
}

// restart puts a manager that has observed nothing in place of the present one. It recalls the lessons of the present
// one, if that is said.
func (l *statement) restart() {
	l.t.Helper()
	lessons, err := l.state.Lessons()
	if err != nil {
		l.t.Fatal(err)
	}
	l.state = New(l.state.params)
	if l.has("recalls") {
		if err := l.state.Recall(lessons); err != nil {
			l.t.Fatal(err)
		}
	}
}

// wait lets time pass. The State observes at once, whenever it asks for it, and at the end.
func (l *statement) wait() {
	l.t.Helper()
	l.observe()
	end := l.now.Add(l.span(l.arguments[0]))
	for l.recheck > 0 && l.now.Add(l.recheck).Before(end) {
		l.now = l.now.Add(l.recheck)
		l.observe()
	}
	l.now = end
	l.observe()
}
