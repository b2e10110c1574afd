// SPDX-License-Identifier: Apache-2.0

package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// errNotMine is returned when an attempt was taken from the agent, so that its reports about it are void.
var errNotMine = errors.New("the attempt is no longer this agent's")

// reporter is the one place that writes the status of builds.
type reporter struct {
	client client.Client
	live   client.Reader // past the cache
	// held waits until the agent holds its Lease: without it, it reports nothing.
	held func(context.Context) error
	log  logr.Logger
}

// retryPauses are the pauses after errors of the API server that may pass.
var retryPauses = wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 7, Cap: 5 * time.Second}

// write changes a build's status with an optimistic lock, as often as it takes: until it is written, until permitted
// reports that the build, as it is by now, is no longer the agent's to write (errNotMine), or until ctx is done. It
// begins with the build as the caller knows it and returns it as written. change must be a function of the build
// alone.
func (r *reporter) write(
	ctx context.Context,
	b *v1alpha1.HLBBuild,
	permitted func(*v1alpha1.HLBBuild) bool,
	change func(*v1alpha1.HLBBuild),
) (written *v1alpha1.HLBBuild, err error) {
	again := false
	interrupted := retryPauses.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		for {
			if again {
				b = r.read(ctx, b)
			}
			again = true
			if err = r.held(ctx); err != nil {
				return true, nil
			}
			written, err = r.try(ctx, b, permitted, change)
			switch {
			case err == nil, errors.Is(err, errNotMine), apierrors.IsInvalid(err), apierrors.IsForbidden(err):
				return true, nil
			case apierrors.IsNotFound(err):
				err = errNotMine
				return true, nil
			case !apierrors.IsConflict(err):
				r.log.Error(err, "Failed to write a report, trying again", "HLBBuild", klog.KObj(b))
				return false, nil
			}
		}
	})
	if err = cmp.Or(err, interrupted); err == nil || errors.Is(err, errNotMine) {
		return written, err
	}
	return nil, fmt.Errorf("report on HLBBuild %s: %w", b.Name, err)
}

func (r *reporter) try(
	ctx context.Context,
	b *v1alpha1.HLBBuild,
	permitted func(*v1alpha1.HLBBuild) bool,
	change func(*v1alpha1.HLBBuild),
) (*v1alpha1.HLBBuild, error) {
	if !permitted(b) {
		return nil, errNotMine
	}
	after := b.DeepCopy()
	change(after)
	if equality.Semantic.DeepEqual(b.Status, after.Status) {
		return after, nil
	}
	err := r.client.Status().Patch(ctx, after, client.MergeFromWithOptions(b, client.MergeFromWithOptimisticLock{}))
	return after, err
}

// read returns the build as it is now, or as it was known when that can't be found out. A build that is gone comes back
// as one of nobody.
func (r *reporter) read(ctx context.Context, b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild {
	fresh := &v1alpha1.HLBBuild{}
	switch err := r.live.Get(ctx, client.ObjectKeyFromObject(b), fresh); {
	case err == nil:
		return fresh
	case apierrors.IsNotFound(err):
		gone := b.DeepCopy()
		gone.UID = ""
		return gone
	default:
		return b
	}
}
