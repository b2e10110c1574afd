// SPDX-License-Identifier: Apache-2.0

// Package write is the one way in which the manager and the agents write objects: patches with an optimistic lock and a
// named conflict policy, server-side apply only where something differs, and events derived from what a write changed.
package write

import (
	"context"
	"fmt"
	"reflect"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fieldOwner is the name of manager and agents in managedFields. It is one name: a status that both write would hold a
// list of fields for each of two, which is as large as the status itself, and of no use to anybody.
const fieldOwner = "hlb-operator"

// Writer writes objects and sends the events of what it wrote. It is safe for concurrent use.
type Writer struct {
	// Client reads from a cache, if it has one.
	Client client.Client
	// Live reads past the cache. Nil means that Client has no cache.
	Live client.Reader
	// Events receives the events; nil sends none.
	Events events.EventRecorder
}

// Outcome is what came of a write.
type Outcome int

const (
	// Unchanged: there was nothing to write.
	Unchanged Outcome = iota
	// Written: the object on the server is the one that the caller holds.
	Written
	// Conflict: the object changed since it was read; nothing was written.
	Conflict
	// Gone: the object no longer exists.
	Gone
	// NotMine: the object, as it is by now, is no longer the caller's to write. Only Reread returns it.
	NotMine
)

// Policy says what a conflict means to the caller. That the object is gone is an error under none of them: nobody is
// left to be told. Function Reread is the third policy.
type Policy int

const (
	// Yield: whoever was faster has changed what the decision was based on. Their change wakes the caller, who decides
	// anew. For writes to the object that the caller reconciles, and for decisions that are made in rounds anyway.
	Yield Policy = iota
	// Retry: the write must still happen, and no event that the caller watches is certain to follow. The conflict is
	// returned as an error, so that the work queue tries the whole pass again with back-off.
	Retry
)

// Patch writes what differs between before and after outside of their status. after must be a changed copy of before,
// and is brought up to date when it was written.
func (w *Writer) Patch(ctx context.Context, before, after client.Object, policy Policy) (Outcome, error) {
	return w.patch(before, after, policy, func(p client.Patch) error {
		return w.Client.Patch(ctx, after, p, client.FieldOwner(fieldOwner))
	})
}

// PatchStatus is Patch for the status, which alone may differ.
func (w *Writer) PatchStatus(ctx context.Context, before, after client.Object, policy Policy) (Outcome, error) {
	return w.patch(before, after, policy, func(p client.Patch) error {
		return w.Client.Status().Patch(ctx, after, p, client.FieldOwner(fieldOwner))
	})
}

func (w *Writer) patch(
	before, after client.Object,
	policy Policy,
	send func(client.Patch) error,
) (Outcome, error) {
	if equality.Semantic.DeepEqual(before, after) {
		return Unchanged, nil
	}
	err := send(client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{}))
	switch {
	case err == nil:
		Send(w.Events, Changed(before, after)...)
		return Written, nil
	case apierrors.IsNotFound(err):
		return Gone, nil
	case apierrors.IsConflict(err) && policy == Yield:
		return Conflict, nil
	case apierrors.IsConflict(err):
		return Conflict, err
	default:
		return Unchanged, err
	}
}

// Attempt is how a call of Reread ended.
type Attempt[T client.Object] struct {
	Outcome Outcome
	// Before is the object as it was last read, After as it was written; only set when Outcome is Written or Unchanged.
	Before, After T
}

// Reread changes an object's status and does not yield: after a conflict it reads the object past the cache and applies
// change again, until that is written or mine reports that the object, as it is by now, is no longer the caller's to
// write. It is the policy of reports that nobody else can make, such as an agent's about its builds.
//
// It begins with the object as the caller knows it, which it does not change. change must depend on the object alone.
// An error other than a conflict ends it, and so do maxConflicts in a row: the caller decides whether to come again.
func Reread[T client.Object](
	ctx context.Context,
	w *Writer,
	known T,
	mine func(T) bool,
	change func(T),
) (Attempt[T], error) {
	before := known
	for tries := 1; ; tries++ {
		if !mine(before) {
			return Attempt[T]{Outcome: NotMine}, nil
		}
		after := before.DeepCopyObject().(T)
		change(after)
		outcome, err := w.PatchStatus(ctx, before, after, Yield)
		if err != nil {
			return Attempt[T]{}, err
		}
		switch outcome {
		case Written, Unchanged:
			return Attempt[T]{Outcome: outcome, Before: before, After: after}, nil
		case Gone:
			return Attempt[T]{Outcome: Gone}, nil
		}
		if tries == maxConflicts {
			return Attempt[T]{}, fmt.Errorf("write %s: it changed in each of %d tries", known.GetName(), tries)
		}
		fresh := newLike(known)
		err = w.live().Get(ctx, client.ObjectKeyFromObject(known), fresh)
		if apierrors.IsNotFound(err) {
			return Attempt[T]{Outcome: Gone}, nil
		}
		if err != nil {
			return Attempt[T]{}, fmt.Errorf("read %s again: %w", known.GetName(), err)
		}
		before = fresh
	}
}

// maxConflicts is after how many conflicts in a row a writer had better wait. Objects that change as fast are rare, and
// an API server that refuses everything has enough to do.
const maxConflicts = 5

// newLike makes an empty object of the same type.
func newLike[T client.Object](o T) T { return reflect.New(reflect.TypeOf(o).Elem()).Interface().(T) }

func (w *Writer) live() client.Reader {
	if w.Live != nil {
		return w.Live
	}
	return w.Client
}
