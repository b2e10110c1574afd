// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"strings"
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"

	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// A program with several outputs is solved in one job: its steps run once, whatever number of outputs they have.
func TestOneJobRunsASharedStepOnce(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	step := w.sh("echo x >> /c/times; echo out > /out/f", mount("a", llb.CacheMountShared), salt())
	out := step.AddMount("/out", llb.Scratch())
	job := func(ctx context.Context, c gateway.Client) (*gateway.Result, error) {
		var last *gateway.Result
		for _, state := range []llb.State{step.Root(), out} {
			definition, err := state.Marshal(ctx)
			if err != nil {
				return nil, err
			}
			if last, err = c.Solve(ctx,
				gateway.SolveRequest{Definition: definition.ToPB(), Evaluate: true}); err != nil {
				return nil, err
			}
		}
		return last, nil
	}
	if _, err := w.client.Build(t.Context(), client.SolveOpt{}, "", job, nil); err != nil {
		t.Fatal(err)
	}
	if got := w.show("a"); got != "times: x" {
		t.Errorf("the mount holds %q, want the mark of one run", got)
	}
}

func TestPushGivesADigestThatTheRegistryServes(t *testing.T) {
	w := newWorld(t, buildkittest.Options{})
	definition, err := w.sh("echo out > /f").Root().Marshal(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	opt := client.SolveOpt{}
	pushed(w.registry.Ref("app:1"))(&opt)
	response, err := w.client.Solve(t.Context(), definition, opt, nil)
	if err != nil {
		t.Fatal(err)
	}
	digest := response.ExporterResponse["containerimage.digest"]
	if !strings.HasPrefix(digest, "sha256:") {
		t.Fatalf("digest is %q", digest)
	}
	other := w.fresh(buildkittest.Options{})
	out := other.must(llb.Image(w.registry.Ref("app@" + digest)).Run(llb.Shlex("/bin/cat /f")).Root())
	if out.log != "out\n" {
		t.Errorf("the pushed image holds %q, want what the step wrote", out.log)
	}
}
