// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/hlb/lint"
	"github.com/openllb/hlb-operator/hlb/syntax"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

// block finds fenced blocks of a language in Markdown.
var block = regexp.MustCompile("(?ms)^```(yaml|hlb)\n(.*?)^```$")

// TestDocs applies every YAML block of the documentation and checks every HLB block.
func TestDocs(t *testing.T) {
	cluster := envtestkit.Get(t)
	pages := []string{filepath.Join(cluster.Root, "README.md")}
	for _, pattern := range []string{"docs/*.md", "docs/spec/*.md"} {
		found, err := filepath.Glob(filepath.Join(cluster.Root, pattern))
		if err != nil || len(found) == 0 {
			t.Fatalf("%s: %d pages, %v", pattern, len(found), err)
		}
		pages = append(pages, found...)
	}
	strict := client.WithFieldValidation(cluster.Client, "Strict")
	blocks := 0
	for _, page := range pages {
		t.Run(filepath.Base(page), func(t *testing.T) {
			text, err := os.ReadFile(page)
			if err != nil {
				t.Fatal(err)
			}
			ns := cluster.Namespace(t)
			for _, found := range block.FindAllStringSubmatch(string(text), -1) {
				blocks++
				if found[1] == "hlb" {
					if _, findings := lint.Program(filepath.Base(page), []byte(found[2]),
						syntax.Limits{}); findings.HasErrors() {
						t.Errorf("HLB block: %v\n%s", findings, found[2])
					}
					continue
				}
				for _, o := range decodeAll(t, []byte(found[2])) {
					o.SetNamespace(ns)
					if err := strict.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o),
						client.FieldOwner("docs")); err != nil {
						t.Errorf("YAML block: %v\n%s", err, found[2])
					}
					checkPrograms(t, o)
				}
			}
			for _, link := range regexp.MustCompile(`\]\(([^)#]+)\)`).FindAllStringSubmatch(string(text), -1) {
				if strings.Contains(link[1], "://") {
					continue
				}
				if _, err := os.Stat(filepath.Join(filepath.Dir(page), link[1])); err != nil {
					t.Errorf("dead link: %v", err)
				}
			}
		})
	}
	if blocks < 4 {
		t.Errorf("the documentation has %d YAML and HLB blocks; the pattern that finds them must be wrong", blocks)
	}
}
