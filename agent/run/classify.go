// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/compile"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/agent/lease"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/solve"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/status"
)

// Causes with which the agent itself ends an attempt.
var (
	errSuperseded = errors.New("the attempt is no longer wanted")
	errDrained    = errors.New("the daemon shut down before the build was done")
	// errCacheDeleted: the build waits for a BuildCache of the name.
	errCacheDeleted = errors.New("the BuildCache was deleted before the build was done")
)

// deadlineError is the cause when a build's own time ran out.
type deadlineError struct {
	limit time.Duration
}

func (e *deadlineError) Error() string { return fmt.Sprintf("The build took longer than %s", e.limit) }

// daemonError is the cause when the daemon was found not to work.
type daemonError struct {
	err error
}

func (e *daemonError) Error() string { return e.err.Error() }

// apiError: the API server could not be asked for what a build names. Another attempt may succeed.
type apiError struct {
	err error
}

func (e *apiError) Error() string { return "can't read what the build names: " + e.err.Error() }

// panicError: the agent itself panicked while it was on the attempt. Another attempt may succeed.
type panicError struct {
	text string
}

func (e *panicError) Error() string { return "the agent failed while it was on the build: " + e.text }

// ending is how an attempt ended. The zero value is success; silent is set when it must not be reported.
type ending struct {
	silent bool
	// lost is set when infrastructure ended it, with a reason and a message.
	lostReason, lostMessage string
	// missing is set when something that the build names does not exist yet.
	missing *inputs.Error
	// failure is set when the build itself failed.
	failure *v1alpha1.FailureStatus
}

// end is how an attempt that is to be reported ended at a time.
func (e ending) end(now time.Time) attempt.End {
	end := attempt.End{Failure: e.failure, At: metav1.NewMicroTime(now)}
	if e.lostReason != "" {
		end.Lost = &attempt.Cause{Reason: e.lostReason, Message: e.lostMessage}
	}
	if e.missing != nil {
		end.Missing = &attempt.Cause{Reason: e.missing.Reason, Message: e.missing.Message}
	}
	return end
}

// room is what a daemon has for its steps.
type room struct {
	// volumeFull reports whether the volume has no room for a step; volumeBytes is its capacity.
	volumeFull  bool
	volumeBytes int64
	// memoryBytes is the memory of buildkitd with its steps, 0 for unknown; stepBytes is what a step may use of it, 0
	// for all.
	memoryBytes, stepBytes int64
}

// classify returns how an attempt ended, from the error of its build, the cause of its context's end (nil if it had not
// ended) and the room of the daemon. Package failure has what follows from each reason.
func classify(err, cause error, has room) ending {
	var deadline *deadlineError
	var crash *panicError
	var stuck *daemonError
	switch {
	case errors.As(cause, &crash):
		return lost(v1alpha1.ReasonInternalError, crash)
	case err == nil:
		return ending{}
	case errors.Is(cause, errSuperseded):
		return ending{silent: true}
	case errors.Is(cause, errDrained):
		return lost(v1alpha1.ReasonDaemonDraining, cause)
	case errors.Is(cause, errCacheDeleted):
		return lost(v1alpha1.ReasonDaemonRemoved, cause)
	case errors.Is(cause, lease.ErrFenced):
		return lost(v1alpha1.ReasonLeaseLost, cause)
	case errors.As(cause, &stuck):
		return lost(v1alpha1.ReasonDaemonLost, stuck)
	case errors.As(cause, &deadline):
		return failed(v1alpha1.ReasonDeadlineExceeded, deadline)
	case cause != nil && errors.Is(err, context.Canceled):
		return lost(v1alpha1.ReasonDaemonLost, cause)
	}
	return classifyBuild(err, has)
}

// classifyBuild is classify for an attempt that nobody cancelled.
func classifyBuild(err error, has room) ending {
	if e, ok := classifyRequest(err); ok {
		return e
	}
	return classifySolve(err, has)
}

