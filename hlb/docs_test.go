// SPDX-License-Identifier: Apache-2.0

package hlb_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
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

// TestTestsOfTheDocs: a test that the documentation calls a proof exists.
func TestTestsOfTheDocs(t *testing.T) {
	tests := map[string]bool{}
	declared := regexp.MustCompile(`(?m)^func (Test\w+)\(`)
	err := filepath.WalkDir("..", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || !strings.HasSuffix(path, "_test.go") {
			return err
		}
		text, err := os.ReadFile(path)
		for _, m := range declared.FindAllSubmatch(text, -1) {
			tests[string(m[1])] = true
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile("../docs/hlb/caching.md")
	if err != nil {
		t.Fatal(err)
	}
	named := regexp.MustCompile("`(Test\\w+)`").FindAllSubmatch(text, -1)
	if len(named) == 0 {
		t.Error("no test is named")
	}
	for _, m := range named {
		if !tests[string(m[1])] {
			t.Errorf("there is no test %s", m[1])
		}
	}
}
