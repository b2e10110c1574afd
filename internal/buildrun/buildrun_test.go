// SPDX-License-Identifier: Apache-2.0

package buildrun_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestRunsAreNamed(t *testing.T) {
	old := &v1alpha1.RunStatus{ID: "g1", Generation: 1}
	cases := map[string]struct {
		annotation string
		old        *v1alpha1.RunStatus
		history    []v1alpha1.RunRecord
		wantID     string
		wantCause  v1alpha1.RunCause
	}{
		"the first of an object":               {"", nil, nil, "g2", v1alpha1.CauseSpecChanged},
		"a new generation":                     {"", old, nil, "g2", v1alpha1.CauseSpecChanged},
		"a request":                            {"now", &v1alpha1.RunStatus{ID: "g2", Generation: 2}, nil, "g2-ed5eb9a3", v1alpha1.CauseRequested},
		"an object that comes with a request":  {"now", nil, nil, "g2-ed5eb9a3", v1alpha1.CauseSpecChanged},
		"a request taken back":                 {"", &v1alpha1.RunStatus{ID: "g2-ed5eb9a3", Generation: 2}, []v1alpha1.RunRecord{{ID: "g2"}}, "g2-2", v1alpha1.CauseRequested},
		"a request whose value was used twice": {"now", &v1alpha1.RunStatus{ID: "g2-ed5eb9a3-2", Generation: 2}, []v1alpha1.RunRecord{{ID: "g2"}, {ID: "g2-ed5eb9a3"}}, "g2-ed5eb9a3-3", v1alpha1.CauseRequested},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := testbuild.HLBBuild("ns", "b", testbuild.WithRequest(tc.annotation), testbuild.WithCacheKey("k"))
			b.Generation, b.Status.Run, b.Status.History = 2, tc.old, tc.history
			want := v1alpha1.RunStatus{ID: tc.wantID, Cause: tc.wantCause, Generation: 2, RequestedAt: tc.annotation, Key: "k"}
			if diff := cmp.Diff(want, buildrun.New(b)); diff != "" {
				t.Errorf("run differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestInlineProgramsGoByTheirMounts(t *testing.T) {
	key := func(name, program string) string {
		return buildrun.New(testbuild.HLBBuild("ns", name, testbuild.WithProgram(program))).Key
	}
	const mounts = "fs default() { image \"x\"; run \"r\" with option { cacheMount \"/root/.cache/go-build\"; }; }\n"
	if a, b := key("a", mounts), key("b", mounts+"# edited\n"); a != b {
		t.Errorf("two programs of the same mounts have the keys %s and %s", a, b)
	}
	if a, b := key("a", testbuild.Program), key("b", testbuild.Program); a == b {
		t.Errorf("two programs without mounts share the key %s", a)
	}
	if got := key("a", "no program"); got != "build:a" {
		t.Errorf("a wrong program has the key %s", got)
	}
}
