// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// anyFleet draws a fleet of at most eight daemons in any state.
func anyFleet(t *rapid.T) *snapshot {
	s := fleet(int32(rapid.IntRange(0, 8).Draw(t, "replicas")))
	s.cache.Spec.UpdateStrategy.MaxUnavailable = ptr.To(intstr.FromInt(rapid.IntRange(1, 3).Draw(t, "maxUnavailable")))
	if rapid.Bool().Draw(t, "whenScaled: Delete") {
		s.cache.Spec.Storage.Retention.WhenScaled = v1alpha1.RetentionDelete
	}
	for ordinal := range int32(8) {
		options := rapid.SliceOfDistinct(rapid.SampledFrom([]string{"cordoned", "busy", "outdated", "updating"}),
			rapid.ID[string]).Draw(t, "options")
		var change []func(*daemon)
		for _, o := range options {
			change = append(change, map[string]func(*daemon){
				"cordoned": cordoned, "busy": busy, "outdated": outdated, "updating": updating,
			}[o])
		}
		switch rapid.SampledFrom(
			[]string{"none", "serving", "down", "starting", "ending", "asleep", "left"},
		).Draw(t, "state") {
		case "serving":
			s.daemons = append(s.daemons, serving(ordinal, change...))
		case "down":
			s.daemons = append(s.daemons, down(ordinal, v1alpha1.ReasonCrashLoop, change...))
		case "starting":
			s.daemons = append(s.daemons, serving(ordinal, append(change, starting)...))
		case "ending":
			s.daemons = append(s.daemons, serving(ordinal, append(change, ending)...))
		case "asleep":
			s.daemons = append(s.daemons, asleep(ordinal, worth(ordinal)))
		case "left":
			s.remains = append(s.remains, left(ordinal, rapid.Bool().Draw(t, "pod"), "now"))
		}
	}
	return s
}

func TestPlansKeepTheirBounds(t *testing.T) {
	t.Parallel()
	rapid.Check(t, func(t *rapid.T) {
		s := anyFleet(t)
		p := decide(s)
		running, taken := 0, 0
		for _, d := range s.daemons {
			if !d.Spec.Suspend {
				running++
			}
		}
		for _, d := range append(append([]daemon{}, p.replace...), p.patch...) {
			if d.Spec.Suspend || d.differs == workload.UpToDate || d.pod == nil {
				t.Fatalf("%s is replaced for nothing", d.Name)
			}
			if d.serves() {
				taken++
			}
		}
		if bound := s.maxUnavailable(); taken > bound {
			t.Fatalf("%d daemons that take builds are replaced at once, at most %d may", taken, bound)
		}
		after := running - len(p.suspend) + len(p.wake) + len(p.create)
		if wanted := int(wantedReplicas(s.cache)); after > wanted || len(s.remains) == 0 && after < wanted {
			t.Fatalf("%d daemons run afterwards, %d are wanted: %s", after, wanted, p)
		}
		if again := decide(s); again.String() != p.String() {
			t.Fatalf("the same fleet gives %s and %s", p, again)
		}
	})
}

// rollOut is a fleet in the middle of a roll-out, as Kubernetes and the agents would carry it out.
type rollOut struct {
	*snapshot
	breaks map[string]string // daemons that do not come up with the present template, and why
	done   map[string]time.Time
}

// step carries out a plan and lets half a minute pass, after which pods that were replaced are up, or in trouble.
func (r *rollOut) step(p plan) {
	replaced := map[string]bool{}
	for _, d := range p.replace {
		replaced[d.Name] = true
	}
	for i := range r.daemons {
		d := &r.daemons[i]
		switch {
		case replaced[d.Name]:
			if d.serves() {
				updating(d)
			}
			d.differs = workload.UpToDate
			d.pod.UID = types.UID("next-" + d.Name)
			d.pod.CreationTimestamp = metav1.NewTime(r.now)
			starting(d)
			d.pod.CreationTimestamp = metav1.NewTime(r.now)
		case !d.serves() && d.differs == workload.UpToDate && r.breaks[d.Name] != "":
			testbuild.WithReady(metav1.ConditionFalse, r.breaks[d.Name])(d.BuildDaemon)
		case !d.serves() && d.differs == workload.UpToDate:
			up := serving(d.Spec.Ordinal)
			d.Status = up.Status
			d.Status.AgentID = string(d.pod.UID) + "/agent"
			d.pod.Status = up.pod.Status
			r.done[d.Name] = r.now
		}
	}
	r.now = r.now.Add(30 * time.Second)
}

// TestARollOutFinishesTheOthers rolls a fleet of five out of which one never comes up: before, since, or because of it.
func TestARollOutFinishesTheOthers(t *testing.T) {
	t.Parallel()
	all := func(broken daemon) []daemon {
		out := []daemon{broken}
		for ordinal := range int32(4) {
			out = append(out, serving(ordinal+1, outdated))
		}
		return out
	}
	for name, tc := range map[string]struct {
		daemons []daemon
		breaks  map[string]string
		want    int // daemons that come up with the present template
	}{
		"one was broken before": {
			all(down(0, v1alpha1.ReasonCrashLoop, outdated)), map[string]string{"c-0": v1alpha1.ReasonCrashLoop}, 4,
		},
		"one finds no node any more": {
			all(serving(0, outdated)), map[string]string{"c-0": v1alpha1.ReasonUnschedulable}, 4,
		},
		"the first one finds none": {
			all(serving(0, outdated)), map[string]string{"c-4": v1alpha1.ReasonUnschedulable}, 4,
		},
		"the last one crashes": {
			all(serving(0, outdated)), map[string]string{"c-0": v1alpha1.ReasonCrashLoop}, 4,
		},
		"the first one crashes: stop": {
			all(serving(0, outdated)), map[string]string{"c-4": v1alpha1.ReasonCrashLoop}, 0,
		},
		"all go well":                   {all(serving(0, outdated)), nil, 5},
		"one that was broken is mended": {all(down(0, v1alpha1.ReasonCrashLoop, outdated)), nil, 5},
	} {
		t.Run(name, func(t *testing.T) {
			r := &rollOut{snapshot: fleet(5, tc.daemons...), breaks: tc.breaks, done: map[string]time.Time{}}
			for range 60 {
				r.step(decide(r.snapshot))
				up := 0
				for _, d := range r.daemons {
					if d.serves() {
						up++
					}
				}
				if up < 3 {
					t.Fatalf("only %d of 5 daemons take builds at %s", up, r.now.Sub(envtestkit.Epoch))
				}
			}
			if len(r.done) != tc.want {
				t.Errorf("%d daemons came up with the present template, want %d: %v", len(r.done), tc.want, r.done)
			}
		})
	}
}
