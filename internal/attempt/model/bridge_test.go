// SPDX-License-Identifier: Apache-2.0

package model_test

import (
	"fmt"
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/status"
)

// The bridge turns compact states into the objects that package attempt works on, calls its functions, and turns the
// objects back. Results are remembered, because few builds differ.

var epoch = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// retryLimit is more than any explored depth can use up.
const retryLimit = 99

func daemonName(d uint8) string { return fmt.Sprintf("cache-%d", d) }

func daemonKey(d uint8) types.NamespacedName { return types.NamespacedName{Name: daemonName(d)} }

func holderName(h holder) string {
	switch h {
	case nobody:
		return attempt.Nobody
	case taken:
		return attempt.Taken
	case revoked:
		return attempt.Revoked
	}
	return fmt.Sprintf("pod%d/%d", agentOf(h), h)
}

func holderOf(name string) holder {
	switch name {
	case attempt.Nobody:
		return nobody
	case attempt.Taken:
		return taken
	case attempt.Revoked:
		return revoked
	}
	_, number, _ := strings.Cut(name, "/")
	return holder(numberIn(number))
}

// numberIn is the number at the end of a name.
func numberIn(name string) (n uint8) {
	for _, c := range name[strings.LastIndexAny(name, "-/")+1:] {
		n = n*10 + uint8(c-'0')
	}
	return n
}

func request(n uint8) string {
	if n == 0 {
		return ""
	}
	return fmt.Sprintf("ask-%d", n)
}

func (b build) object() *v1alpha1.HLBBuild {
	o := &v1alpha1.HLBBuild{ObjectMeta: metav1.ObjectMeta{Name: "b", UID: "u", Generation: 1}}
	o.Spec.RetryLimit = ptr.To[int32](retryLimit)
	o.Spec.HistoryLimit = ptr.To[int32](0)
	o.Status.ObservedGeneration = 1
	if b.asked > 0 {
		o.Annotations = map[string]string{v1alpha1.AnnotationRequestedAt: request(b.asked)}
	}
	if b.run == 0 {
		return o
	}
	run := &v1alpha1.RunStatus{
		Number: int32(b.run), ID: fmt.Sprintf("r-%d", b.run), Attempt: int32(b.attempt), Generation: 1,
		RequestedAt: request(b.runAsked), StartedBy: holderName(b.startedBy),
	}
	at := metav1.NewMicroTime(epoch)
	if b.startedBy != 0 {
		run.StartedAt = &at
	}
	if b.final {
		run.FinishedAt = &at
	}
	if b.held {
		run.Missing = &v1alpha1.MissingInput{Checks: 1, NextCheckAt: &at}
	}
	if b.lost > 0 {
		run.Lost = &v1alpha1.LostAttempt{
			Attempt: int32(b.lost), Daemon: "cache-0", Reason: v1alpha1.ReasonLeaseLost,
		}
		if b.died {
			run.Lost.Reason = v1alpha1.ReasonDaemonLost
		}
	}
	run.DaemonDeaths, run.Isolated = int32(b.deaths), b.isolated
	o.Status.Run = run
	if b.daemon != nowhere {
		o.Status.Placement = &v1alpha1.PlacementStatus{Daemon: daemonName(b.daemon)}
	}
	if r := b.releasing; r.by != 0 {
		o.Status.Releasing = &v1alpha1.ReleasingAttempt{
			Run: fmt.Sprintf("r-%d", r.run), Attempt: int32(r.attempt), StartedBy: holderName(r.by),
		}
	}
	status.Set(&o.Status.Conditions, metav1.Condition{
		Type: v1alpha1.ConditionScheduled, Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonPending,
	}, epoch)
	return o
}

func buildOf(o *v1alpha1.HLBBuild) build {
	b := build{daemon: nowhere}
	if asked := o.Annotations[v1alpha1.AnnotationRequestedAt]; asked != "" {
		b.asked = numberIn(asked)
	}
	if p := o.Status.Placement; p != nil {
		b.daemon = numberIn(p.Daemon)
	}
	if r := o.Status.Releasing; r != nil {
		b.releasing = releasing{
			run: numberIn(r.Run), attempt: uint8(r.Attempt), by: holderOf(r.StartedBy),
		}
	}
	run := o.Status.Run
	if run == nil {
		return b
	}
	b.run, b.attempt, b.startedBy = uint8(run.Number), uint8(run.Attempt), holderOf(run.StartedBy)
	if run.RequestedAt != "" {
		b.runAsked = numberIn(run.RequestedAt)
	}
	b.final = run.FinishedAt != nil
	b.held = run.RetryAt != nil || run.Missing != nil && run.Missing.NextCheckAt != nil
	if run.Lost != nil {
		b.lost = uint8(run.Lost.Attempt)
		b.died = b.lost == b.attempt && run.Lost.Reason == v1alpha1.ReasonDaemonLost
	}
	b.deaths, b.isolated = uint8(run.DaemonDeaths), run.Isolated
	return b
}

func (c claimed) object(daemon uint8) attempt.Claimed {
	return attempt.Claimed{
		ID:      attempt.ID{UID: "u", Run: fmt.Sprintf("r-%d", c.run), Attempt: int32(c.attempt)},
		Session: attempt.Session{Daemon: daemonKey(daemon), ID: holderName(c.by)},
	}
}

func (h holder) session(daemon uint8) attempt.Session {
	if h == nobody {
		return attempt.Session{}
	}
	return attempt.Session{Daemon: daemonKey(daemon), ID: holderName(h)}
}

// object is nil for a Lease that nobody has ever held and is only about to be made.
func (h holder) lease() *coordinationv1.Lease {
	l := &coordinationv1.Lease{}
	if h != never {
		l.Spec.HolderIdentity, l.Spec.LeaseDurationSeconds = ptr.To(holderName(h)), ptr.To[int32](leaseTicks)
	}
	return l
}

// op is a transition of a build, for the memory.
type op struct {
	name   string
	build  build
	arg    claimed
	self   holder
	daemon uint8
	flag   bool
}

type result struct {
	build build
	done  bool
	value int
}

// memory remembers results of transitions.
type memory map[op]result

// do calls a transition of package attempt on a build.
func (m memory) do(o op, call func(*v1alpha1.HLBBuild) (done bool, value int)) result {
	if r, known := m[o]; known {
		return r
	}
	object := o.build.object()
	done, value := call(object)
	r := result{build: buildOf(object), done: done, value: value}
	m[o] = r
	return r
}

// change is do for a transition that returns nothing but whether it was made.
func (m memory) change(o op, call func(*v1alpha1.HLBBuild) bool) (build, bool) {
	r := m.do(o, func(b *v1alpha1.HLBBuild) (bool, int) { return call(b), 0 })
	return r.build, r.done
}
