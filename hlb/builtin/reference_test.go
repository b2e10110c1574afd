// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"flag"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hlb/ast"
)

var update = flag.Bool("update", false, "write the reference of builtins into docs")

const referenceFile = "../../docs/hlb/builtins.md"

func TestEveryBuiltinIsDocumented(t *testing.T) {
	known := map[key]bool{}
	for _, f := range all {
		known[key{f.Kind, f.Name}] = true
		if doc := f.Doc(); !strings.HasSuffix(doc, ".") {
			t.Errorf("%s: documented as %q, want sentences", f.Signature(), doc)
		}
	}
	for k := range docOf {
		if !known[k] {
			t.Errorf("there is no %s %s to document", k.kind, k.name)
		}
	}
}

// TestEveryBuiltinHasAnExample: it uses the builtin and all of its options. That it compiles is tested with the
// documentation.
func TestEveryBuiltinHasAnExample(t *testing.T) {
	left := map[key]bool{}
	for k := range exampleOf {
		left[k] = true
	}
	for _, f := range all {
		options := optionsOf(f)
		if f.Kind.Primary() == ast.Option && len(options) == 0 {
			continue
		}
		delete(left, key{f.Kind, f.Name})
		for _, used := range append(options, f) {
			if !regexp.MustCompile(`\b` + used.Name + `\b`).MatchString(f.Example()) {
				t.Errorf("the example of %s lacks %s", f.Signature(), used.Name)
			}
		}
	}
	for k := range left {
		t.Errorf("there is no %s %s to give an example of", k.kind, k.name)
	}
}

func TestReferenceIsUpToDate(t *testing.T) {
	want := Reference()
	for _, f := range all {
		if !strings.Contains(want, f.Doc()) {
			t.Errorf("the reference lacks %s", f.Signature())
		}
	}
	if *update {
		if err := os.WriteFile(referenceFile, []byte(want), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	got, err := os.ReadFile(referenceFile)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, string(got)); diff != "" {
		t.Errorf("run `go test ./hlb/builtin -update` (-want +got):\n%s", diff)
	}
}
