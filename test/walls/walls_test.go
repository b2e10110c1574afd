// SPDX-License-Identifier: Apache-2.0

package walls_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"testing"

	"github.com/openllb/hlb-operator/hack/toolchain"
	"github.com/openllb/hlb-operator/test/walls"
)

func TestPackagesKeepToTheirWalls(t *testing.T) {
	packages := listPackages(t)
	if len(packages) < 30 {
		t.Errorf("only %d packages were listed", len(packages))
	}
	for _, v := range walls.Violations(packages) {
		t.Error(v)
	}
}

// TestWallsHold builds one breach of each rule, so that a rule that never speaks is noticed.
func TestWallsHold(t *testing.T) {
	const m = walls.Module
	cases := map[string]struct {
		pkg  string
		uses string
		want string
	}{
		"types import no client": {
			m + "/api/v1alpha1", "k8s.io/client-go/rest", "bring nothing along",
		},
		"types import no other module": {
			m + "/api/v1alpha1", "github.com/google/go-cmp/cmp", "bring nothing along",
		},
		"placement reads no API": {
			m + "/scheduler", "sigs.k8s.io/controller-runtime/pkg/client", "arithmetic",
		},
		"the simulator reads no API either": {m + "/scheduler/sim", "k8s.io/client-go/rest", "replayed"},
		"placement knows no controllers":    {m + "/scheduler", m + "/controllers", "replayed"},
		"placement shares no more than arithmetic": {
			m + "/scheduler", m + "/internal/mountpolicy", "arithmetic",
		},
		"eviction is arithmetic": {m + "/internal/eviction", m + "/api/v1alpha1", "share this arithmetic"},
		"beliefs read no API": {
			m + "/fleet", "sigs.k8s.io/controller-runtime/pkg/client", "can be replayed",
		},
		"beliefs import nothing else": {m + "/fleet", "github.com/google/go-cmp/cmp", "what was observed"},
		"recordings read no API":      {m + "/fleet/record", "k8s.io/client-go/rest", "can be replayed"},
		"beliefs know no compiler":    {m + "/fleet", m + "/internal/buildkey", "what was observed"},
		"the compiler knows no Kubernetes": {
			m + "/hlb/check", "k8s.io/apimachinery/pkg/types", "without Kubernetes",
		},
		"the compiler knows no types of the API": {m + "/hlb", m + "/api/v1alpha1", "without Kubernetes"},
		"the manager knows no agent": {
			m + "/controllers", m + "/agent/lease", "through the API only",
		},
		"the manager compiles nothing itself": {m + "/controllers", m + "/hlb/analyze", "internal/buildkey"},
		"reconcilers know no other": {
			m + "/controllers/hlbbuild", m + "/controllers/placement", "through the API only",
		},
		"workloads know no fleet": {
			m + "/controllers/workload", m + "/controllers/buildcache", "through the API only",
		},
		"the agent decides nothing":              {m + "/agent", m + "/scheduler", "what was decided"},
		"the agent knows no manager":             {m + "/agent/daemon", m + "/controllers", "what was decided"},
		"shared things know none who share them": {m + "/internal/status", m + "/agent", "knows neither"},
		"conditions are derived without a client": {
			m + "/internal/status", "k8s.io/client-go/rest", "without a client",
		},
		"only keys need the compiler": {
			m + "/internal/status", m + "/hlb/analyze", "only cache keys",
		},
		"programs that are shipped hold no testing code": {m + "/cmd/manager", "testing", "shipped"},
		"programs that are shipped hold no simulator":    {m + "/cmd/manager", m + "/scheduler/sim/report", "shipped"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			got := walls.Violations([]walls.Package{{
				ImportPath: tc.pkg, Imports: []string{"fmt", tc.uses}, Deps: []string{"fmt", tc.uses},
			}})
			if len(got) == 0 || !strings.Contains(strings.Join(got, "\n"), tc.want) {
				t.Errorf("%s importing %s: got %q, want a finding with %q", tc.pkg, tc.uses, got, tc.want)
			}
		})
	}
}

func TestWallsHaveDoors(t *testing.T) {
	const m = walls.Module
	allowed := []walls.Package{
		{
			ImportPath: m + "/internal/buildkey", Imports: []string{m + "/hlb/analyze"},
			Deps: []string{m + "/hlb/analyze"},
		},
		{
			ImportPath: m + "/controllers", Imports: []string{m + "/internal/buildkey", m + "/scheduler"},
			Deps: []string{m + "/hlb/analyze", m + "/scheduler"},
		},
		{
			ImportPath: m + "/controllers/buildcache", Imports: []string{m + "/controllers/workload"},
			Deps: []string{m + "/controllers/workload", m + "/controllers/watches"},
		},
		{
			ImportPath: m + "/fleet", Imports: []string{m + "/scheduler", "k8s.io/apimachinery/pkg/types"},
			Deps: []string{m + "/scheduler", "k8s.io/apimachinery/pkg/types"},
		},
		{ImportPath: m + "/fleet/record", Imports: []string{m + "/fleet", "os"}, Deps: []string{m + "/fleet", "os"}},
		{
			ImportPath: m + "/internal/buildrun", Imports: []string{m + "/internal/buildkey"},
			Deps: []string{m + "/hlb/analyze"},
		},
		{
			ImportPath: m + "/agent", Imports: []string{m + "/hlb", "sigs.k8s.io/controller-runtime"},
			Deps: []string{m + "/hlb", "k8s.io/client-go/rest"},
		},
		{ImportPath: m + "/internal/eviction", Imports: []string{"math"}, Deps: []string{"math", "unsafe"}},
		{
			ImportPath: m + "/scheduler", Imports: []string{m + "/internal/eviction"},
			Deps: []string{m + "/internal/eviction"},
		},
		{
			ImportPath: m + "/scheduler/sim", Imports: []string{m + "/internal/eviction"},
			Deps: []string{m + "/scheduler"},
		},
		{
			ImportPath: m + "/agent/gc", Imports: []string{m + "/internal/eviction"},
			Deps: []string{m + "/internal/eviction"},
		},
		{
			ImportPath: m + "/apiserver", Imports: []string{"k8s.io/client-go/rest"},
			Deps: []string{"k8s.io/client-go/rest"},
		},
	}
	if got := walls.Violations(allowed); len(got) > 0 {
		t.Errorf("refused: %q", got)
	}
}

func checkout(t *testing.T) string {
	t.Helper()
	root, err := toolchain.Root()
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func listPackages(t *testing.T) []walls.Package {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), "go", "list", "-json=ImportPath,Imports,Deps", "./...")
	cmd.Dir = checkout(t)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("go list: %v\n%s", err, stderr.Bytes())
	}
	packages, err := decode(out)
	if err != nil {
		t.Fatal(err)
	}
	return packages
}

func decode(out []byte) ([]walls.Package, error) {
	var packages []walls.Package
	for d := json.NewDecoder(bytes.NewReader(out)); ; {
		var p walls.Package
		switch err := d.Decode(&p); {
		case errors.Is(err, io.EOF):
			return packages, nil
		case err != nil:
			return nil, fmt.Errorf("read go list: %w", err)
		}
		packages = append(packages, p)
	}
}
