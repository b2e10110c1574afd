// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"
)

func TestTracker(t *testing.T) {
	now := time.Now()
	in := []digest.Digest{"sha256:in"}
	started := func(inputs []digest.Digest, cached, done bool) *client.Vertex {
		v := &client.Vertex{Digest: "sha256:v", Name: "step", Inputs: inputs, Started: &now, Cached: cached}
		if done {
			v.Completed = &now
		}
		return v
	}
	waiting := &client.Vertex{Digest: "sha256:v", Name: "step", Inputs: in}
	for name, tc := range map[string]struct {
		events      []*client.Vertex
		ran, cached bool
	}{
		"a step that waits has done nothing":                {[]*client.Vertex{waiting}, false, false},
		"a step that runs":                                  {[]*client.Vertex{waiting, started(in, false, false), started(in, false, true)}, true, false},
		"a cached step":                                     {[]*client.Vertex{waiting, started(in, true, true)}, false, true},
		"a cached step whose layers are fetched":            {[]*client.Vertex{started(in, true, false), started(nil, false, false), started(nil, false, true), started(in, true, true)}, false, true},
		"a step that ran and is found by another solve":     {[]*client.Vertex{started(in, false, true), started(in, true, true)}, true, false},
		"a cached step that runs again for another output":  {[]*client.Vertex{started(in, true, true), started(in, false, true)}, true, false},
		"a step without inputs that runs":                   {[]*client.Vertex{started(nil, false, true)}, true, false},
		"a cached step without inputs with layers to fetch": {[]*client.Vertex{started(nil, true, false), started(nil, false, true)}, false, true},
	} {
		t.Run(name, func(t *testing.T) {
			tr := newTracker(nil)
			for _, v := range tc.events {
				tr.see(&client.SolveStatus{Vertexes: []*client.Vertex{v}})
			}
			if ran, cached := tr.step("sha256:v"); ran != tc.ran || cached != tc.cached {
				t.Errorf("ran %t, cached %t", ran, cached)
			}
		})
	}
}

func TestTheTailOfALogIsBounded(t *testing.T) {
	tr := newTracker(nil)
	for range 1000 {
		tr.see(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: "v", Data: []byte("a line of output\n")}}})
	}
	tr.see(&client.SolveStatus{Logs: []*client.VertexLog{{Vertex: "v", Data: []byte("the end\n")}}})
	got := tr.logTail("v")
	if len(got) > logTailBytes || !strings.HasPrefix(got, "a line") || !strings.HasSuffix(got, "\nthe end\n") {
		t.Errorf("%d bytes: %q…", len(got), got[:20])
	}
}
