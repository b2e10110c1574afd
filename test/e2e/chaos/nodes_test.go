// SPDX-License-Identifier: Apache-2.0

package chaos

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

func daemonNode(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) string {
	t.Helper()
	d := &v1alpha1.BuildDaemon{}
	key := client.ObjectKey{Namespace: namespace, Name: w.daemonOf(t, builds)}
	if err := w.Client.Get(t.Context(), key, d); err != nil {
		t.Fatal(err)
	}
	return d.Status.NodeName
}

func managerNode(t *testing.T, w *world, _ []*v1alpha1.HLBBuild) string {
	t.Helper()
	leader, err := w.Leader(t.Context())
	pod := &corev1.Pod{}
	if err == nil {
		err = w.Client.Get(t.Context(), client.ObjectKey{Namespace: harness.SystemNamespace, Name: leader}, pod)
	}
	if err != nil {
		t.Fatal(err)
	}
	return pod.Spec.NodeName
}

func killNode(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	node := daemonNode(t, w, builds)
	if err := w.Local.KillNode(node); err != nil {
		t.Fatal(err)
	}
	return func() error { return w.Local.StartNode(context.WithoutCancel(t.Context()), node) }
}

func partition(
	of func(*testing.T, *world, []*v1alpha1.HLBBuild) string,
) func(*testing.T, *world, []*v1alpha1.HLBBuild) func() error {
	return func(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
		node := of(t, w, builds)
		if err := w.Local.PartitionNode(node); err != nil {
			t.Fatal(err)
		}
		return func() error { return w.Local.HealNode(node) }
	}
}

// buryNode kills a node and does what an administrator does who has no hope for it: the BuildDaemon is deleted, and the
// fleet has to be whole without the node. The node comes back only for the scenarios after it.
func buryNode(t *testing.T, w *world, builds []*v1alpha1.HLBBuild) func() error {
	ctx := context.WithoutCancel(t.Context())
	victim := &v1alpha1.BuildDaemon{}
	key := client.ObjectKey{Namespace: namespace, Name: w.daemonOf(t, builds)}
	must(t, w.Client.Get(ctx, key, victim))
	node := victim.Status.NodeName
	must(t, w.Local.KillNode(node))
	_, err := w.Kubectl(ctx, "", "cordon", node)
	must(t, err)
	must(t, harness.Eventually(ctx, patience, victim.Name+" is given up", func(context.Context) (bool, error) {
		err := w.Client.Get(ctx, key, victim)
		return !meta.IsStatusConditionTrue(victim.Status.Conditions, v1alpha1.ConditionReady), err
	}))
	must(t, w.Client.Delete(ctx, victim))
	return func() error {
		err := w.whole(ctx)
		_, cordoned := w.Kubectl(ctx, "", "uncordon", node)
		return errors.Join(err, cordoned, w.Local.StartNode(ctx, node))
	}
}
