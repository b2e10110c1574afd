// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// A scenario is a text file under testdata/scenarios: steps split by lines of three dashes, each step a list of facts
// and of what is wanted. At the end of a step the State observes the fleet, and what it decides is carried out. Times
// are in seconds. "for" observes at once, whenever the State asks for it, and at the end. Options in brackets may be
// left out:
//
//	fleet 2 [slots=4] [prefetch=1Ti] [prime=m,n*] [registry] [wait=600] [down=1]    a new fleet that serves
//	daemon 1 down | up | gone | new | drain | empty | platform=linux/arm64         daemon 1 does so
//	key 1 app [used=-3600] [warm=10] [cold=100]                                    daemon 1 reports key app
//	mount 1 m [bytes=1e9] [used=-3600] [snapshot=1e9]                              daemon 1 reports mount m
//	full 1 m [lost=60] [redundant]                                                 its mounts fill the budget, m is next
//	build b key=app [queue=a] [priority=1] [platform=linux/amd64]                  a build wants a daemon
//	ran app 1 took=80 [times=3] [fresh] [mounts=m,n] [bytes=1e9] [export]          builds of app ended on daemon 1
//	lost b                                                                         b's daemon is lost
//	brought 1 [failed]                                                             all its requests ended
//	pass 60 | for 60                                                               time passes
//	want b runs c-1 | want b waits c-1 | want b error 0/2 daemons fit: 2 NotReady
//	want length app 10 100                                                         warm and cold, within 2%
//	want copies app 0:1 1:4                                                        daemons and builds seen by their copy
//	want price 1 25 35                                                             of evicting a GB, from and to
//	want prefetch 1 m n                                                            daemon 1 is to prefetch these
//	want recheck 120                                                               0 for never
type scenario struct {
	*observed
	line    string
	made    int
	recheck time.Duration
	decided map[string]string // by build
}

func TestScenarios(t *testing.T) {
	files, err := filepath.Glob("testdata/scenarios/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no scenarios: %v", err)
	}
	for _, file := range files {
		t.Run(strings.TrimSuffix(filepath.Base(file), ".txt"), func(t *testing.T) {
			text, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			s := &scenario{observed: &observed{t: t}}
			var wants []string
			for i, line := range append(strings.Split(string(text), "\n"), "---") {
				s.line = fmt.Sprintf("line %d: %s", i+1, line)
				line = strings.TrimSpace(line)
				switch {
				case line == "" || line[0] == '#':
				case line == "---":
					s.step(wants)
					wants = nil
				case strings.HasPrefix(line, "want "):
					wants = append(wants, s.line)
				default:
					s.fact(strings.Fields(line))
				}
			}
		})
	}
}

// step observes, carries out and compares.
func (s *scenario) step(wants []string) {
	s.t.Helper()
	s.look()
	for _, w := range wants {
		s.line = w
		f := strings.Fields(w[strings.Index(w, "want ")+len("want "):])
		s.want(f[0], f[1:])
	}
}

// look has the State observe the fleet, and carries out what it decides.
func (s *scenario) look() {
	s.t.Helper()
	w := s.cycle()
	s.recheck = w.Recheck
	s.decided = map[string]string{}
	params := s.state.Params()
	for _, d := range scheduler.Cycle(s.state.view, s.state.queue.requests, &params) {
		switch d.Action {
		case scheduler.Run:
			s.decided[d.UID] = "runs " + d.Chosen.Name
		case scheduler.Wait:
			s.decided[d.UID] = "waits " + d.Chosen.Name
		default:
			s.decided[d.UID] = "error " + d.Err().Error()
		}
	}
	written := Written{At: s.now}
	for i := range w.Builds {
		w.Builds[i].Apply(w.Builds[i].Build, s.now)
		if w.Builds[i].IsPlacement() {
			written.Placed = append(written.Placed, w.Builds[i].Placed())
		}
	}
	for _, p := range w.Prefetch {
		p.Daemon.Spec.Prefetch = p.Requests
		written.Prefetch = append(written.Prefetch, p.Added...)
	}
	s.state.Written(written)
}

func (s *scenario) number(text string) float64 {
	s.t.Helper()
	x, err := strconv.ParseFloat(text, 64)
	if err != nil {
		s.t.Fatalf("%s: %v", s.line, err)
	}
	return x
}

// lookUp is a numeric option, with what it is when it is left out.
func (s *scenario) lookUp(o map[string]string, name string, otherwise float64) float64 {
	s.t.Helper()
	if text, given := o[name]; given {
		return s.number(text)
	}
	return otherwise
}

func (s *scenario) daemonAt(text string) *v1alpha1.BuildDaemon {
	s.t.Helper()
	for i := range s.daemons {
		if s.daemons[i].Name == "c-"+text {
			return &s.daemons[i]
		}
	}
	s.t.Fatalf("%s: no daemon %s", s.line, text)
	return nil
}

