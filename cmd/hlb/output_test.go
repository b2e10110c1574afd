// SPDX-License-Identifier: Apache-2.0

package main

import (
	"errors"
	"fmt"
	"runtime/debug"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hlb/solve"
)

func TestParseOutput(t *testing.T) {
	for name, tc := range map[string]struct {
		text string
		want solve.Output
		err  string
	}{
		"a name alone is a directory": {
			text: "out", want: solve.Output{Type: "local", Dest: "out"},
		},
		"a dash alone is a tarball": {text: "-", want: solve.Output{Type: "tar", Dest: "-"}},
		"attributes are those of the exporter": {
			text: `type=image,"name=r/a:1",push=true,compression=zstd`,
			want: solve.Output{
				Type: "image", Image: "r/a:1", Attrs: map[string]string{"push": "true", "compression": "zstd"},
			},
		},
		"an output may say its target": {
			text: "type=oci,dest=a.tar,target=app",
			want: solve.Output{Type: "oci", Dest: "a.tar", Target: "app", Attrs: map[string]string{}},
		},
		"a docker output without a file is loaded": {
			text: "type=docker,name=a", want: solve.Output{Type: "docker", Image: "a", Attrs: map[string]string{}},
		},
		"a type is needed":            {text: "dest=out", err: "type is missing"},
		"one that exists":             {text: "type=zip,dest=out", err: `no type "zip"`},
		"a directory is needed":       {text: "type=local", err: "needs a directory"},
		"which is not the terminal":   {text: "type=local,dest=-", err: "needs a directory"},
		"a file is needed":            {text: "type=tar", err: "needs a file"},
		"an image has a name":         {text: "type=image,push=true", err: "needs a name"},
		"a docker image has one too":  {text: "type=docker", err: "needs the name"},
		"a word is no attribute":      {text: "type=tar,out", err: "write name=value"},
		"quotes are closed":           {text: `type=tar,"dest=a`, err: `"`},
		"an image is not in any file": {text: "type=image,name=a,dest=b", err: "no dest"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseOutput(tc.text)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestBindOutputs(t *testing.T) {
	local := solve.Output{Type: "local", Dest: "out"}
	of := func(target string) solve.Output { return solve.Output{Type: "local", Dest: "out", Target: target} }
	stdout := solve.Output{Type: "tar", Dest: "-"}
	for name, tc := range map[string]struct {
		outputs []solve.Output
		targets []string
		want    []solve.Output
		err     string
	}{
		"without a target it is the default one": {outputs: []solve.Output{local}, want: []solve.Output{of("default")}},
		"the only target needs no name": {
			outputs: []solve.Output{local}, targets: []string{"a"}, want: []solve.Output{of("a")},
		},
		"one of several does": {
			outputs: []solve.Output{local}, targets: []string{"a", "b"}, err: "target=NAME",
		},
		"and may have one": {
			outputs: []solve.Output{of("b")}, targets: []string{"a", "b"}, want: []solve.Output{of("b")},
		},
		"which is built": {
			outputs: []solve.Output{of("c")}, targets: []string{"a"}, err: "one of a",
		},
		"one output goes to standard output": {outputs: []solve.Output{stdout, stdout}, err: "only one"},
		"a build without outputs needs none": {targets: []string{"a", "b"}},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := bindOutputs(tc.outputs, tc.targets)
			if tc.err != "" {
				if err == nil || !strings.Contains(err.Error(), tc.err) {
					t.Errorf("error %v, want %q", err, tc.err)
				}
				return
			}
			if diff := cmp.Diff(tc.want, got); err != nil || diff != "" {
				t.Errorf("%v (-want +got):\n%s", err, diff)
			}
		})
	}
}

func TestExitCodes(t *testing.T) {
	for name, tc := range map[string]struct {
		err  error
		want int
	}{
		"wrong usage":              {errors.New("x"), 2},
		"a build that failed":      {&buildError{errors.New("x")}, 1},
		"a command that failed":    {&buildError{fmt.Errorf("x: %w", &solve.StepError{ExitCode: 42})}, 42},
		"a step without a command": {&buildError{&solve.StepError{ExitCode: -1}}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			if got := exitCode(tc.err); got != tc.want {
				t.Errorf("%d, want %d", got, tc.want)
			}
		})
	}
}

func TestVersionText(t *testing.T) {
	info := &debug.BuildInfo{
		Main: debug.Module{Version: "v0.2.0"},
		Deps: []*debug.Module{{Path: "x", Version: "v9"}, {Path: buildkitModule, Version: "v0.34.2"}},
	}
	if got := versionText(info); !strings.HasPrefix(got, "hlb v0.2.0\nBuildKit client v0.34.2\ngo") {
		t.Error(got)
	}
	if got := versionText(&debug.BuildInfo{}); !strings.HasPrefix(got, "hlb (devel)\nBuildKit client unknown\n") {
		t.Error(got)
	}
}
