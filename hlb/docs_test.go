// SPDX-License-Identifier: Apache-2.0

package hlb_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/openllb/hlb-operator/hlb"
)

// TestProgramsOfTheDocs: every program that the documentation shows compiles. Blocks without a body, the signatures of
// the reference, are no programs.
func TestProgramsOfTheDocs(t *testing.T) {
	pages, err := filepath.Glob("../docs/hlb/*.md")
	if err != nil || len(pages) == 0 {
		t.Fatal(pages, err)
	}
	for _, page := range append(pages, "../docs/hlb.md") {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		for n, block := range strings.Split(string(text), "\n```hlb\n")[1:] {
			src, _, _ := strings.Cut(block, "\n```")
			if !strings.Contains(src, "{") {
				continue
			}
			t.Run(fmt.Sprintf("%s %d", filepath.Base(page), n+1), func(t *testing.T) {
				prog := hlb.Program{Filename: "build.hlb", Source: []byte(src)}
				_, errs := hlb.Compile(t.Context(), prog, hlb.Options{})
				if len(errs) > 0 {
					t.Error(errs)
				}
			})
		}
	}
}