func (s *scenario) buildNamed(name string) *v1alpha1.HLBBuild {
	s.t.Helper()
	for i := range s.builds {
		if s.builds[i].Name == name {
			return &s.builds[i]
		}
	}
	s.t.Fatalf("%s: no build %s", s.line, name)
	return nil
}

// options are the name=value fields of a line; a name alone has the empty value.
func options(fields []string) map[string]string {
	m := map[string]string{}
	for _, f := range fields {
		name, value, _ := strings.Cut(f, "=")
		m[name] = value
	}
	return m
}

func (s *scenario) fact(f []string) {
	s.t.Helper()
	o := options(f[2:])
	switch f[0] {
	case "fleet":
		s.begin(int32(s.number(f[1])), o)
	case "daemon":
		s.change(f[1], f[2])
	case "key":
		at := s.now.Add(time.Duration(s.lookUp(o, "used", 0)) * time.Second)
		warm, cold := s.lookUp(o, "warm", 0), s.lookUp(o, "cold", 0)
		testbuild.WithKey(f[2], at, int32(warm), int32(cold))(s.daemonAt(f[1]))
	case "mount":
		s.reportMount(s.daemonAt(f[1]), "ns/"+f[2], o)
	case "full":
		d := s.daemonAt(f[1])
		all := int64(len(d.Status.Mounts)) * 1e9
		d.Status.CapacityBytes, d.Status.UsedBytes = 10e9, 9e9
		_, redundant := o["redundant"]
		d.Status.GC = &v1alpha1.GCStatus{MountsBudgetBytes: all, MountsBytes: all, NextEviction: &v1alpha1.NextEviction{
			ID: "ns/" + f[2], Bytes: 1e9, LostSeconds: int32(s.lookUp(o, "lost", 60)), Redundant: redundant,
		}}
	case "build":
		s.queueBuild(f[1], o)
	case "ran":
		s.ran(f[1], f[2], o)
	case "lost":
		b := s.buildNamed(f[1])
		status.Lose(b, v1alpha1.ReasonDaemonLost, "gone", s.now)
		status.Retry(b, s.now)
	case "brought":
		s.brought(s.daemonAt(f[1]), o)
	case "pass":
		s.now = s.now.Add(time.Duration(s.number(f[1])) * time.Second)
	case "for":
		s.look()
		end := s.now.Add(time.Duration(s.number(f[1])) * time.Second)
		for s.recheck > 0 && s.now.Add(s.recheck).Before(end) {
			s.now = s.now.Add(s.recheck)
			s.look()
		}
		s.now = end
		s.look()
	default:
		s.t.Fatalf("%s: no such fact", s.line)
	}
}

// begin makes a new fleet of n serving daemons, and has it observed once: ends of builds are learned from there on.
func (s *scenario) begin(n int32, o map[string]string) {
	s.observed = observe(s.t)
	slots := int32(s.lookUp(o, "slots", 4))
	s.cache = testbuild.BuildCache("ns", "c", testbuild.WithReplicas(n), testbuild.WithSlots(slots))
	s.daemons = nil
	for i := range n {
		s.daemons = append(s.daemons, *testbuild.BuildDaemon("ns", "c", i, testbuild.Serving))
	}
	if bytes, given := o["prefetch"]; given {
		s.cache.Spec.Prefetch = &v1alpha1.PrefetchSpec{BandwidthPerHour: resource.MustParse(bytes)}
	}
	wait, waits := o["wait"]
	if _, given := o["registry"]; given || waits {
		s.cache.Spec.Registry = &v1alpha1.RegistryCacheSpec{}
		if waits {
			s.cache.Spec.Registry.WaitSecondsPerGiB = int32(s.number(wait))
		}
	}
	for _, id := range list(o["prime"]) {
		s.cache.Spec.Mounts = append(s.cache.Spec.Mounts,
			v1alpha1.MountPolicy{ID: id, Prime: v1alpha1.PrimeOnFreshDaemon})
	}
	for _, daemon := range list(o["down"]) {
		s.change(daemon, "down")
	}
	s.cycle()
}

// list splits at commas; nothing for the empty text.
func list(text string) []string {
	if text == "" {
		return nil
	}
	return strings.Split(text, ",")
}

