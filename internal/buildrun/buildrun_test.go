// SPDX-License-Identifier: Apache-2.0

package buildrun_test

import (
	"strconv"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/utils/ptr"
	"pgregory.net/rapid"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

var start = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

func edit(change func(*v1alpha1.HLBBuild)) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) {
		change(b)
		b.Generation++
	}
}

var (
	otherTarget   = edit(func(b *v1alpha1.HLBBuild) { b.Spec.HLB.Targets = []string{"other"} })
	otherPriority = edit(func(b *v1alpha1.HLBBuild) { b.Spec.Priority++ })
)

func TestRunsAreNamed(t *testing.T) {
	type change = func(*v1alpha1.HLBBuild)
	cases := map[string]struct {
		changes       []change // each but the last is followed by a run
		wantID        string
		wantCause     v1alpha1.RunCause
		wantRequested string
	}{
		"the first of an object": {nil, "g1", v1alpha1.CauseSpecChanged, ""},
		"an object that comes with a request": {
			[]change{testbuild.WithRequest("a")}, "g1", v1alpha1.CauseSpecChanged, "a",
		},
		"a new spec": {[]change{nil, otherTarget}, "g2", v1alpha1.CauseSpecChanged, ""},
		"a request":  {[]change{nil, testbuild.WithRequest("a")}, "g1-2", v1alpha1.CauseRequested, "a"},
		"a request after an edit of no effect": {
			[]change{nil, otherPriority, testbuild.WithRequest("a")}, "g2-3", v1alpha1.CauseRequested, "a",
		},
		"a new spec after a request that was removed": {
			[]change{testbuild.WithRequest("a"), func(b *v1alpha1.HLBBuild) {
				testbuild.WithRequest("")(b)
				otherTarget(b)
			}}, "g2", v1alpha1.CauseSpecChanged, "a",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			b := testbuild.HLBBuild("ns", "b", testbuild.WithCacheKey("k"))
			b.Generation = 1
			for i, c := range tc.changes {
				if c != nil {
					c(b)
				}
				if i < len(tc.changes)-1 {
					status.Open(b, buildrun.New(b), start)
				}
			}
			want := v1alpha1.RunStatus{
				ID: tc.wantID, Cause: tc.wantCause, Generation: b.Generation, RequestedAt: tc.wantRequested, Key: "k",
			}
			if diff := cmp.Diff(want, buildrun.New(b)); diff != "" {
				t.Errorf("run differs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestNoTwoRunsOfAnObjectShareAnID(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		b := testbuild.HLBBuild("ns", "b", testbuild.WithCacheKey("k"))
		b.Spec.HistoryLimit = ptr.To[int32](0) // the status knows only the latest run
		b.Generation = 1
		seen := map[string]bool{}
		for i := range rapid.IntRange(1, 20).Draw(t, "runs") {
			run := buildrun.New(b)
			switch rapid.SampledFrom([]string{"edit", "request", "schedule", "suspend"}).Draw(t, "what") {
			case "edit":
				edit(func(b *v1alpha1.HLBBuild) { b.Spec.HLB.Targets = []string{strconv.Itoa(i % 3)} })(b)
				run = buildrun.New(b)
			case "request":
				testbuild.WithRequest(strconv.Itoa(i % 3))(b)
				run = buildrun.New(b)
			case "schedule":
				run = buildrun.Scheduled(b, start.Add(time.Duration(i)*time.Minute))
			case "suspend":
				if b.Status.Run != nil {
					run = buildrun.Again(b)
				}
			}
			if seen[run.ID] {
				t.Fatalf("two runs have the id %s", run.ID)
			}
			seen[run.ID] = true
			status.Open(b, run, start)
		}
	})
}

func TestInlineProgramsGoByTheirMounts(t *testing.T) {
	key := func(name, program string) string {
		return buildrun.Key(testbuild.HLBBuild("ns", name, testbuild.WithProgram(program)))
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
