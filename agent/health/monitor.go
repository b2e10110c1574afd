// SPDX-License-Identifier: Apache-2.0

// Package health finds out whether a daemon that seems to serve really does: whether its volume takes writes, whether
// buildkitd solves, and, when no build progresses, whether it runs steps. One that does not gets no builds, those that
// it runs are given up, and buildkitd is restarted.
//
// Judge decides, from a snapshot of the checks. Monitor runs the checks and does what the verdict asks for.
package health

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/go-logr/logr"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// How often checks begin, and when one is given up and the next one begins. A step is only tried when builds run and
// none has progressed for silence.
const (
	diskEvery  = 5 * time.Second
	solveEvery = 8 * time.Second
	giveUp     = time.Minute
	silence    = time.Minute
	judgeEvery = time.Second
)

// stoppedAfter is how late a judgement must be for the process to have been stopped rather than to be slow.
const stoppedAfter = 5 * judgeEvery

// restartAgain is how long a restart has to help before it is asked for again.
const restartAgain = 3 * time.Minute

// outagesKept bounds the memory of outages.
const outagesKept = 16

// Daemon is the agent's buildkitd.
type Daemon interface {
	// CheckSolve has buildkitd solve one operation.
	CheckSolve(ctx context.Context) error
	// CheckStep has buildkitd run a step.
	CheckStep(ctx context.Context) error
}

// Builds are the attempts that the agent runs.
type Builds interface {
	// Hold has no more builds claimed, or again some.
	Hold(hold bool)
	// Lose ends all attempts as lost, with their cause.
	Lose(cause error)
	// Progressed returns how many attempts run, and when one of them last progressed.
	Progressed() (running int, last time.Time)
}

// Lease is the daemon's.
type Lease interface {
	// Withhold has the Lease not be renewed, or again be renewed.
	Withhold(withhold bool)
}

// Config is what a Monitor works with.
type Config struct {
	// StateDir is a directory on the daemon's volume.
	StateDir string
	// RestartFile is a file by which buildkitd's liveness probe fails, empty for none.
	RestartFile string
	Daemon      Daemon
	Builds      Builds
	Lease       Lease
	// Publish publishes a verdict that differs from the one before.
	Publish func(Verdict)
	Self    self.Self
	Client  client.Reader // reads from the cache
	Events  events.EventRecorder
	Limits  Limits
	Log     logr.Logger
	Now     func() time.Time
}

// Monitor is safe for concurrent use.
type Monitor struct {
	Config

	mu     sync.Mutex
	state  State
	judged time.Time // when the last verdict was made
	now    Verdict
	asked  time.Time // when a restart was last asked for
}

// New returns a monitor that takes the daemon for healthy.
func New(c Config) *Monitor { return &Monitor{Config: c} }

// Run checks and judges until ctx is done.
func (m *Monitor) Run(ctx context.Context) error {
	var all sync.WaitGroup
	for _, loop := range []func(context.Context){
		func(ctx context.Context) { m.repeat(ctx, diskEvery, &m.state.Disk, m.Limits.Out, m.writeFile) },
		func(ctx context.Context) {
			m.repeat(ctx, solveEvery, &m.state.Solve, m.Limits.Out, m.Daemon.CheckSolve)
		},
		m.stepLoop,
	} {
		all.Go(func() { loop(ctx) })
	}
	tick := time.NewTicker(judgeEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			all.Wait()
			return nil
		case <-tick.C:
			m.judge()
		}
	}
}

// repeat begins checks of a kind, one after the other.
func (m *Monitor) repeat(
	ctx context.Context, every time.Duration, c *Check, limit time.Duration, check func(context.Context) error,
) {
	for ctx.Err() == nil {
		m.check(ctx, c, limit, check)
		pause(ctx, every)
	}
}

// stepLoop tries a step when builds run and none progresses.
func (m *Monitor) stepLoop(ctx context.Context) {
	for ctx.Err() == nil {
		running, last := m.Builds.Progressed()
		m.mu.Lock()
		open := m.state.Step.Unanswered
		m.mu.Unlock()
		if open || running > 0 && m.Now().Sub(last) >= silence {
			m.check(ctx, &m.state.Step, m.Limits.StepLost, m.Daemon.CheckStep)
			pause(ctx, silence)
		}
		pause(ctx, judgeEvery)
	}
}