// change has something happen to a daemon.
func (s *scenario) change(daemon, what string) {
	s.t.Helper()
	if what == "new" {
		ordinal := int32(s.number(daemon))
		s.daemons = append(s.daemons, *testbuild.BuildDaemon("ns", "c", ordinal, testbuild.Serving))
		return
	}
	d := s.daemonAt(daemon)
	switch {
	case what == "down":
		testbuild.WithReady(metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable)(d)
	case what == "up":
		testbuild.WithReady(metav1.ConditionTrue, v1alpha1.ReasonDaemonServing)(d)
	case what == "drain":
		testbuild.WithCondition(v1alpha1.ConditionDraining, metav1.ConditionTrue, v1alpha1.ReasonShuttingDown)(d)
	case what == "empty":
		d.Status.VolumeEpoch += "+"
		d.Status.Keys, d.Status.Mounts = nil, nil
	case what == "gone":
		var rest []v1alpha1.BuildDaemon
		for i := range s.daemons {
			if s.daemons[i].Name != d.Name {
				rest = append(rest, s.daemons[i])
			}
		}
		s.daemons = rest
	case strings.HasPrefix(what, "platform="):
		d.Status.Platforms = list(strings.TrimPrefix(what, "platform="))
	default:
		s.t.Fatalf("%s: daemons don't do that", s.line)
	}
}

// reportMount has a daemon report a mount, in place of an earlier report.
func (s *scenario) reportMount(d *v1alpha1.BuildDaemon, id string, o map[string]string) {
	used := metav1.NewTime(s.now.Add(time.Duration(s.lookUp(o, "used", 0)) * time.Second))
	m := v1alpha1.MountUse{ID: id, Bytes: int64(s.lookUp(o, "bytes", 1e9)), LastUsed: &used}
	if bytes := s.lookUp(o, "snapshot", 0); bytes > 0 {
		m.Snapshot = &v1alpha1.MountSnapshotStatus{
			Outcome: v1alpha1.SnapshotPushed, Time: metav1.NewTime(envtestkit.Epoch), Ref: "r/x@sha256:1",
			Bytes: int64(bytes),
		}
	}
	d.Status.Mounts = append(d.Status.Mounts, m)
}

func (s *scenario) queueBuild(name string, o map[string]string) {
	b := opened(name, s.key(o["key"]))
	b.Spec.Queue, b.Spec.Priority = o["queue"], int32(s.lookUp(o, "priority", 0))
	if p, given := o["platform"]; given {
		b.Spec.Platforms = []string{p}
	}
	b.Status.Run.QueuedAt = metav1.NewMicroTime(s.now)
	s.builds = append(s.builds, b)
}

// key is a key by name; "home-of-1" is one whose home is daemon 1.
func (s *scenario) key(name string) string {
	s.t.Helper()
	rest, home := strings.CutPrefix(name, "home-of-")
	if !home {
		return name
	}
	at, n, _ := strings.Cut(rest, "/")
	if n == "" {
		n = "0"
	}
	return s.keyAt(int(s.number(at)), int(s.number(n)))
}

// ran adds builds that have ended well.
func (s *scenario) ran(key, daemon string, o map[string]string) {
	s.t.Helper()
	took := time.Duration(s.lookUp(o, "took", 10)) * time.Second
	_, fresh := o["fresh"]
	for range int(s.lookUp(o, "times", 1)) {
		s.made++
		b := opened(fmt.Sprint("ended-", s.made), s.key(key))
		began := s.now.Add(-took)
		b.Status.Run.QueuedAt = metav1.NewMicroTime(began)
		status.Place(&b, v1alpha1.PlacementStatus{Daemon: "c-" + daemon, Warm: !fresh}, began)
		status.Start(&b, "agent", began)
		b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: fresh}
		if _, exported := o["export"]; exported {
			b.Status.Cache.ExportRef = "r/x:cache"
		}
		for _, id := range list(o["mounts"]) {
			m := v1alpha1.BuildMount{ID: "ns/" + id, Sharing: v1alpha1.MountShared,
				Bytes: int64(s.lookUp(o, "bytes", 1e9))}
			b.Status.Mounts = append(b.Status.Mounts, m)
		}
		status.Succeed(&b, s.now)
		s.builds = append(s.builds, b)
	}
}

// brought has a daemon report what came of all that was requested of it.
func (s *scenario) brought(d *v1alpha1.BuildDaemon, o map[string]string) {
	outcome := v1alpha1.PrimePrimed
	if _, failed := o["failed"]; failed {
		outcome = v1alpha1.PrimeFailed
	}
	d.Status.Prefetch = nil
	for _, r := range d.Spec.Prefetch {
		d.Status.Prefetch = append(d.Status.Prefetch, v1alpha1.PrefetchStatus{
			PrimeStatus: v1alpha1.PrimeStatus{ID: r.ID, Outcome: outcome}, RequestedAt: r.RequestedAt,
		})
		if outcome == v1alpha1.PrimePrimed {
			s.reportMount(d, r.ID, map[string]string{"bytes": fmt.Sprint(r.Bytes)})
		}
	}
}