// classifyRequest is classifyBuild for what went wrong before there was anything to solve, or was refused; ok is false
// for other errors.
func classifyRequest(err error) (e ending, ok bool) {
	var program *daemon.CompileError
	var credential *daemon.CredentialError
	var missing *inputs.Error
	var entitlement *solve.EntitlementError
	var permission *daemon.PermissionError
	var api *apiError
	var limit *compile.LimitError
	var internal *compile.InternalError
	var crash *panicError
	switch {
	case errors.As(err, &api):
		return lost(v1alpha1.ReasonAPIUnavailable, api), true
	case errors.As(err, &crash):
		return lost(v1alpha1.ReasonInternalError, crash), true
	case errors.As(err, &internal):
		return lost(v1alpha1.ReasonInternalError, internal), true
	case errors.As(err, &limit):
		return failed(v1alpha1.ReasonCompileLimitExceeded, limit), true
	case errors.As(err, &program):
		return ending{failure: compileFailure(program.Diagnostics)}, true
	case errors.As(err, &missing):
		return ending{missing: missing}, true
	case errors.As(err, &credential):
		return failed(v1alpha1.ReasonSourceFailed, credential), true
	case errors.As(err, &permission):
		return failed(v1alpha1.ReasonNotPermitted, permission), true
	case errors.As(err, &entitlement):
		return failed(v1alpha1.ReasonNotPermitted, entitlement), true
	}
	return ending{}, false
}

// classifySolve is classifyBuild for what went wrong while the daemon solved.
func classifySolve(err error, has room) ending {
	var step *solve.StepError
	var source *daemon.SourceError
	var push *daemon.PushError
	switch {
	case isDiskFull(err, has.volumeFull):
		return lost(v1alpha1.ReasonDiskFull, fmt.Errorf("the daemon's volume of %s is full", inUnits(has.volumeBytes)))
	case daemon.IsLost(err):
		return lost(v1alpha1.ReasonDaemonLost, err)
	case errors.As(err, &step) && has.stepBytes > 0 && (isOutOfMemory(step) || step.ExitCode == killedExitCode):
		return ending{failure: overLimit(step, has)}
	case errors.As(err, &step) && isOutOfMemory(step):
		return lost(v1alpha1.ReasonOutOfMemory, fmt.Errorf("step %s was killed for want of memory%s",
			step.Name, has.memoryText()))
	case daemon.IsRemoteTrouble(err):
		return lost(v1alpha1.ReasonRemoteUnavailable, err)
	case errors.As(err, &step):
		return ending{failure: stepFailure(step, has)}
	case errors.As(err, &source):
		return failed(v1alpha1.ReasonSourceFailed, source)
	case errors.As(err, &push):
		return failed(v1alpha1.ReasonExportFailed, push)
	default:
		return failed(v1alpha1.ReasonSolveFailed, err)
	}
}

func lost(reason string, err error) ending {
	return ending{lostReason: reason, lostMessage: err.Error()}
}

func failed(reason string, err error) ending {
	return ending{failure: &v1alpha1.FailureStatus{Reason: reason, Message: err.Error()}}
}

// isDiskFull tells a full volume of the daemon from a step that filled a small file system of its own: a step's words
// count only when the volume is indeed full.
func isDiskFull(err error, volumeFull bool) bool {
	var step *solve.StepError
	if errors.As(err, &step) && step.ExitCode >= 0 {
		return volumeFull && strings.Contains(strings.ToLower(step.LogTail), daemon.NoSpaceText)
	}
	return strings.Contains(err.Error(), daemon.NoSpaceText)
}

// outOfMemoryText is how BuildKit ends its message about a step in whose cgroup the kernel has killed a process for
// want of memory, by the cgroup's own count. It has that of cgroup v2 only.
const outOfMemoryText = "did not complete successfully: cannot allocate memory"

