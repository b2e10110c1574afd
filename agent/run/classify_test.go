// SPDX-License-Identifier: Apache-2.0

package run

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/solver/errdefs"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/openllb/hlb-operator/agent/compile"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/agent/lease"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/solve"
	"github.com/openllb/hlb-operator/internal/failure"
)

func at(line int) diag.Span {
	return diag.Span{File: "build.hlb", Start: diag.Position{Line: line, Column: 2},
		End: diag.Position{Line: line, Column: 5}}
}

func TestClassify(t *testing.T) {
	gone := status.Error(codes.Unavailable, "error reading from server: EOF")
	step := func(exit int, log string) error {
		return fmt.Errorf("solve: %w",
			&solve.StepError{Name: "make", ExitCode: exit, LogTail: log, Span: at(3), Err: errors.New("no")})
	}
	cases := map[string]struct {
		err, cause error
		full       bool
		want       string // the failure's or the loss's reason
	}{
		"no error is success": {nil, nil, false, ""},
		"success stands, though the deadline passed meanwhile": {nil, &deadlineError{time.Second}, false, ""},
		"a superseded build is not reported":                   {context.Canceled, errSuperseded, false, "silent"},
		"a fenced agent loses its attempts": {
			context.Canceled, lease.ErrFenced, false, "lost LeaseLost",
		},
		"draining that took too long loses them": {
			context.Canceled, errDrained, false, "lost DaemonDraining",
		},
		"the end of a BuildCache ends its builds": {
			context.Canceled, errCacheDeleted, false, "lost DaemonRemoved",
		},
		"a daemon that does not work loses them": {
			context.Canceled, &daemonError{errors.New("stuck")}, false, "lost DaemonLost",
		},
		"a build's own time ran out": {
			gone, &deadlineError{time.Second}, false, "DeadlineExceeded",
		},
		"a program with errors": {
			&daemon.CompileError{Diagnostics: diag.List{diag.Errorf("X", at(1), "wrong")}}, nil, false, "CompileFailed",
		},
		"a program over a limit of compiling": {
			&compile.LimitError{What: "too much memory"}, nil, false, "CompileLimitExceeded",
		},
		"a compiler that failed": {
			&compile.InternalError{Err: errors.New("no process")}, nil, false, "lost InternalError",
		},
		"a panic while building":       {&panicError{"nil"}, nil, false, "lost InternalError"},
		"a panic in another goroutine": {nil, &panicError{"nil"}, false, "lost InternalError"},
		"a missing Secret": {
			&inputs.Error{Reason: v1alpha1.ReasonSecretNotFound, Message: "none"}, nil, false, "missing SecretNotFound",
		},
		"a Secret with the wrong content": {
			&daemon.CredentialError{What: "no key"}, nil, false, "SourceFailed",
		},
		"a repository that can't be read": {
			&daemon.SourceError{What: "git", Err: errors.New("404")}, nil, false, "SourceFailed",
		},
		"a repository that the daemon's end kept from it": {
			&daemon.SourceError{What: "git", Err: gone}, nil, false, "lost DaemonLost",
		},
		"an entitlement that is not granted": {
			&solve.EntitlementError{Entitlement: "network.host"}, nil, false, "NotPermitted",
		},
		"a push that the BuildCache does not permit": {
			&daemon.PermissionError{What: "spec.outputs", Err: errors.New("no")}, nil, false, "NotPermitted",
		},
		"a Secret that it does not allow": {
			&inputs.Error{Reason: v1alpha1.ReasonSecretNotAllowed, Message: "no"}, nil, false,
			"missing SecretNotAllowed",
		},
		"a failing step": {step(2, "boom"), nil, false, "SolveFailed"},
		"a failing step that filled a file system of its own": {
			step(1, "No space left on device"), nil, false, "SolveFailed",
		},
		"a failing step on a full volume": {
			step(1, "cp: No space left on device"), nil, true, "lost DiskFull",
		},
		"a failing step on a full volume that says other words": {step(1, "syntax error"), nil, true, "SolveFailed"},
		"the daemon itself has no space": {
			errors.New("write /var/lib/buildkit/x: no space left on device"), nil, false, "lost DiskFull",
		},
		"the daemon is gone": {gone, nil, false, "lost DaemonLost"},
		"the daemon went away under the compiler": {
			&daemon.DisconnectedError{Message: "EOF"}, nil, false, "lost DaemonLost",
		},
		"the daemon ends and cancels its solves": {
			status.Error(codes.Canceled, "context canceled"), nil, false, "lost DaemonLost",
		},
		"what is unavailable to a step is no loss of the daemon": {
			errdefs.WrapVertex(status.Error(codes.Unavailable, "503"), "sha256:1"), nil, false, "SolveFailed"},
		"a registry that breaks a pull off": {
			&solve.StepError{Name: "image", ExitCode: -1, Err: errors.New("read tcp: connection reset by peer")}, nil,
			false, "lost RemoteUnavailable",
		},
		"a step that prints so": {
			&solve.StepError{Name: "curl", ExitCode: 56, Err: errors.New("connection reset by peer: exit code: 56")},
			nil, false, "SolveFailed",
		},
		"a registry that fails while compiling": {
			&daemon.RemoteError{Message: "503"}, nil, false, "lost RemoteUnavailable",
		},
		"a push that is refused": {&daemon.PushError{Err: errors.New("denied")}, nil, false, "ExportFailed"},
		"a push that the registry fails at": {
			&daemon.PushError{Err: errors.New(
				"unexpected status from PUT request to http://r/v2/: 500 Internal Server Error")}, nil, false,
			"lost RemoteUnavailable",
		},
		"a step without memory, by the kernel's count": {
			&solve.StepError{Name: "make", ExitCode: 137, Err: errors.New(
				`process "make" did not complete successfully: cannot allocate memory`)}, nil, false,
			"lost OutOfMemory",
		},
		"a step that says it has no memory": {step(137, "cannot allocate memory"), nil, false, "SolveFailed"},
		"an API that is down": {
			&apiError{errors.New("connection refused")}, nil, false, "lost APIUnavailable",
		},
		"anything else": {errors.New("odd"), nil, false, "SolveFailed"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			e := classify(tc.err, tc.cause, room{volumeFull: tc.full})
			got := ""
			switch {
			case e.silent:
				got = "silent"
			case e.lostReason != "":
				got = "lost " + e.lostReason
			case e.missing != nil:
				got = "missing " + e.missing.Reason
			case e.failure != nil:
				got = e.failure.Reason
			}
			if got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			checkClass(t, e)
		})
	}
}

