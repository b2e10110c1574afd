// SPDX-License-Identifier: Apache-2.0

package request

import (
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
)

// ScopesText renders the cache contexts of a solve for people and for tests, a line each and one for each cache. Lines
// begin with "#", so they stand apart from the ops of Text. A section or layout that is part of the solve's definition
// is named by the number of its result there, else its own definition follows.
func (s *Solve) ScopesText() string {
	var b strings.Builder
	for _, scope := range s.Scopes {
		fmt.Fprintf(&b, "# cacheContext at %s of %s\n", scope.Span, s.part(scope.Section))
		for _, imp := range scope.Imports {
			if imp.Layout != nil {
				fmt.Fprintf(&b, "#   import the layout in %s\n", s.part(imp.Layout))
				continue
			}
			fmt.Fprintf(&b, "#   import %s%s\n", imp.Entry.Type, attrs(imp.Entry.Attrs))
		}
		for _, e := range scope.Exports {
			fmt.Fprintf(&b, "#   export %s%s\n", e.Type, attrs(e.Attrs))
		}
	}
	return b.String()
}

// part names what a solve that belongs to s builds.
func (s *Solve) part(p *Solve) string {
	head := p.Head()
	if head == "" {
		return "scratch"
	}
	for i, op := range s.Definition.Def {
		if digest.FromBytes(op) == head {
			return fmt.Sprintf("%%%d", i+1)
		}
	}
	text := strings.TrimSuffix(Text(p.Definition), "\n")
	return "its own definition\n#     " + strings.ReplaceAll(text, "\n", "\n#     ")
}

// Head returns the digest of the op that the filesystem is the result of, "" for an empty filesystem.
func (s *Solve) Head() digest.Digest {
	if s.Empty() {
		return ""
	}
	head, err := s.Definition.Head()
	if err != nil {
		return "" // not a definition that llb marshalled
	}
	return head
}
