// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"testing"

	"github.com/moby/buildkit/client"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/hlb"
)

// TestStepsCantBeTakenForTheDaemonsOwn has a program give its steps the names of what the daemon does.
func TestStepsCantBeTakenForTheDaemonsOwn(t *testing.T) {
	t.Parallel()
	source := `fs default() { scratch; run "importing" "cache" "manifest" "from" "r/a:b"; run "pushing" "r/a:b" }`
	req, found := hlb.Compile(t.Context(), hlb.Program{Filename: "build.hlb", Source: []byte(source)},
		hlb.Options{Profile: hlb.ProfileServer})
	if found.HasErrors() {
		t.Fatal(found)
	}
	w := &watcher{request: req, importErrors: map[string]string{}}
	steps := 0
	for _, op := range req.Root.Leaves()[0].Solve.Definition.Def {
		id := digest.FromBytes(op)
		if step, ok := req.Vertex(id); ok {
			steps++
			w.see(&client.SolveStatus{Vertexes: []*client.Vertex{{Digest: id, Name: step.Name, Error: "it failed"}}})
		}
	}
	if steps != 2 || len(w.importErrors) > 0 || w.pushFailed {
		t.Errorf("%d steps are taken for an import (%v) or a push (%v)", steps, w.importErrors, w.pushFailed)
	}
	for _, name := range []string{"importing cache manifest from r/a:b", "pushing layers"} {
		own := &client.Vertex{Digest: digest.FromString(name), Name: name, Error: "no"}
		w.see(&client.SolveStatus{Vertexes: []*client.Vertex{own}})
	}
	if w.importErrors["r/a:b"] != "no" || !w.pushFailed {
		t.Errorf("the daemon's own are not seen: %v, %v", w.importErrors, w.pushFailed)
	}
}
