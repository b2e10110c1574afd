// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// old is when the daemons of tests were made, and when those came down that are down.
var old = metav1.NewTime(envtestkit.Epoch.Add(-time.Hour))

// fleet is a snapshot of a BuildCache "c" that wants n daemons.
func fleet(n int32, daemons ...daemon) *snapshot {
	cache := testbuild.BuildCache("ns", "c", testbuild.WithReplicas(n))
	cache.UID = "now"
	return &snapshot{cache: cache, daemons: daemons, now: envtestkit.Epoch}
}

// serving is a daemon of the fleet that takes builds.
func serving(ordinal int32, options ...func(*daemon)) daemon {
	bd := testbuild.BuildDaemon("ns", "c", ordinal, testbuild.Serving)
	bd.CreationTimestamp = old
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		Name: workload.PodName(bd.Name), UID: types.UID("pod-" + bd.Name), CreationTimestamp: old,
	}}
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}
	bd.Status.AgentID = string(pod.UID) + "/agent"
	d := daemon{BuildDaemon: bd, pod: pod, claim: &corev1.PersistentVolumeClaim{}, rendered: true}
	for _, o := range options {
		o(&d)
	}
	return d
}

// down is a daemon that has been down for an hour for a reason.
func down(ordinal int32, reason string, options ...func(*daemon)) daemon {
	d := serving(ordinal)
	testbuild.WithReady(metav1.ConditionFalse, reason)(d.BuildDaemon)
	d.Status.Conditions[0].LastTransitionTime = old
	d.pod.Status.Conditions[0].Status = corev1.ConditionFalse
	for _, o := range options {
		o(&d)
	}
	return d
}

// asleep is a suspended daemon.
func asleep(ordinal int32, options ...func(*daemon)) daemon {
	d := down(ordinal, v1alpha1.ReasonScaledDown)
	d.Spec.Suspend, d.pod = true, nil
	for _, o := range options {
		o(&d)
	}
	return d
}

func cordoned(d *daemon)   { d.Spec.Unschedulable = true }
func busy(d *daemon)       { d.Status.RunningBuilds = 1 }
func outdated(d *daemon)   { d.differs = workload.WholePod }
func oldAgent(d *daemon)   { d.differs = workload.AgentImage }
func volumeless(d *daemon) { d.claim = nil }
func unrendered(d *daemon) { d.rendered = false }
func updating(d *daemon) {
	d.Annotations = map[string]string{v1alpha1.AnnotationUpdating: "true"}
}

func ending(d *daemon) {
	d.pod.DeletionTimestamp = &old
	testbuild.WithCondition(
		v1alpha1.ConditionDraining, metav1.ConditionTrue, v1alpha1.ReasonShuttingDown,
	)(d.BuildDaemon)
}

// starting is a daemon whose pod was made a moment ago.
func starting(d *daemon) {
	testbuild.WithReady(metav1.ConditionUnknown, v1alpha1.ReasonAgentStopped)(d.BuildDaemon)
	d.pod.CreationTimestamp = metav1.NewTime(envtestkit.Epoch.Add(-10 * time.Second))
	d.pod.Status.Conditions[0].Status = corev1.ConditionFalse
}

// replacedAgent is a daemon whose agent's image was changed and whose kubelet has not acted on it yet.
func replacedAgent(d *daemon) {
	d.pod.Annotations = map[string]string{v1alpha1.AnnotationReplacedAgent: "id"}
	d.pod.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "agent", ContainerID: "id"}}
}

// worth gives a daemon a key that saves so many seconds.
func worth(seconds int32) func(*daemon) {
	return func(d *daemon) { testbuild.WithKey("k", envtestkit.Epoch, 1, seconds+1)(d.BuildDaemon) }
}

// left are remains of an ordinal: a pod, or a claim that a BuildCache of the UID has used last.
func left(ordinal int32, pod bool, user types.UID) remains {
	r := remains{ordinal: ordinal}
	if pod {
		r.pod = &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("c-%d-0", ordinal), DeletionTimestamp: &old},
		}
	}
	if user != "" {
		r.claim = &corev1.PersistentVolumeClaim{ObjectMeta: metav1.ObjectMeta{
			Name: fmt.Sprintf("cache-c-%d-0", ordinal), Annotations: map[string]string{
				v1alpha1.AnnotationCacheUID: string(user),
			},
		}}
	}
	return r
}

