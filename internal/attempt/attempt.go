// SPDX-License-Identifier: Apache-2.0

// Package attempt is the protocol by which the manager and the agents share runs: who may change what of a build's run,
// and of the Lease under which an agent executes attempts. docs/spec/protocol.md has the same in words.
//
// Each transition is a pure function over one object. It checks its precondition, changes the object in memory, and
// reports whether it did. The caller writes the object with an optimistic lock, so the precondition holds at the
// moment of the write too. Package model explores what can come of it.
package attempt

import (
	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// ID names one attempt of one build.
type ID struct {
	UID     types.UID `json:"uid"`
	Run     string    `json:"run"`
	Attempt int32     `json:"attempt"`
}

// Of returns the current attempt of a build that has a run.
func Of(b *v1alpha1.HLBBuild) ID {
	return ID{UID: b.UID, Run: b.Status.Run.ID, Attempt: b.Status.Run.Attempt}
}

// Session is one unbroken holding of a daemon's Lease by one agent process. A later holding by the same process is
// another session. The zero value is no session.
type Session struct {
	// Daemon is the name of the BuildDaemon, which is also that of the Lease.
	Daemon types.NamespacedName `json:"daemon"`
	// ID is the Lease's holder: PODUID/RANDOM.
	ID string `json:"id"`
}

// IsHeld reports whether s is a session at all.
func (s Session) IsHeld() bool { return s.ID != "" }

// Claimed is an attempt together with the session that has claimed it.
type Claimed struct {
	ID
	Session Session `json:"session"`
}

// ClaimedAttempt returns the current attempt with the session that has claimed it. It is false while the run is not
// bound, or its attempt not claimed.
func ClaimedAttempt(b *v1alpha1.HLBBuild) (Claimed, bool) {
	if !status.IsBound(b) || b.Status.Run.StartedBy == "" {
		return Claimed{}, false
	}
	return Claimed{
		ID: Of(b), Session: Session{Daemon: b.DaemonName(), ID: b.Status.Run.StartedBy},
	}, true
}

// Executing returns the session that may be executing an attempt of the build: that of the claimed attempt, or that of
// one which is being released. It is false if nothing can be executing.
func Executing(b *v1alpha1.HLBBuild) (Session, bool) {
	if r := b.Status.Releasing; r != nil {
		return Session{Daemon: b.DaemonName(), ID: r.StartedBy}, true
	}
	c, ok := ClaimedAttempt(b)
	return c.Session, ok
}
