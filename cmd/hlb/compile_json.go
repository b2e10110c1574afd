// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"io"

	"github.com/moby/buildkit/solver/pb"
	"github.com/opencontainers/go-digest"
	"google.golang.org/protobuf/encoding/protojson"

	"github.com/openllb/hlb-operator/hlb/request"
)

// opLine is one op as JSON.
type opLine struct {
	Solve    int             `json:"solve"` // number of the definition, from 1
	Digest   digest.Digest   `json:"digest"`
	Op       json.RawMessage `json:"op"`
	Metadata json.RawMessage `json:"metadata,omitempty"`
}

// writeOps prints the ops of all definitions in the order of the definitions, which is that of their inputs, and behind
// those of each its cache contexts.
func writeOps(w io.Writer, leaves []*request.Node) error {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	for i, n := range leaves {
		def := n.Solve.Definition.ToPB()
		for _, data := range def.Def {
			line, err := newOpLine(i+1, data, def.Metadata)
			if err != nil {
				return err
			}
			if err := enc.Encode(line); err != nil {
				return err
			}
		}
		for _, scope := range n.Solve.Scopes {
			if err := enc.Encode(scopeLine{Solve: i + 1, CacheContext: newScopeJSON(scope)}); err != nil {
				return err
			}
		}
	}
	return nil
}

// scopeLine is one cache context as JSON.
type scopeLine struct {
	Solve        int       `json:"solve"` // number of the definition, from 1
	CacheContext scopeJSON `json:"cacheContext"`
}

type scopeJSON struct {
	At      string        `json:"at"`                // file:line:column of the call
	Section digest.Digest `json:"section,omitempty"` // of the op it covers with all before it; absent for scratch
	Imports []cacheJSON   `json:"imports,omitempty"`
	Exports []cacheJSON   `json:"exports,omitempty"`
}

// cacheJSON is a place of a cache. Layout is the op whose result is served as the cache, for imports of filesystems.
type cacheJSON struct {
	Type   string            `json:"type,omitempty"`
	Attrs  map[string]string `json:"attrs,omitempty"`
	Layout digest.Digest     `json:"layout,omitempty"`
}

func newScopeJSON(s *request.Scope) scopeJSON {
	out := scopeJSON{At: s.Span.String(), Section: s.Section.Head()}
	for _, imp := range s.Imports {
		out.Imports = append(out.Imports, cacheJSON{imp.Entry.Type, imp.Entry.Attrs, imp.Layout.Head()})
	}
	for _, e := range s.Exports {
		out.Exports = append(out.Exports, cacheJSON{Type: e.Type, Attrs: e.Attrs})
	}
	return out
}

func newOpLine(solve int, data []byte, metadata map[string]*pb.OpMetadata) (opLine, error) {
	var op pb.Op
	if err := op.UnmarshalVT(data); err != nil {
		return opLine{}, err
	}
	// protojson varies its white space on purpose; a RawMessage is compacted when it is encoded.
	text, err := protojson.Marshal(&op)
	if err != nil {
		return opLine{}, err
	}
	line := opLine{Solve: solve, Digest: digest.FromBytes(data), Op: text}
	if m := metadata[line.Digest.String()]; m != nil && (len(m.Description) > 0 || len(m.Caps) > 0) {
		if line.Metadata, err = protojson.Marshal(m); err != nil {
			return opLine{}, err
		}
	}
	return line, nil
}
