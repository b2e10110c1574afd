// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

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
}

// tryTimeout bounds one request with what it takes to try it again after conflicts.
const tryTimeout = 5 * time.Second

// retryPauses are the pauses after errors. Any error of the API server may pass: also that it forbids what it permitted
// before, as it does while it starts, and that admission refuses it.
var retryPauses = wait.Backoff{
	Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 9, Cap: 30 * time.Second,
}

// try changes a build's status with an optimistic lock, unless permitted reports that the build, as it is by now, is no
// longer the agent's to write (errNotMine). It begins with the build as the caller knows it and returns it as written.
// change must depend on the build alone.
func (r *reporter) try(
	ctx context.Context,
	b *v1alpha1.HLBBuild,
	permitted func(*v1alpha1.HLBBuild) bool,
	change func(*v1alpha1.HLBBuild),
) (*v1alpha1.HLBBuild, error) {
	if err := r.held(ctx); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, tryTimeout)
	defer cancel()
	done, err := write.Reread(ctx, r.writer, b, permitted, change)
	switch {
	case err != nil:
		return nil, fmt.Errorf("report on HLBBuild %s: %w", b.Name, err)
	case done.Outcome == write.Gone, done.Outcome == write.NotMine:
		return nil, errNotMine
	}
	return done.After, nil
}

// write is try, again and again until ctx is done. The error is the last one then.
func (r *reporter) write(
	ctx context.Context,
	b *v1alpha1.HLBBuild,
	permitted func(*v1alpha1.HLBBuild) bool,
	change func(*v1alpha1.HLBBuild),
) (written *v1alpha1.HLBBuild, err error) {
	interrupted := retryPauses.DelayFunc().Until(ctx, true, true, func(ctx context.Context) (bool, error) {
		written, err = r.try(ctx, b, permitted, change)
		return err == nil || errors.Is(err, errNotMine), nil
	})
	if err == nil && written == nil {
		err = interrupted // before the first try
	}
	return written, err
}
