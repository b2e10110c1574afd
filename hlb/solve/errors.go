// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"errors"
	"fmt"

	gatewaypb "github.com/moby/buildkit/frontend/gateway/pb"
	"github.com/moby/buildkit/solver/errdefs"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/hlb/diag"
)

// StepError is the failure of one step of the program.
type StepError struct {
	// Digest is the step's vertex.
	Digest digest.Digest
	// Name is how the step is shown, such as the command of a run.
	Name string
	// ExitCode is the command's, or -1 when the step did not fail by an exit code.
	ExitCode int
	// Span is the call in the program; the zero Span when the step has none.
	Span diag.Span
	// Callers are the calls around it, innermost first.
	Callers []diag.Span
	// LogTail is the end of the step's output, at most 4 KiB.
	LogTail string
	// Err is the daemon's error.
	Err error
}

func (e *StepError) Error() string {
	where := ""
	if e.Span.File != "" {
		where = fmt.Sprintf("%s:%d:%d: ", e.Span.File, e.Span.Start.Line, e.Span.Start.Column)
	}
	if e.ExitCode >= 0 {
		return fmt.Sprintf("%sstep %s failed with exit code %d", where, e.Name, e.ExitCode)
	}
	return fmt.Sprintf("%sstep %s failed: %v", where, e.Name, e.Err)
}

// Unwrap returns the daemon's error.
func (e *StepError) Unwrap() error { return e.Err }

// explain turns an error that carries a vertex into a *StepError.
func (r *runner) explain(err error) error {
	var ve *errdefs.VertexError
	if err == nil || !errors.As(err, &ve) {
		return err
	}
	d := digest.Digest(ve.Digest)
	step := &StepError{Digest: d, Name: r.track.name(d), ExitCode: -1, LogTail: r.track.logTail(d), Err: err}
	if v, ok := r.req.Vertex(d); ok {
		step.Span, step.Callers = v.Span, v.Callers
		if v.Name != "" {
			step.Name = v.Name
		}
	}
	var exit *gatewaypb.ExitError
	if errors.As(err, &exit) {
		step.ExitCode = int(exit.ExitCode)
	}
	return step
}
