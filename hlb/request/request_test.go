// SPDX-License-Identifier: Apache-2.0

package request

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func leaf() *Node { return &Node{Kind: Single, Solve: &Solve{}} }

func TestGroup(t *testing.T) {
	a := leaf()
	for name, tc := range map[string]struct {
		got  *Node
		want string
	}{
		"nothing stays nothing": {Group(Parallel), "nothing"},
		"nothing is dropped":    {Group(Parallel, nil, a, nil), "single"},
		"the same shape is flattened": {
			Group(Parallel, Group(Parallel, leaf(), leaf()), leaf()), "parallel(single, single, single)",
		},
		"another shape stays as it is": {
			Group(Sequential, Group(Parallel, leaf(), leaf()), leaf()), "sequential(parallel(single, single), single)",
		},
		"what collapses is flattened with it": {
			Group(Sequential, Group(Parallel, Group(Sequential, leaf(), leaf())), leaf()),
			"sequential(single, single, single)",
		},
	} {
		t.Run(name, func(t *testing.T) {
			if got := tc.got.String(); got != tc.want {
				t.Errorf("got %s, want %s", got, tc.want)
			}
		})
	}
}

func TestWalkVisitsParentsFirstAndStopsAtAnError(t *testing.T) {
	root := Group(Sequential, leaf(), Group(Parallel, leaf(), leaf()))
	var kinds []string
	stop := errors.New("stop")
	err := root.Walk(func(n *Node) error {
		kinds = append(kinds, n.Kind.String())
		if n.Kind == Parallel {
			return stop
		}
		return nil
	})
	if diff := cmp.Diff([]string{"sequential", "single", "parallel"}, kinds); diff != "" || !errors.Is(err, stop) {
		t.Errorf("%v %s", err, diff)
	}
}

func TestNeedsAreSortedAndUnique(t *testing.T) {
	a := Needs{Secrets: []Secret{{ID: "b"}, {ID: "c"}}, Entitlements: []string{"x"}}
	b := Needs{Secrets: []Secret{{ID: "a"}, {ID: "b"}}, Locals: []Local{{Name: "l", Dir: "/l"}}}
	want := Needs{
		Secrets: []Secret{
			{ID: "a"}, {ID: "b"}, {ID: "c"},
		}, Locals: []Local{{Name: "l", Dir: "/l"}}, Entitlements: []string{"x"},
	}
	if diff := cmp.Diff(want, a.Union(b)); diff != "" {
		t.Error(diff)
	}
}
