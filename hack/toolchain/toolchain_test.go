// SPDX-License-Identifier: Apache-2.0

package toolchain

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestEverySetHasAVersion(t *testing.T) {
	root, err := Root()
	if err != nil {
		t.Fatal(err)
	}
	for _, set := range []Set{BuildKit, Runc, Registry, Containerd, CNI, Kubernetes} {
		version, err := Chain{Root: root}.version(set)
		if err != nil || !strings.HasPrefix(version, "-v") {
			t.Errorf("%s: version %q, %v", set.name, version, err)
		}
	}
}

func TestProgramIsBuiltAgainOnlyWhenItsSourceChanged(t *testing.T) {
	root := t.TempDir()
	write := func(name, text string) {
		t.Helper()
		path := filepath.Join(root, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("m/go.mod", "module example.com/m\n\ngo 1.25\n")
	write("m/hello/main.go", "package main\n\nfunc main() {}\n")
	var log strings.Builder
	chain := Chain{Root: root, Log: &log}
	set := Set{name: "hello", module: "m",
		programs: []program{
			{name: "hello", pkg: "./hello", sources: []string{"hello"}},
		}, links: map[string]string{"alias": "hello"}}
	built := func() int {
		t.Helper()
		log.Reset()
		dir, err := chain.Dir(t.Context(), set)
		if err != nil {
			t.Fatal(err)
		}
		for _, name := range []string{"hello", "alias"} {
			if _, err := os.Stat(filepath.Join(dir, name)); err != nil {
				t.Errorf("%s is not there", name)
			}
		}
		return strings.Count(log.String(), "building")
	}
	got := []int{built(), built()}
	write("m/hello/main.go", "package main\n\nfunc main() { println(1) }\n")
	got = append(got, built(), built())
	if diff := cmp.Diff([]int{1, 0, 1, 0}, got); diff != "" {
		t.Errorf("builds at the first request, again, after an edit, again (-want +got):\n%s", diff)
	}
	write("m/hello/main.go", "package main\n\nfunc main() { broken }\n")
	if _, err := chain.Dir(t.Context(), set); err == nil || !strings.Contains(err.Error(), "broken") {
		t.Errorf("error is %v, want the compiler's", err)
	}
}
