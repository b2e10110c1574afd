// SPDX-License-Identifier: Apache-2.0

package agent

import (
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

// errNotMine says that an attempt was taken from the agent, so that what it has to say about it is void.
var errNotMine = errors.New("the attempt is no longer this agent's")

// reporter is the one place that writes the status of builds.
type reporter struct {
	writer *write.Writer
	// held waits until the agent holds its Lease: without it, it reports nothing.
	held func(context.Context) error
	log  logr.Logger
}

// write changes a build's status with an optimistic lock, as often as it takes: until it is written, until permitted
// says that the build, as it is by now, is no longer the agent's to write (errNotMine), or until ctx is done. It
// begins with the build as the caller knows it and returns it as written. change must be a function of the build
// alone.
func (r *reporter) write(
	ctx context.Context,
	b *v1alpha1.HLBBuild,
	permitted func(*v1alpha1.HLBBuild) bool,
	change func(*v1alpha1.HLBBuild),
) (*v1alpha1.HLBBuild, error) {
	pause := wait.Backoff{Duration: 100 * time.Millisecond, Factor: 2, Jitter: 0.2, Steps: 7, Cap: 5 * time.Second}
	for {
		if err := r.held(ctx); err != nil {
			return nil, fmt.Errorf("report on HLBBuild %s: %w", b.Name, err)
		}
		done, err := write.Reread(ctx, r.writer, b, permitted, change)
		switch {
		case err == nil && (done.Outcome == write.Gone || done.Outcome == write.NotMine):
			return nil, errNotMine
		case err == nil:
			return done.After, nil
		case apierrors.IsInvalid(err), apierrors.IsForbidden(err):
			return nil, fmt.Errorf("report on HLBBuild %s: %w", b.Name, err)
		}
		r.log.Info("Could not write a report; trying again", "HLBBuild", klog.KObj(b), "reason", err.Error())
		if !sleep(ctx, pause.Step()) {
			return nil, fmt.Errorf("report on HLBBuild %s: %w", b.Name, err)
		}
	}
}

// sleep waits for d, false when ctx was done first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}
