// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/agent/inputs"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/hlb/request"
	"github.com/openllb/hlb-operator/test/kit/compiletest"
)

func TestPolicyGivesMountsTheirSharing(t *testing.T) {
	t.Parallel()
	job := &Job{
		Namespace: "ns",
		Spec:      &v1alpha1.HLBBuildSpec{HLB: &v1alpha1.HLBSpec{Targets: []string{"default"}}},
		Inputs: &inputs.Inputs{Filename: "build.hlb", Program: []byte(`fs default() {
	scratch
	run "make" with option {
		cacheMount "/a"
		cacheMount "/b"
		cacheMount "/c" with sharing("shared")
	}
}
`)},
		Mounts: []v1alpha1.MountPolicy{
			{ID: "/a", Sharing: v1alpha1.MountPrivate}, {ID: "/c", Sharing: v1alpha1.MountLocked},
		},
	}
	sessions, err := newSessions(job)
	if err != nil {
		t.Fatal(err)
	}
	b := &building{daemon: &Daemon{compiler: compiletest.New(t)}, job: job, sessions: sessions}
	req, err := b.compile(t.Context(), &checkedOut{})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, leaf := range req.Root.Leaves() {
		for line := range strings.SplitSeq(request.Text(leaf.Solve.Definition), "\n") {
			for _, mount := range strings.Split(line, " [")[1:] {
				if _, cache, found := strings.Cut(mount, "cache "); found {
					id, rest, _ := strings.Cut(cache, " ")
					got = append(got, id+" "+
						strings.FieldsFunc(rest, func(r rune) bool { return r == ' ' || r == ']' })[0])
				}
			}
		}
	}
	want := []string{`"ns//a" private`, `"ns//b" shared`, `"ns//c" shared`}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("mounts in the LLB (-want +got):\n%s", diff)
	}
}