// String writes a plan down, for tests: "suspend c-1; create c-2".
func (p plan) String() string {
	var parts []string
	list := func(verb string, names ...string) {
		if len(names) > 0 {
			parts = append(parts, verb+" "+strings.Join(names, " "))
		}
	}
	daemons := func(list []daemon) (names []string) {
		for _, d := range list {
			names = append(names, d.Name)
		}
		return names
	}
	list("wake", daemons(p.wake)...)
	list("suspend", daemons(p.suspend)...)
	list("remove", daemons(p.remove)...)
	for _, ordinal := range p.create {
		list("create", workload.DaemonName("c", ordinal))
	}
	for _, claim := range p.drop {
		list("drop", claim.Name)
	}
	for _, pod := range p.unstick {
		list("unstick", pod.Name)
	}
	list("replace", daemons(p.replace)...)
	list("patch", daemons(p.patch)...)
	list("settle", daemons(p.settled)...)
	return strings.Join(parts, "; ")
}

type planCase struct {
	fleet *snapshot
	want  string
}

func decideAll(t *testing.T, cases map[string]planCase) {
	t.Helper()
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, decide(tc.fleet).String()); diff != "" {
				t.Errorf("the plan differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestScaling(t *testing.T) {
	deleting := func(s *snapshot) *snapshot {
		s.cache.Spec.Storage.Retention.WhenScaled = v1alpha1.RetentionDelete
		return s
	}
	decideAll(t, map[string]planCase{
		"a new fleet":                        {fleet(2), "create c-0; create c-1"},
		"as many as wanted":                  {fleet(2, serving(0), serving(1)), ""},
		"of equals the highest ordinal goes": {fleet(2, serving(0), serving(1), serving(2)), "suspend c-2"},
		"the one worth least goes": {
			fleet(2, serving(0, worth(9)), serving(1, worth(2)), serving(2, worth(5))), "suspend c-1",
		},
		"an idle one goes before a busy one": {fleet(1, serving(0, worth(9)), serving(1, busy)), "suspend c-0"},
		"one that is down goes before that": {
			fleet(2, serving(0), down(1, v1alpha1.ReasonUnschedulable, worth(99)), serving(2)), "suspend c-1",
		},
		"a cordoned one goes first of all": {
			fleet(2, serving(0, cordoned, busy, worth(99)), down(1, v1alpha1.ReasonCrashLoop), serving(2)),
			"suspend c-0",
		},
		"several go":                       {fleet(0, serving(0, worth(1)), serving(1)), "suspend c-1 c-0"},
		"those that sleep are woken first": {fleet(2, serving(0), asleep(3)), "wake c-3"},
		"the one worth most is woken":      {fleet(2, serving(0), asleep(1), asleep(2, worth(5))), "wake c-2"},
		"one with its volume before others": {
			fleet(2, serving(0), asleep(1, volumeless, worth(9)), asleep(2)), "wake c-2",
		},
		"one that is not cordoned before that": {
			fleet(2, serving(0), asleep(1, cordoned, worth(9)), asleep(2, volumeless)), "wake c-2",
		},
		"and then new ones are made":        {fleet(4, serving(1), asleep(2)), "wake c-2; create c-0; create c-3"},
		"sleepers are kept":                 {fleet(1, serving(0), asleep(1)), ""},
		"or deleted once their pod is gone": {deleting(fleet(1, serving(0), asleep(1))), "remove c-1"},
		"and not before": {
			deleting(fleet(1, serving(0), down(1, "", func(d *daemon) { d.Spec.Suspend = true }))), "",
		},
		"nor if they are woken": {deleting(fleet(2, serving(0), asleep(1))), "wake c-1"},
	})
}

func TestRemains(t *testing.T) {
	former := remains{ordinal: 0, former: true}
	deleting := serving(1, func(d *daemon) { d.DeletionTimestamp = &old })
	with := func(s *snapshot, r ...remains) *snapshot { s.remains = r; return s }
	going := left(1, false, "before")
	going.claim.DeletionTimestamp = &old
	decideAll(t, map[string]planCase{
		"the claim of a deleted daemon goes, and its name waits": {
			with(fleet(2, serving(0)), left(1, false, "now")), "drop cache-c-1-0",
		},
		"so does its pod": {with(fleet(2, serving(0)), left(1, true, "")), "unstick c-1-0"},
		"a claim that an earlier BuildCache has left is used": {
			with(fleet(1), left(3, false, "before")), "create c-3",
		},
		"claims that were left before new ordinals": {
			with(fleet(3), left(3, false, "before"), left(7, false, "before")), "create c-3; create c-7; create c-0",
		},
		"a BuildDaemon that is being deleted is waited for": {fleet(2, serving(0), deleting), ""},
		"so is one of an earlier BuildCache":                {with(fleet(2), former), "create c-1"},
		"those that are too many stay": {
			with(fleet(1), left(2, false, "before"), left(3, false, "before")), "create c-2",
		},
		"one that is being deleted is waited for": {with(fleet(1), going), ""},
		"an agent of an earlier BuildCache is waited for": {
			with(fleet(1), left(1, true, "before")), "unstick c-1-0",
		},
		"nobody is waited for where a sleeper can take the place": {
			with(fleet(1, asleep(0)), left(1, true, "now")), "wake c-0; drop cache-c-1-0; unstick c-1-0",
		},
		"the others are made meanwhile": {
			with(fleet(3, serving(0)), left(1, true, "")), "create c-2; unstick c-1-0",
		},
		"what is left of a daemon that is not wanted goes as well": {
			with(fleet(1, serving(0)), left(1, false, "now")), "drop cache-c-1-0",
		},
	})
}

func TestRollOuts(t *testing.T) {
	upTo := func(bound string, s *snapshot) *snapshot {
		s.cache.Spec.UpdateStrategy.MaxUnavailable = ptr.To(intstr.Parse(bound))
		return s
	}
	decideAll(t, map[string]planCase{
		"all are as they should be":     {fleet(2, serving(0), serving(1)), ""},
		"of equals the highest ordinal": {fleet(2, serving(0, outdated), serving(1, outdated)), "replace c-1"},
		"the one worth least": {
			fleet(2, serving(0, outdated, worth(1)), serving(1, outdated, worth(2))), "replace c-0",
		},
		"an idle one": {
			fleet(2, serving(0, outdated, worth(9)), serving(1, outdated, busy)), "replace c-0",
		},
		"a busy one when all are": {
			fleet(2, serving(0, outdated, busy), serving(1, outdated, busy, worth(1))), "replace c-0",
		},
		"none while another starts":            {fleet(2, serving(0, outdated), serving(1, starting)), ""},
		"none while another drains":            {fleet(2, serving(0, outdated), serving(1, outdated, ending)), ""},
		"none while another changes its agent": {fleet(2, serving(0, oldAgent), serving(1, replacedAgent)), ""},
		"two where the spec lets them": {
			upTo("2", fleet(3, serving(0, outdated), serving(1, outdated), serving(2, outdated))), "replace c-2 c-1",
		},
		"percentages are rounded up": {
			upTo("34%", fleet(3, serving(0, outdated), serving(1, outdated), serving(2, outdated))), "replace c-2 c-1",
		},
		"and are at least one": {upTo("1%", fleet(1, serving(0, outdated))), "replace c-0"},
		"one that starts counts": {
			upTo("2", fleet(3, serving(0, outdated), serving(1, outdated), serving(2, starting))), "replace c-1",
		},
		"those that are down do not wait": {
			fleet(
				3, serving(0, outdated), down(1, v1alpha1.ReasonCrashLoop, outdated),
				down(2, v1alpha1.ReasonImagePullFailed, outdated),
			),
			"replace c-1 c-2 c-0",
		},
		"an agent is changed in place": {
			fleet(2, serving(0, oldAgent), serving(1, oldAgent)), "patch c-1",
		},
		"so is one that is down": {
			fleet(2, serving(0), down(1, v1alpha1.ReasonCrashLoop, oldAgent)), "patch c-1",
		},
		"before its StatefulSet knows: none":       {fleet(1, serving(0, outdated, unrendered)), ""},
		"a daemon that is suspended is left to it": {fleet(1, serving(0), serving(1, outdated)), "suspend c-1"},
		"one that has come up again is done": {
			fleet(2, serving(0, updating), serving(1, updating, outdated)), "replace c-1; settle c-0",
		},
		"one whose agent has not reported is waited for": {
			fleet(1, serving(0, outdated, func(d *daemon) { d.Status.AgentID = "other/agent" })), "",
		},
	})
}

// TestADaemonThatCantStartStopsNoOther is about five daemons of which one does not come up with the present template.
func TestADaemonThatCantStartStopsNoOther(t *testing.T) {
	others := func(broken daemon, options ...func(*daemon)) *snapshot {
		return fleet(
			5, broken, serving(1, options...), serving(2, outdated), serving(3, outdated), serving(4, outdated),
		)
	}
	decideAll(t, map[string]planCase{
		"for want of a node": {
			others(down(0, v1alpha1.ReasonUnschedulable, updating), outdated), "replace c-4",
		},
		"on a node that is dead": {
			others(down(0, v1alpha1.ReasonNodeLost, updating), outdated), "replace c-4",
		},
		"broken before the roll-out":        {others(down(0, v1alpha1.ReasonCrashLoop), outdated), "replace c-4"},
		"silent for long, without a reason": {others(down(0, v1alpha1.ReasonNotStarted), outdated), "replace c-4"},
		"where others have come up well":    {others(down(0, v1alpha1.ReasonCrashLoop, updating)), "replace c-4"},
		"but it does where the image is wrong": {
			others(down(0, v1alpha1.ReasonImagePullFailed, updating), outdated), "",
		},
		"and as long as it may come up": {others(down(0, v1alpha1.ReasonUnschedulable, func(d *daemon) {
			d.pod.CreationTimestamp = metav1.NewTime(envtestkit.Epoch.Add(-50 * time.Second))
		}), outdated), ""},
		"whatever has broken it, it is mended first": {
			others(down(0, v1alpha1.ReasonImagePullFailed, updating, outdated), outdated), "replace c-0",
		},
	})
}

func TestAWaitingRollOutLooksAgain(t *testing.T) {
	p := decide(fleet(2, serving(0, outdated), serving(1, starting)))
	if want := startPatience - 10*time.Second + time.Second; p.after != want {
		t.Errorf("it looks again after %s, want %s", p.after, want)
	}
	if p := decide(fleet(2, serving(0), serving(1, starting))); p.after != 0 {
		t.Errorf("with nothing to replace it looks again after %s", p.after)
	}
}

func TestWorth(t *testing.T) {
	for name, tc := range map[string]struct {
		ago        time.Duration
		warm, cold int32
		want       float64
	}{
		"what a warm build saves":      {0, 10, 50, 40},
		"half of it after its time":    {worthHalfLife, 10, 50, 20},
		"half of a cold build alone":   {0, 0, 50, 25},
		"half of a warm build alone":   {0, 50, 0, 25},
		"nothing where warm is slower": {0, 50, 10, 0},
		"a clock that is ahead":        {-time.Hour, 10, 50, 40},
	} {
		t.Run(name, func(t *testing.T) {
			d := testbuild.BuildDaemon(
				"ns", "c", 0, testbuild.WithKey("k", envtestkit.Epoch.Add(-tc.ago), tc.warm, tc.cold),
			)
			if got := worthOf(d, envtestkit.Epoch); got != tc.want {
				t.Errorf("worth %v, want %v", got, tc.want)
			}
		})
	}
}

func TestANodeIsDeadAfterAWhile(t *testing.T) {
	node := func(status corev1.ConditionStatus, since time.Duration) *corev1.Node {
		n := &corev1.Node{}
		n.Status.Conditions = []corev1.NodeCondition{{
			Type: corev1.NodeReady, Status: status, LastTransitionTime: metav1.NewTime(envtestkit.Epoch.Add(-since)),
		}}
		return n
	}
	on := func(name string, going *metav1.Time) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{DeletionTimestamp: going}, Spec: corev1.PodSpec{NodeName: name},
		}
	}
	for name, tc := range map[string]struct {
		pod  *corev1.Pod
		node *corev1.Node
		want bool
	}{
		"a node that no longer exists":       {on("n", &old), nil, true},
		"a node that is long silent":         {on("n", &old), node(corev1.ConditionUnknown, time.Hour), true},
		"a node that is silent for a moment": {on("n", &old), node(corev1.ConditionUnknown, time.Second), false},
		"a node that is well":                {on("n", &old), node(corev1.ConditionTrue, time.Hour), false},
		"a pod that is not being deleted":    {on("n", nil), nil, false},
		"a pod on no node":                   {on("", &old), nil, false},
	} {
		t.Run(name, func(t *testing.T) {
			if got := isDead(tc.pod, tc.node, envtestkit.Epoch); got != tc.want {
				t.Errorf("dead: %v, want %v", got, tc.want)
			}
		})
	}
}
