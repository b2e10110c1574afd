// SPDX-License-Identifier: Apache-2.0

package attempt

import (
	"strings"
	"time"

	coordinationv1 "k8s.io/api/coordination/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// The holders of a Lease that are no session of an agent.
const (
	// Nobody holds it: the last session ended in order.
	Nobody = ""
	// Taken: it was not renewed, so the manager has taken it. The session before is over.
	Taken = "manager"
	// Revoked: the manager has taken it although it was renewed. The session before ends within the Lease's duration.
	Revoked = "manager/revoked"
)

// Holder returns who holds the Lease: the ID of a session, Nobody, Taken or Revoked.
func Holder(l *coordinationv1.Lease) string { return ptr.Deref(l.Spec.HolderIdentity, Nobody) }

// IsAgent reports whether a holder is a session of an agent.
func IsAgent(holder string) bool { return holder != Nobody && holder != Taken && holder != Revoked }

// podOf returns the UID of the pod that a session is of.
func podOf(holder string) string {
	pod, _, _ := strings.Cut(holder, "/")
	return pod
}

// MayAcquire reports whether a session of id may take the Lease. unchanged is for how long the agent has seen the Lease
// as it is. A holder of the same pod is an earlier session of this process, which has ended its attempts, or an earlier
// process of the container, which is dead. One of another pod may live on, cut off from the cluster.
func MayAcquire(l *coordinationv1.Lease, id string, unchanged, duration time.Duration) bool {
	holder := Holder(l)
	return holder == Nobody || holder == Taken || podOf(holder) == podOf(id) || unchanged >= LeaseDuration(l, duration)
}

// LeaseDuration returns how long a Lease must be unchanged before it may be taken, at least atLeast.
func LeaseDuration(l *coordinationv1.Lease, atLeast time.Duration) time.Duration {
	return max(atLeast, time.Duration(ptr.Deref(l.Spec.LeaseDurationSeconds, 0))*time.Second)
}

// Acquire makes the Lease that of session id. The caller has checked MayAcquire.
func Acquire(l *coordinationv1.Lease, id string, duration time.Duration, now time.Time) {
	at, seconds := metav1.NewMicroTime(now), int32(duration/time.Second)
	if Holder(l) != id {
		transitions := ptr.Deref(l.Spec.LeaseTransitions, 0) + 1
		l.Spec.AcquireTime, l.Spec.LeaseTransitions = &at, &transitions
	}
	l.Spec.HolderIdentity, l.Spec.RenewTime, l.Spec.LeaseDurationSeconds = &id, &at, &seconds
}

// Renew renews the Lease for its session, and reports whether it still is that session's.
func Renew(l *coordinationv1.Lease, id string, duration time.Duration, now time.Time) bool {
	if id == "" || Holder(l) != id {
		return false
	}
	Acquire(l, id, duration, now)
	return true
}

// GiveBack ends the session of an agent that executes nothing any more, and reports whether the Lease was its own.
func GiveBack(l *coordinationv1.Lease, id string) bool {
	if id == "" || Holder(l) != id {
		return false
	}
	l.Spec.HolderIdentity = ptr.To("")
	return true
}

// Take makes the Lease the manager's, so that the agent can't renew it any more. unchanged is for how long the manager
// has seen this very version of the Lease. The write must be refused if it is no longer the current one.
func Take(l *coordinationv1.Lease, unchanged, duration time.Duration) bool {
	if !IsAgent(Holder(l)) || unchanged < LeaseDuration(l, duration) {
		return false
	}
	l.Spec.HolderIdentity = ptr.To(Taken)
	return true
}

// Revoke takes a Lease from session id although the agent renews it. The session ends at the agent's next renewal, or
// when it fences itself.
func Revoke(l *coordinationv1.Lease, id string) bool {
	if id == "" || Holder(l) != id {
		return false
	}
	l.Spec.HolderIdentity = ptr.To(Revoked)
	return true
}

// IsOver reports whether a session is over for good, so that nothing of it executes. l must have been read from the API
// server after the session's claim was: then another holder can only be a later one. nil is a Lease that does not
// exist. No agent can renew that, nor one that was made anew and has never been held. unchanged is for how long the
// Lease was seen as it is.
func IsOver(l *coordinationv1.Lease, s Session, unchanged, duration time.Duration) bool {
	switch {
	case !s.IsHeld():
		return false
	case l == nil || l.Spec.HolderIdentity == nil:
		return unchanged >= duration
	case Holder(l) == Revoked:
		return unchanged >= LeaseDuration(l, duration)
	default:
		return Holder(l) != s.ID
	}
}
