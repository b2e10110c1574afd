// SPDX-License-Identifier: Apache-2.0

package builtin

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hlb/ast"
)

// reserved is the list of names the language keeps for itself.
const reserved = `allowEmptyWildcard allowNotFound allowWildcard cache checksum chmod chown cmd contentsOnly copy createDestPath
createParents createdTime diff dir dockerLoad dockerPush download downloadDockerTarball downloadOCITarball
downloadTarball entrypoint env excludePatterns expose filename followSymlinks format forward frontend gid git host
http ignoreCache ignoreError image includePatterns includeStderr input keepGitDir label local localArch localCwd
localEnv localOs localPaths localRun manifest merge mkdir mkfile mode mount network onlyStderr opt platform
readonly readonlyRootfs resolve rm run scratch secret security shell shlex sourcePath ssh stage stargz stopSignal
stringField target template tmpfs uid unpack user volumes`

func TestTheTableHoldsExactlyTheReservedNames(t *testing.T) {
	want := strings.Fields(reserved)
	var got []string
	for name := range byName {
		got = append(got, name)
	}
	slices.Sort(got)
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("reserved names (-want +got):\n%s", diff)
	}
}

func TestCountsByKind(t *testing.T) {
	counts := map[ast.Kind]int{}
	for _, f := range All() {
		if !f.Extension {
			counts[f.Kind.Primary()]++
		}
	}
	want := map[ast.Kind]int{ast.FS: 29, ast.String: 8, ast.Pipeline: 1, ast.Option: 65}
	if diff := cmp.Diff(want, counts); diff != "" {
		t.Errorf("builtins a kind (-want +got):\n%s", diff)
	}
}

func TestSpansPointAtNamesAndOnlyLastParametersAreVariadic(t *testing.T) {
	for _, f := range All() {
		sp := f.Span()
		if got := string(Source()[sp.Start.Offset:sp.End.Offset]); got != f.Name {
			t.Errorf("%s: its span holds %q", f.Signature(), got)
		}
		lines := strings.Split(signatures, "\n")
		if got := lines[sp.Start.Line-1]; got != f.Signature() {
			t.Errorf("%s: its span is on line %q", f.Signature(), got)
		}
		for i, p := range f.Params {
			if p.Variadic && i != len(f.Params)-1 {
				t.Errorf("%s: %s is variadic but not last", f.Signature(), p.Name)
			}
		}
	}
}

func TestLookup(t *testing.T) {
	push := Lookup(ast.FS, "dockerPush")
	if diff := cmp.Diff([]Effect{{ast.String, "digest"}}, push.Effects); diff != "" {
		t.Errorf("effects of dockerPush (-want +got):\n%s", diff)
	}
	manifest := Lookup(ast.String, "manifest")
	if got := manifest.Effect("index"); got == nil || got.Kind != ast.String {
		t.Errorf("effect index of manifest = %v", got)
	}
	if got := manifest.Effect("indx"); got != nil {
		t.Errorf("an effect nobody declared: %v", got)
	}
	format := Lookup(ast.String, "format")
	want := []Param{{ast.String, "formatString", false}, {ast.String, "values", true}}
	if diff := cmp.Diff(want, format.Params); diff != "" {
		t.Errorf("parameters of format (-want +got):\n%s", diff)
	}
	if !format.Variadic() || push.Variadic() {
		t.Errorf("variadic: format %v, dockerPush %v", format.Variadic(), push.Variadic())
	}
}

func TestExtensionsAreAScopeOfTheirOwn(t *testing.T) {
	if Lookup(ast.OptionOf("run"), "cacheMount") != nil || IsReserved("cacheMount") {
		t.Error("cacheMount must not be reserved")
	}
	if Extension(ast.OptionOf("run"), "cacheMount") == nil {
		t.Error("cacheMount is missing")
	}
	if Extension(ast.OptionOf("cacheMount"), "readonly") == nil || !IsReserved("readonly") {
		t.Error("readonly is both: a reserved name and an option of cacheMount")
	}
	if Extended("cacheMount") == nil || !IsCall("cacheMount") {
		t.Error("cacheMount is an option of run that has options itself")
	}
	if Extended("id") != nil || IsCall("id") {
		t.Error("id is an option of cacheMount only")
	}
	if !IsReserved(Breakpoint) || IsCall(Breakpoint) {
		t.Error("breakpoint is reserved and has no options")
	}
}
