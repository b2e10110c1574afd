// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"context"
	"errors"

	"github.com/moby/buildkit/client/llb"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/request"
)

// budget is what a compile has used of its limits.
type budget struct {
	fuel       int
	vertices   int
	opBytes    int // of all ops made, about
	textBytes  int // of all strings made
	marshalled int // ops written out, in all definitions
	defBytes   int // of all definitions and image configs
	reqBytes   int // of the same, equal ops counted once
	// ops are the ops written out, so that definitions share the bytes of equal ones.
	ops map[digest.Digest][]byte
}

// burn takes one unit of fuel.
func (e *evaluator) burn(at diag.Span) error { return e.burnMany(1, at) }

// burnMany takes n units of fuel, for work on a list of n values.
func (e *evaluator) burnMany(n int, at diag.Span) error {
	before := e.fuel
	e.fuel += n
	if e.fuel > e.limits.Fuel {
		return diag.Errorf(LimitFuel, at, "the program takes more than %d evaluation steps", e.limits.Fuel).
			WithHint("functions that call others twice grow exponentially with each level")
	}
	if e.fuel/1024 != before/1024 {
		return e.timeout(at)
	}
	return nil
}

func (e *evaluator) timeout(at diag.Span) error {
	switch err := context.Cause(e.ctx); {
	case err == nil:
		return nil
	case errors.Is(err, errWall):
		return diag.Errorf(LimitTime, at, "compiling takes longer than %s", e.limits.Wall)
	default:
		return diag.Errorf(Cancelled, at, "compiling was cancelled: %v", err)
	}
}

// charge counts the bytes that an op will take.
func (e *evaluator) charge(size int, at diag.Span) error {
	e.opBytes += size
	if e.opBytes > e.limits.OpBytes {
		return diag.Errorf(LimitSize, at, "the build steps take more than %d bytes", e.limits.OpBytes).
			WithHint("long texts and environments count for each step that has them")
	}
	return nil
}

// chargeText counts the bytes of a string that was made. All strings are kept as long as the compile lasts: calls are
// remembered by their arguments.
func (e *evaluator) chargeText(size int, at diag.Span) error {
	e.textBytes += size
	if e.textBytes > e.limits.TextBytes {
		return diag.Errorf(LimitText, at, "the strings of the program take more than %d bytes in all",
			e.limits.TextBytes).
			WithHint("let a step of the build make long texts, as files")
	}
	return nil
}

// vertex counts one LLB vertex.
func (e *evaluator) vertex(at diag.Span) error {
	e.vertices++
	if e.vertices > e.limits.Vertices {
		return diag.Errorf(LimitVertices, at, "the program makes more than %d build steps", e.limits.Vertices)
	}
	return nil
}

// fits checks the size of a string.
func (e *evaluator) fits(size int, at diag.Span) error {
	if size > e.limits.StringBytes {
		return diag.Errorf(LimitString, at, "the text is longer than %d bytes", e.limits.StringBytes)
	}
	return nil
}

// stacked checks how many layers the result of an op lies on.
func (e *evaluator) stacked(layers int, at diag.Span) error {
	if layers > e.limits.Layers {
		return diag.Errorf(LimitLayers, at,
			"the step makes layer %d, and BuildKit can't mount more than %d on top of each other", layers,
			e.limits.Layers).
			WithHint("put several commands into one run, or copy the result onto scratch and go on from there")
	}
	return nil
}

// metadataBytes is about what a definition takes for an op besides the op itself: its name, its places.
const metadataBytes = 256

// chargeSolve counts a definition and its image config, and has the definition share its ops with earlier ones.
func (e *evaluator) chargeSolve(s *request.Solve, at diag.Span) error {
	size, added := len(s.ImageConfig), len(s.ImageConfig)
	for i, op := range s.Definition.Def {
		size += len(op) + metadataBytes
		id := digest.FromBytes(op)
		if same, known := e.ops[id]; known {
			s.Definition.Def[i] = same
		} else {
			e.ops[id] = op
			added += len(op) + metadataBytes
		}
	}
	size += sourceBytes(s.Definition)
	e.marshalled += len(s.Definition.Def)
	e.defBytes += size
	e.reqBytes += added
	switch most := 10 * e.limits.Vertices; {
	case e.marshalled > most:
		return diag.Errorf(LimitVertices, at,
			"the solves and exports of the program have more than %d build steps in all", most)
	case size > e.limits.SolveBytes:
		return diag.Errorf(LimitSize, at, "this takes %d bytes to describe, and BuildKit takes at most %d", size,
			e.limits.SolveBytes).
			WithHint("let a step of the build make long texts, or take them from the source")
	case e.reqBytes > e.limits.RequestBytes:
		return diag.Errorf(LimitSize, at, "the solves and exports of the program take more than %d bytes in all",
			e.limits.RequestBytes).
			WithHint("long texts count for each step that has them")
	case e.defBytes > e.limits.DefinitionBytes:
		return diag.Errorf(LimitSize, at, "the solves and exports of the program take more than %d bytes in all, "+
			"steps counted for each of them", e.limits.DefinitionBytes).
			WithHint("long texts count for each step that has them, and steps for each export")
	}
	return nil
}

// sourceBytes is the size of the modules' texts in a definition.
func sourceBytes(def *llb.Definition) int {
	size := 0
	if def.Source != nil {
		for _, info := range def.Source.Infos {
			size += len(info.Data)
		}
	}
	return size
}
