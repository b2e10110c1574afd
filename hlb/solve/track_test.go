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
	later := func(seconds int, v *client.Vertex) *client.Vertex {
		at := now.Add(time.Duration(seconds) * time.Second)
		v.Started = &at
		return v
	}
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
		"it did when it is the result": {[]*client.Vertex{started(first)}, true},
		"it did not when the result was cached": {
			[]*client.Vertex{started(first), later(1, started(first)), later(1, cached(first))}, false,
		},
		"it did not when the result was cached in two solves": {
			[]*client.Vertex{
				started(first), later(1, cached(first)), later(2, started(first)), later(3, cached(first)),
			}, false,
		},
		"it did when the result was made in one solve and cached in another": {
			[]*client.Vertex{
				started(first), later(1, started(first)), later(2, started(first)), later(3, cached(first)),
			}, true,
		},
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
