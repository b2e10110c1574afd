// SPDX-License-Identifier: Apache-2.0

package walls_test

import (
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"

	"github.com/openllb/hlb-operator/test/walls"
)

// TestPagesListTheFieldsOfTheirKind compares the first table of docs/spec pages with the spec of the CRDs.
func TestPagesListTheFieldsOfTheirKind(t *testing.T) {
	for page, plural := range map[string]string{"buildcache": "buildcaches", "hlbbuild": "hlbbuilds"} {
		t.Run(page, func(t *testing.T) {
			text := read(t, "docs/spec/"+page+".md")
			var kind crd
			if err := yaml.Unmarshal(read(t, "config/crd/bases/build.openllb.dev_"+plural+".yaml"), &kind); err != nil {
				t.Fatal(err)
			}
			spec := kind.Spec.Versions[0].Schema.OpenAPIV3Schema.Properties["spec"]
			want := map[string]bool{}
			fields(&spec, "", want)
			if diff := cmp.Diff(slices.Sorted(maps.Keys(want)),
				slices.Sorted(maps.Keys(listed(string(text))))); diff != "" {
				t.Errorf("fields of the page (-CRD +page):\n%s", diff)
			}
		})
	}
}

// crd is what the test reads of a CustomResourceDefinition.
type crd struct {
	Spec struct {
		Versions []struct {
			Schema struct {
				OpenAPIV3Schema schema `json:"openAPIV3Schema"`
			} `json:"schema"`
		} `json:"versions"`
	} `json:"spec"`
}

type schema struct {
	Properties map[string]schema `json:"properties"`
	Items      *schema           `json:"items"`
}

// fields collects the paths of a schema's leaves. The pod template is one leaf for each of its parts,
// a label selector is one.
func fields(s *schema, path string, into map[string]bool) {
	if s.Items != nil {
		s, path = s.Items, path+"[]"
	}
	if len(s.Properties) == 0 || strings.HasPrefix(path, "podTemplate.") || strings.HasSuffix(path, ".selector") {
		into[path] = true
		return
	}
	for name := range s.Properties {
		field := s.Properties[name]
		fields(&field, strings.TrimPrefix(path+"."+name, "."), into)
	}
}

// listed are the paths in the first column of a page's first table. A path that begins with a dot is beside the last
// whole one.
func listed(page string) map[string]bool {
	out := map[string]bool{}
	_, table, _ := strings.Cut(page, "|---|---|---|\n")
	table, _, _ = strings.Cut(table, "\n\n")
	for row := range strings.SplitSeq(table, "\n") {
		column, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " |")
		whole := ""
		for _, found := range regexp.MustCompile("`([^`]+)`").FindAllStringSubmatch(column, -1) {
			path := found[1]
			if strings.HasPrefix(path, ".") {
				path = beside(whole, path)
			} else {
				whole = path
			}
			out[path] = true
		}
	}
	return out
}

// beside puts a path that begins with a dot in place of the last name of whole.
func beside(whole, path string) string {
	parts := strings.Split(whole, ".")
	return strings.Join(parts[:len(parts)-1], ".") + path
}

// TestProseIsNarrow bounds the lines of documentation, tables and code apart.
func TestProseIsNarrow(t *testing.T) {
	root := checkout(t)
	var pages []string
	for _, pattern := range []string{"*.md", "docs/*.md", "docs/*/*.md", "hack/*.md"} {
		found, err := filepath.Glob(filepath.Join(root, pattern))
		if err != nil {
			t.Fatal(err)
		}
		pages = append(pages, found...)
	}
	if len(pages) < 10 {
		t.Errorf("only %d pages were found", len(pages))
	}
	for _, page := range pages {
		text, err := os.ReadFile(page)
		if err != nil {
			t.Fatal(err)
		}
		rel, _ := filepath.Rel(root, page)
		for _, finding := range walls.Prose(rel, string(text)) {
			t.Error(finding)
		}
	}
}

func TestProseFindsWhatIsTooWide(t *testing.T) {
	wide := strings.Repeat("x", 121)
	cases := map[string]struct {
		text string
		want []string
	}{
		"a line of 120 columns":          {wide[:120], nil},
		"a line of 121 columns":          {"\n" + wide, []string{"a.md:2: 121 columns, more than 120"}},
		"a wide row of a table":          {"| " + wide + " |", nil},
		"a wide line of code":            {"```sh\n" + wide + "\n```", nil},
		"a wide line after a code block": {"```\n```\n" + wide, []string{"a.md:3: 121 columns, more than 120"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, walls.Prose("a.md", tc.text)); diff != "" {
				t.Errorf("findings (-want +got):\n%s", diff)
			}
		})
	}
}

func read(t *testing.T, name string) []byte {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(checkout(t), name))
	if err != nil {
		t.Fatal(err)
	}
	return text
}
