// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/pb"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

func TestExitCodeOfAFailingStep(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	out, err := w.solve(t.Context(), w.sh("echo why; exit 42").Root())
	var exit *gateway.ExitError
	if !errors.As(err, &exit) || exit.ExitCode != 42 {
		t.Errorf("error is %v, want an ExitError of code 42", err)
	}
	if out.log != "why\n" {
		t.Errorf("log is %q, want what the step printed", out.log)
	}
}

func TestDeadlineOfTheClientEndsTheSolve(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	w.must(w.sh("true").Root()) // the image is there, so that the time goes into the step
	ctx, cancel := context.WithTimeout(t.Context(), time.Second)
	defer cancel()
	_, err := w.solve(ctx, w.sh("sleep 600").Root())
	if !errors.Is(err, context.DeadlineExceeded) && status.Code(err) != codes.DeadlineExceeded {
		t.Errorf("error is %v, want DeadlineExceeded", err)
	}
}

func TestMissingImageIsNotFound(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	_, err := w.solve(t.Context(), llb.Image(w.registry.Ref("nothing:1")).Run(llb.Shlex("true")).Root())
	if err == nil || !strings.Contains(err.Error(), "not found") {
		t.Errorf("error is %v, want one that says not found", err)
	}
}