// check runs one check and records how it ended.
func (m *Monitor) check(ctx context.Context, c *Check, limit time.Duration, check func(context.Context) error) {
	m.mu.Lock()
	c.begin(m.Now())
	m.mu.Unlock()
	bounded, cancel := context.WithTimeout(ctx, giveUp)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- check(bounded) }()
	var err error
	select {
	case err = <-done:
	case <-bounded.Done():
		err = bounded.Err()
		defer func() { // the next check would only wait behind this one
			select {
			case <-done: //nolint:errcheck // it comes too late to be told
			case <-ctx.Done():
			}
		}()
	}
	if ctx.Err() != nil {
		return
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if now := m.Now(); err != nil && m.wasStopped(now) {
		c.Began = time.Time{} // it was this process that did not go on
	} else {
		c.end(err, limit, now)
	}
}

// wasStopped reports whether this process was stopped since the last judgement. m.mu is held.
func (m *Monitor) wasStopped(now time.Time) bool {
	return !m.judged.IsZero() && now.Sub(m.judged) > stoppedAfter
}

func pause(ctx context.Context, length time.Duration) {
	select {
	case <-time.After(length):
	case <-ctx.Done():
	}
}

// writeFile writes a small file on the volume and has the disk take it.
func (m *Monitor) writeFile(context.Context) error {
	f, err := os.OpenFile(filepath.Join(m.StateDir, "health"), os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.WriteString(m.Now().UTC().Format(time.RFC3339) + "\n")
	err = errors.Join(err, f.Sync(), f.Close())
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return nil // a full volume answers; DiskPressure is about it
	}
	return err
}

// judge makes a verdict and does what it asks for where it differs from the last one.
func (m *Monitor) judge() {
	m.mu.Lock()
	now := m.Now()
	if m.wasStopped(now) {
		m.state = Resumed(m.state, now.Sub(m.judged))
	}
	m.judged = now
	before, after := m.now, Judge(m.state, m.Limits, now)
	if isOutage(before) && !isOutage(after) {
		m.state.Outages = append(m.state.Outages, now)
		m.state.Outages = slices.Clone(m.state.Outages[max(len(m.state.Outages)-outagesKept, 0):])
		after = Judge(m.state, m.Limits, now)
	}
	m.now = after
	restart := after.Restart && now.Sub(m.asked) >= restartAgain
	if restart {
		m.asked = now
	}
	m.mu.Unlock()
	if before != after {
		m.act(before, after)
	}
	if restart || before.Restart && !after.Restart {
		if err := m.requestRestart(restart); err != nil {
			m.Log.Error(err, "Failed to ask for a restart of buildkitd, or to take that back")
		}
	}
}

// isOutage reports whether a verdict is of a daemon that is out for what it does, not to cool down.
func isOutage(v Verdict) bool { return !v.IsHealthy() && v.Reason != v1alpha1.ReasonCoolingDown }

// act does what a new verdict asks for.
func (m *Monitor) act(before, after Verdict) {
	m.Builds.Hold(!after.IsHealthy())
	m.Lease.Withhold(after.Lapse)
	m.Publish(after)
	if after.Lost && !before.Lost {
		m.Builds.Lose(errors.New(after.Message))
	}
	switch {
	case after.IsHealthy():
		m.Log.Info("The daemon is healthy again", "after", before.Reason)
		m.tell(corev1.EventTypeNormal, v1alpha1.ReasonDaemonServing, "The daemon takes builds again")
	case after.Reason != before.Reason || after.Lost != before.Lost:
		m.Log.Info("The daemon gets no builds", "reason", after.Reason, "message", after.Message, "lost", after.Lost)
		note := after.Message
		if after.Restart {
			note += "; buildkitd is restarted"
		}
		m.tell(corev1.EventTypeWarning, after.Reason, note)
	}
}

// tell sends an event about the BuildDaemon.
func (m *Monitor) tell(eventType, reason, note string) {
	if bd, err := m.Self.BuildDaemon(context.Background(), m.Client); err == nil {
		m.Events.Eventf(bd, nil, eventType, reason, "CheckHealth", "%s", note)
	}
}

// requestRestart makes or removes the file by which buildkitd's liveness probe fails.
func (m *Monitor) requestRestart(restart bool) error {
	if m.RestartFile == "" {
		return nil
	}
	if !restart {
		if err := os.Remove(m.RestartFile); err != nil && !errors.Is(err, os.ErrNotExist) {
			return fmt.Errorf("take the request back: %w", err)
		}
		return nil
	}
	return os.WriteFile(m.RestartFile, nil, 0o600)
}
