// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/klog/v2"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
)

// deliver writes an end until it is written, void, or the agent's life is over, and returns the build as written; nil
// for none. If the first try fails, the end is kept on the volume and kept is called. known is the build as the caller
// knows it; nil reads it.
func (r *Runner) deliver(end report, known *v1alpha1.HLBBuild, kept func()) (written *v1alpha1.HLBBuild) {
	log := r.Log.WithValues("HLBBuild", klog.KRef(end.Build.Namespace, end.Build.Name), "run", end.Claimed.Run,
		"attempt", end.Claimed.Attempt)
	keep := func() {
		if err := r.Ends.keep(end); err != nil {
			log.Error(err, "Failed to keep the end of an attempt")
		}
		kept()
	}
	if _, session := r.Lease.Session(); !session.IsHeld() {
		keep() // it may take long
	}
	tries := 0
	err := retryPauses.DelayFunc().Until(r.life, true, true, func(ctx context.Context) (bool, error) {
		var err error
		if known == nil {
			known, err = r.readForEnd(ctx, end)
		}
		if err == nil {
			written, err = r.tryEnd(ctx, end, known)
		}
		if err == nil || errors.Is(err, errNotMine) {
			return true, nil
		}
		if tries++; tries == 1 {
			keep()
		}
		log.Error(err, "Failed to report the end of an attempt, trying again", "tries", tries)
		if apierrors.IsInvalid(err) && end.Details != nil {
			end.Details = nil
			keep()
		}
		return false, nil
	})
	if err != nil {
		log.Info("The end of an attempt is left to the daemon's next agent")
		return nil
	}
	if err := r.Ends.forget(end.Claimed); err != nil {
		log.Error(err, "Failed to forget the end of an attempt")
	}
	return written
}

// tryEnd writes an end once.
func (r *Runner) tryEnd(ctx context.Context, end report, known *v1alpha1.HLBBuild) (*v1alpha1.HLBBuild, error) {
	return r.reports.try(ctx, known, func(b *v1alpha1.HLBBuild) bool {
		return attempt.MayFinish(b, end.Claimed)
	}, func(b *v1alpha1.HLBBuild) {
		if end.Details != nil {
			end.Details.apply(b, end.End.At.Time)
		}
		attempt.Finish(b, end.Claimed, end.End)
	})
}

// readForEnd reads the build that an end is about.
func (r *Runner) readForEnd(ctx context.Context, end report) (*v1alpha1.HLBBuild, error) {
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	b := &v1alpha1.HLBBuild{}
	err := r.Live.Get(ctx, end.Build, b)
	if apierrors.IsNotFound(err) {
		return nil, errNotMine
	}
	if err != nil {
		return nil, fmt.Errorf("read HLBBuild %s: %w", end.Build.Name, err)
	}
	return b, nil
}

// DeliverKept writes the ends that the daemon's agents before this one have left. It returns at once.
func (r *Runner) DeliverKept(context.Context) error {
	for _, end := range r.Ends.all() {
		if end.Claimed.Session.Daemon != r.Self.DaemonName() { // the volume was another daemon's
			if err := r.Ends.forget(end.Claimed); err != nil {
				return fmt.Errorf("forget an end: %w", err)
			}
			continue
		}
		go r.deliver(end, nil, func() {})
	}
	return nil
}
