// SPDX-License-Identifier: Apache-2.0

// Package walls holds the rules about which part of this repository may import which, and how long its files, functions
// and lines may be. Its tests apply them to the checkout. docs/architecture.md has the same in words.
package walls

import (
	"fmt"
	"slices"
	"strings"
)

// Module is this repository's module path.
const Module = "github.com/openllb/hlb-operator"

// Package is one package as `go list -json` describes it.
type Package struct {
	ImportPath string
	// Imports are the direct imports of its non-test files, Deps all that those bring along.
	Imports, Deps []string
}

// wall says what the packages below a folder must not know.
type wall struct {
	// of is the folder, relative to the module; except lists folders below it that the wall is not about.
	of     string
	except []string
	// direct bounds Imports, otherwise Deps are bounded.
	direct bool
	// never lists prefixes of import paths; "./x" is the folder x of this module. only, when not empty, lists all
	// that is allowed beside the standard library.
	never, only []string
	why         string
}

var rules = append([]wall{
	{of: "api", direct: true,
		only: []string{"./api", "k8s.io/api", "k8s.io/apimachinery", "sigs.k8s.io/controller-runtime/pkg/scheme"},
		why:  "types are for everyone to import, so they bring nothing along"},
	{
		of: "api", never: []string{"k8s.io/client-go"},
		why: "types are for everyone to import, so they bring nothing along",
	},
	{of: "scheduler", except: []string{"scheduler/sim"}, direct: true,
		only: []string{
			"./api", "./scheduler", "./internal/eviction", "k8s.io/apimachinery", "github.com/cespare/xxhash/v2",
		},
		why: "placement is arithmetic over a snapshot"},
	{of: "scheduler",
		never: []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime", "./controllers", "./agent", "./hlb"},
		why:   "placement reads no API, so that it can be replayed"},
	{of: "fleet", except: []string{"fleet/record"}, direct: true,
		only: []string{
			"./api", "./scheduler", "./internal/attempt", "./internal/failure", "./internal/status",
			"./internal/mountpolicy", "k8s.io/apimachinery",
		},
		why: "what is believed of a fleet follows from what was observed"},
	{of: "fleet",
		never: []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime", "./controllers", "./agent", "./hlb"},
		why:   "beliefs about a fleet read no API, so that they can be replayed"},
	{of: "hlb", never: []string{"k8s.io", "sigs.k8s.io", "./api", "./agent", "./controllers", "./scheduler"},
		why: "the compiler is of use without Kubernetes"},
	{of: "controllers", never: []string{"./agent", "./cmd", "./test", "./hack"},
		why: "the manager talks to daemons through the API only"},
	{of: "controllers", direct: true, never: []string{"./hlb", "github.com/moby/buildkit"},
		why: "the manager gets static analysis through internal/buildkey and solves nothing"},
	{of: "agent", never: []string{"./controllers", "./scheduler", "./cmd", "./test", "./hack"},
		why: "an agent does what was decided"},
	{of: "agent/compile", never: []string{"k8s.io", "sigs.k8s.io", "./api", "./internal", "./agent/daemon",
		"github.com/docker/cli", "github.com/google/go-containerregistry"},
		why: "a process that compiles strangers' programs knows neither cluster nor registries nor credentials"},
	{of: "agent", except: []string{"agent/compile", "agent/daemon", "agent/run"}, direct: true,
		never: []string{"./hlb"}, why: "programs are compiled in children only"},
	{of: "internal", never: []string{"./controllers", "./scheduler", "./agent", "./cmd"},
		why: "what two folders share knows neither"},
	{of: "internal/failure", direct: true, only: []string{"./api"},
		why: "whose fault an end is follows from its reason"},
	{of: "internal/status", never: []string{"k8s.io/client-go", "sigs.k8s.io/controller-runtime"},
		why: "conditions are derived without a client"},
	{of: "internal/eviction", only: []string{"./internal/eviction"},
		why: "agents, placement and the simulator share this arithmetic"},
	{of: "internal", except: []string{"internal/buildkey", "internal/buildrun", "internal/deps"},
		never: []string{"./hlb"},
		why:   "only cache keys need the compiler's analysis"},
	{of: "cmd", except: []string{"cmd/sim", "cmd/bench-hlb", "cmd/bench-scheduler"},
		never: []string{"./test", "./scheduler/sim", "testing"},
		why:   "test kits and simulators stay out of what is shipped"},
}, reconcilersApart()...)

// reconcilersApart are the rules of the folders of controllers: none imports a reconciler, but that of fleets knows the
// workloads of its daemons.
func reconcilersApart() []wall {
	reconcilers := []string{"buildcache", "builddaemon", "hlbbuild", "placement", "workload"}
	var out []wall
	for _, of := range append([]string{"watches"}, reconcilers...) {
		w := wall{of: "controllers/" + of, why: "reconcilers affect one another through the API only"}
		for _, other := range reconcilers {
			if other != of && !(of == "buildcache" && other == "workload") {
				w.never = append(w.never, "./controllers/"+other)
			}
		}
		out = append(out, w)
	}
	return out
}

// Violations lists every breach of the rules, sorted, each as a sentence.
func Violations(packages []Package) []string {
	var found []string
	for _, p := range packages {
		for i := range rules {
			found = append(found, rules[i].check(p)...)
		}
	}
	slices.Sort(found)
	return slices.Compact(found)
}

func (w *wall) check(p Package) []string {
	if !below(p.ImportPath, "./"+w.of) ||
		slices.ContainsFunc(w.except, func(e string) bool { return below(p.ImportPath, "./"+e) }) {
		return nil
	}
	imports := p.Deps
	if w.direct {
		imports = p.Imports
	}
	var found []string
	for _, path := range imports {
		if w.refuses(path) {
			found = append(found, fmt.Sprintf("%s must not import %s: %s", p.ImportPath, path, w.why))
		}
	}
	return found
}

func (w *wall) refuses(path string) bool {
	in := func(prefix string) bool { return below(path, prefix) }
	if slices.ContainsFunc(w.never, in) {
		return true
	}
	return len(w.only) > 0 && !isStandard(path) && !slices.ContainsFunc(w.only, in)
}

// below reports whether path is the package or folder prefix, or lies in it.
func below(path, prefix string) bool {
	if rest, own := strings.CutPrefix(prefix, "./"); own {
		prefix = Module + "/" + rest
	}
	return path == prefix || strings.HasPrefix(path, prefix+"/")
}

// isStandard goes by the rule that only module paths have a dot in their first element.
func isStandard(path string) bool {
	first, _, _ := strings.Cut(path, "/")
	return !strings.Contains(first, ".")
}
