// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"errors"
	"testing"

	"github.com/moby/buildkit/client/llb"

	"github.com/openllb/hlb-operator/hlb/request"
)

func aSolve(t *testing.T, st llb.State) *request.Solve {
	t.Helper()
	s, err := request.NewSolve(t.Context(), st, "id", request.Solve{})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestExtraOutputsStandBesideTheirTarget(t *testing.T) {
	a, b := aSolve(t, llb.Image("a")), aSolve(t, llb.Image("b"))
	single := func(s *request.Solve) *request.Node { return &request.Node{Kind: request.Single, Solve: s} }
	req := &request.Request{
		Root: request.Group(request.Sequential, single(a), single(b)),
		Targets: []request.Target{{Name: "first", Final: a}, {Name: "last", Final: b}, {Name: "pipe"},
			{Name: "empty", Final: aSolve(t, llb.Scratch())}},
	}
	for name, tc := range map[string]struct {
		outputs []Output
		want    string
		fails   bool
	}{
		"none": {nil, "sequential(single, single)", false},
		"beside the first of two": {
			[]Output{{Target: "first", Image: "r"}}, "sequential(parallel(single, export image r), single)", false,
		},
		"two of one target": {
			[]Output{{Target: "last", Image: "r"}, {Target: "last", Image: "s"}},
			"sequential(single, parallel(single, export image s, export image r))", false,
		},
		"a directory": {
			[]Output{{Target: "last", Type: "local", Dest: "out"}},
			"sequential(single, parallel(single, export local out))", false,
		},
		"a tarball on standard output": {
			[]Output{{Target: "last", Type: "tar", Dest: "-"}},
			"sequential(single, parallel(single, export tar -))", false,
		},
		"an archive of an image": {
			[]Output{{Target: "last", Type: "oci", Image: "r", Dest: "a.tar"}},
			"sequential(single, parallel(single, export oci r a.tar))", false,
		},
		"of a filesystem not in it": {
			[]Output{{Target: "empty", Image: "r"}}, "sequential(single, single, export image r)", false,
		},
		"of a target that is no fs": {[]Output{{Target: "pipe", Image: "r"}}, "", true},
		"of a target that isn't":    {[]Output{{Target: "nope", Image: "r"}}, "", true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Plan(req, tc.outputs)
			if (err != nil) != tc.fails {
				t.Fatalf("got error %v", err)
			}
			if !tc.fails && got.String() != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
			if req.Root.String() != "sequential(single, single)" {
				t.Errorf("the request was changed: %s", req.Root)
			}
		})
	}
}

func TestEqualFilesystemsOfAStageAreSolvedOnce(t *testing.T) {
	a, same, b := aSolve(t, llb.Image("a")), aSolve(t, llb.Image("a")), aSolve(t, llb.Image("b"))
	out := &request.Output{Type: "image", Ref: "r"}
	export := &request.Node{Kind: request.Export, Solve: same, Output: out}
	r := &runner{req: &request.Request{}}
	groups := r.groups([]*request.Node{
		{Kind: request.Single, Solve: a}, export, export, {Kind: request.Single, Solve: b},
		{Kind: request.Single, Solve: aSolve(t, llb.Scratch())},
	})
	if len(groups) != 2 || len(groups[0].outputs) != 1 || len(groups[1].outputs) != 0 {
		t.Errorf("%d groups: %+v", len(groups), groups)
	}
}

func TestAnExportDoneWhileCompilingIsReportedAndNotRepeated(t *testing.T) {
	r := &runner{req: &request.Request{}}
	groups := r.groups([]*request.Node{{Kind: request.Export, Solve: aSolve(t, llb.Image("a")),
		Output: &request.Output{Type: "image", Ref: "r", Digest: "sha256:d"}}})
	done := r.pushed.list()
	if len(groups) != 0 || len(done) != 1 || done[0].Digest != "sha256:d" {
		t.Errorf("groups %v, pushed %v", groups, done)
	}
}

func TestEntitlementsAreCheckedBeforeAnythingRuns(t *testing.T) {
	s := aSolve(t, llb.Image("a"))
	s.Needs.Entitlements = []string{"network.host"}
	req := &request.Request{Root: &request.Node{Kind: request.Single, Solve: s}}
	_, err := Run(t.Context(), nil, req, Options{Entitlements: []string{}})
	var missing *EntitlementError
	if !errors.As(err, &missing) || missing.Entitlement != "network.host" {
		t.Errorf("got %v", err)
	}
}
