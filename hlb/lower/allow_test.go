// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client/llb"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// TestWhatAProgramUsesIsAskedForOnce refuses what has "evil" in its name.
func TestWhatAProgramUsesIsAskedForOnce(t *testing.T) {
	cases := map[string]struct {
		body  string // of the target
		asked string
		at    string // of the refusal, empty for none
	}{
		"an image that may be used, once": {
			`image "a"; copy fs { image "a" } "/" "/x"`, "image docker.io/library/a:latest", "",
		},
		"an image":        {`image "evil/a"`, "image docker.io/evil/a:latest", "1:22"},
		"a repository":    {`git "https://evil.example.com/r" ""`, "git https://evil.example.com/r", "1:20"},
		"a file":          {`http "https://evil.example.com/f"`, "http https://evil.example.com/f", "1:21"},
		"a front end":     {`frontend "evil/f"`, "frontend docker.io/evil/f:latest", "1:25"},
		"a push":          {`scratch; dockerPush "evil/p"`, "push evil/p", "1:36"},
		"a manifest":      {`mkfile "/m" 0o644 string { manifest "evil/m" }`, "image docker.io/evil/m:latest", "1:52"},
		"a kind of cache": {`cacheContext scratch with option { from "s3" "a=b" }`, "cacheType s3", ""},
		"a cache": {
			`cacheContext scratch with option { toImage "evil/c" }`, "cache docker.io/evil/c:latest", "1:59",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var asked []string
			_, found := compile(t, "fs default() { "+tc.body+" }", Options{
				Profile: ProfileServer,
				Allow: func(use Use, what string) error {
					asked = append(asked, string(use)+" "+what)
					if strings.Contains(what, "evil") {
						return diag.Errorf(NotAllowed, diag.Span{}, "%s is evil", what).WithHint("be good")
					}
					return nil
				},
			})
			if diff := cmp.Diff([]string{tc.asked}, asked); diff != "" {
				t.Errorf("asked (-want +got):\n%s", diff)
			}
			if tc.at == "" {
				return
			}
			if len(found) != 1 || found[0].Code != NotAllowed || found[0].Hint != "be good" ||
				!strings.HasSuffix(found[0].Primary.String(), tc.at) {
				t.Errorf("got %v, want NOT-ALLOWED with the hint at %s", found, tc.at)
			}
		})
	}
}

// slow takes its time to build and to push.
type slow struct{ takes time.Duration }

func (s *slow) Solve(context.Context, gateway.SolveRequest) (*gateway.Result, error) {
	time.Sleep(s.takes)
	res := gateway.NewResult()
	res.SetRef(made{})
	return res, nil
}

func (s *slow) Push(context.Context, *request.Node) (digest.Digest, error) {
	time.Sleep(s.takes)
	return digest.FromString("pushed"), nil
}

// made is an empty filesystem.
type made struct{ gateway.Reference }

func (made) ToState() (llb.State, error) { return llb.Scratch(), nil }

func TestBuildsWhileCompilingTakeNothingOfItsTime(t *testing.T) {
	service := &slow{takes: 300 * time.Millisecond}
	const program = `fs default() { frontend "f"; dockerPush "r" as (digest d); mkfile "/d" 0o644 "${d}" }`
	_, found := compile(t, program, Options{
		Profile: ProfileServer, Solver: service, Pusher: service, Limits: Limits{Wall: 250 * time.Millisecond},
	})
	if found.HasErrors() {
		t.Errorf("got %v, want no limit of time", found)
	}
}
