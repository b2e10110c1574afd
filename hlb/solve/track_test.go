// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

func TestAStepWithoutInputsRanOnlyIfItsResultWasUsed(t *testing.T) {
	first, second, other := digest.FromString("first"), digest.FromString("second"), digest.FromString("other")
	now := time.Now()
	started := func(d digest.Digest, inputs ...digest.Digest) *client.Vertex {
		return &client.Vertex{Digest: d, Inputs: inputs, Started: &now, Completed: &now}
	}
	cached := func(d digest.Digest, inputs ...digest.Digest) *client.Vertex {
		return &client.Vertex{Digest: d, Inputs: inputs, Started: &now, Completed: &now, Cached: true}
	}
	cases := map[string]struct {
		seen    []*client.Vertex
		wantRan bool
	}{
		"it did not when all that is made from it was cached": {
			[]*client.Vertex{started(first), cached(second, first), cached(other, first)}, false,
		},
		"it did when something made from it ran": {
			[]*client.Vertex{started(first), cached(second, first), started(other, first)}, true,
		},
		"it did when it is the result":         {[]*client.Vertex{started(first)}, true},
		"the order of reports does not matter": {[]*client.Vertex{cached(second, first), started(first)}, false},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			track := newTracker(nil)
			track.see(&client.SolveStatus{Vertexes: tc.seen})
			if ran, _ := track.step(first); ran != tc.wantRan {
				t.Errorf("ran is %v, want %v", ran, tc.wantRan)
			}
		})
	}
}