// checkClass holds the kind of an end against the table of package failure.
func checkClass(t *testing.T, e ending) {
	t.Helper()
	want := map[string][]failure.Class{
		e.lostReason: {failure.Infrastructure, failure.Imposed},
	}
	if e.failure != nil {
		want[e.failure.Reason] = []failure.Class{failure.Program}
	}
	if e.missing != nil {
		want[e.missing.Reason] = []failure.Class{failure.Surroundings}
	}
	delete(want, "")
	for reason, classes := range want {
		if rule, known := failure.Rules[reason]; !known || !slices.Contains(classes, rule.Class) {
			t.Errorf("%s is of class %q, want one of %v", reason, rule.Class, classes)
		}
	}
}

func TestWhatThereWasIsSaid(t *testing.T) {
	killed := &solve.StepError{Name: "make", ExitCode: 137, Err: errors.New("exit code: 137")}
	noMemory := &solve.StepError{Name: "make", ExitCode: 2, Err: errors.New(
		`process "make" did not complete successfully: cannot allocate memory`)}
	has := room{volumeFull: true, volumeBytes: 20 << 30, memoryBytes: 512 << 20, stepBytes: 400 << 20}
	const there = "; a step may use 400 MiB (spec.buildkit.stepLimits of the BuildCache); buildkitd and all its " +
		"steps have 512 MiB together, its memory limit or that of the node"
	if got, want := classify(killed, nil, has).failure.Message, "Step make ended with exit code 137: it was killed, "+
		"which may be for want of memory"+there; got != want {
		t.Errorf("killed: %q, want %q", got, want)
	}
	limited := classify(noMemory, nil, has).failure
	want := "Step make ended with exit code 2: a process of it was killed for want of memory" + there
	if limited == nil || limited.Reason != v1alpha1.ReasonOutOfMemory || limited.Message != want {
		t.Errorf("over its own memory: %+v, want message %q", limited, want)
	}
	if f := classify(killed, nil, has).failure; f.Reason != v1alpha1.ReasonOutOfMemory {
		t.Errorf("killed with a limit of its own: reason %s", f.Reason)
	}
	shared := room{memoryBytes: 512 << 20}
	want = "step make was killed for want of memory; buildkitd and all its steps have 512 MiB together, its memory " +
		"limit or that of the node"
	if got := classify(noMemory, nil, shared).lostMessage; got != want {
		t.Errorf("without a limit of its own: %q, want %q", got, want)
	}
	full := errors.New("write: no space left on device")
	if got, want := classify(full, nil, has).lostMessage, "the daemon's volume of 20.0 GiB is full"; got != want {
		t.Errorf("on a full volume: %q, want %q", got, want)
	}
}

func TestAFailingStepSaysWhereAndHow(t *testing.T) {
	code := int32(7)
	want := &v1alpha1.FailureStatus{
		Reason: "SolveFailed", Message: "Step make ended with exit code 7", Step: "make", ExitCode: &code,
		LogTail: "boom\n",
		Source:  &v1alpha1.SourcePosition{File: "build.hlb", Line: 3, Column: 2},
	}
	got := classify(&solve.StepError{Name: "make", ExitCode: 7, LogTail: "boom\n", Span: at(3)}, nil, room{}).failure
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("failure (-want +got):\n%s", diff)
	}
}

func TestDiagnosticsAreListedUpToTheLimit(t *testing.T) {
	found := diag.List{diag.Warningf("W", at(1), "old form")}
	for i := range 20 {
		found = append(found, diag.Errorf("E", at(i+2), "error %d", i).WithHint("fix it"))
	}
	got := classify(&daemon.CompileError{Diagnostics: found}, nil, room{}).failure
	if got.Message != "error 0" || got.Source.Line != 2 || len(got.Diagnostics) != 16 {
		t.Errorf("message %q at %+v, %d diagnostics", got.Message, got.Source, len(got.Diagnostics))
	}
	want := v1alpha1.DiagnosticStatus{
		SourcePosition: v1alpha1.SourcePosition{
			File: "build.hlb", Line: 3, Column: 2,
		}, Code: "E", Message: "error 1", Hint: "fix it",
	}
	if diff := cmp.Diff(want, got.Diagnostics[1]); diff != "" {
		t.Errorf("second diagnostic (-want +got):\n%s", diff)
	}
}
