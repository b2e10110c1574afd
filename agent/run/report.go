// SPDX-License-Identifier: Apache-2.0

package run

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/klog/v2"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/write"
)

// errNotMine is returned when an attempt was taken from the agent, so that its reports about it are void.
var errNotMine = errors.New("the attempt is no longer this agent's")

// reporter is the one place that writes the status of builds.
type reporter struct {
	writer *write.Writer
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
) (*v1alpha1.HLBBuild, error) {
	var done write.Attempt[*v1alpha1.HLBBuild]
	var err error
	interrupted := retryPauses.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		if err = r.held(ctx); err != nil {
			return true, nil
		}
		done, err = write.Reread(ctx, r.writer, b, permitted, change)
		if err == nil || apierrors.IsInvalid(err) || apierrors.IsForbidden(err) {
			return true, nil
		}
		r.log.Error(err, "Failed to write a report, trying again", "HLBBuild", klog.KObj(b))
		return false, nil
	})
	switch err = cmp.Or(err, interrupted); {
	case err != nil:
		return nil, fmt.Errorf("report on HLBBuild %s: %w", b.Name, err)
	case done.Outcome == write.Gone, done.Outcome == write.NotMine:
		return nil, errNotMine
	}
	return done.After, nil
}