// isOutOfMemory reports whether the kernel killed a process of the step for want of memory. The shell that ran it may
// have made any exit code of that.
func isOutOfMemory(step *solve.StepError) bool {
	return step.ExitCode >= 0 && step.Err != nil && strings.HasSuffix(step.Err.Error(), outOfMemoryText)
}

// memoryText says how much memory there was, nothing if that is unknown.
func (r room) memoryText() (out string) {
	if r.stepBytes > 0 {
		out += fmt.Sprintf("; a step may use %s (spec.buildkit.stepLimits of the BuildCache)", inUnits(r.stepBytes))
	}
	if r.memoryBytes > 0 {
		out += fmt.Sprintf("; buildkitd and all its steps have %s together, its memory limit or that of the node",
			inUnits(r.memoryBytes))
	}
	return out
}

// inUnits is a number of bytes for people.
func inUnits(bytes int64) string {
	switch {
	case bytes >= 1<<30:
		return fmt.Sprintf("%.1f GiB", float64(bytes)/(1<<30))
	default:
		return fmt.Sprintf("%d MiB", bytes>>20)
	}
}

func compileFailure(found diag.List) *v1alpha1.FailureStatus {
	f := &v1alpha1.FailureStatus{Reason: v1alpha1.ReasonCompileFailed}
	for _, d := range found {
		if d.Severity != diag.Error {
			continue
		}
		if f.Message == "" {
			f.Message = d.Message
			f.Source = position(d.Primary)
		}
		if len(f.Diagnostics) == 16 { // the API's limit
			break
		}
		out := v1alpha1.DiagnosticStatus{
			Code:    string(d.Code),
			Message: status.Clip(d.Message, 1024),
			Hint:    status.Clip(d.Hint, 1024),
		}
		if at := position(d.Primary); at != nil {
			out.SourcePosition = *at
		}
		f.Diagnostics = append(f.Diagnostics, out)
	}
	return f
}

// killedExitCode is that of a process that was killed by SIGKILL.
const killedExitCode = 137

func stepFailure(step *solve.StepError, has room) *v1alpha1.FailureStatus {
	f := &v1alpha1.FailureStatus{
		Reason:  v1alpha1.ReasonSolveFailed,
		Step:    step.Name,
		Source:  position(step.Span),
		LogTail: step.LogTail,
	}
	if step.ExitCode >= 0 {
		code := int32(step.ExitCode)
		f.ExitCode = &code
		f.Message = fmt.Sprintf("Step %s ended with exit code %d", step.Name, code)
		if code == killedExitCode {
			f.Message += ": it was killed, which may be for want of memory" + has.memoryText()
		}
	} else {
		f.Message = fmt.Sprintf("Step %s failed: %s", step.Name, shortWords(fmt.Sprint(step.Err)))
	}
	return f
}

// overLimit is the failure of a step that took more memory than a step may have: no other daemon has more for it. A
// step that something else killed with the same signal looks alike where the kernel does not count.
func overLimit(step *solve.StepError, has room) *v1alpha1.FailureStatus {
	f := stepFailure(step, has)
	f.Reason = v1alpha1.ReasonOutOfMemory
	if step.ExitCode != killedExitCode {
		f.Message += ": a process of it was killed for want of memory" + has.memoryText()
	}
	return f
}

// longWord is the length from which a word of an error is no text but data, such as the options of a mount.
const longWord = 200

// shortWords cuts long words of an error.
func shortWords(s string) string {
	words := strings.Split(s, " ")
	for i, w := range words {
		words[i] = status.Clip(w, longWord)
	}
	return strings.Join(words, " ")
}

// position is where a span starts, nil for one that points nowhere.
func position(span diag.Span) *v1alpha1.SourcePosition {
	if !span.IsValid() {
		return nil
	}
	return &v1alpha1.SourcePosition{
		File:   status.Clip(span.File, 1024),
		Line:   int32(span.Start.Line),
		Column: int32(span.Start.Column),
	}
}
