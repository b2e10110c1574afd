// SPDX-License-Identifier: Apache-2.0

package write_test

import (
	"context"
	"errors"
	"maps"
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/write"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestMain(m *testing.M) { os.Exit(envtestkit.Main(m)) }

// applying is a BuildCache in a namespace of its own, and a writer that counts what it applies.
type applying struct {
	t       *testing.T
	owner   *v1alpha1.BuildCache
	writer  *write.Writer
	applies int
}

func newApplying(t *testing.T) *applying {
	t.Helper()
	cluster := envtestkit.Get(t)
	a := &applying{t: t, owner: testbuild.BuildCache(cluster.Namespace(t), "c")}
	if err := cluster.Client.Create(t.Context(), a.owner); err != nil {
		t.Fatal(err)
	}
	counting := interceptor.NewClient(cluster.Client, interceptor.Funcs{
		Apply: func(
			ctx context.Context, c client.WithWatch, o runtime.ApplyConfiguration, opts ...client.ApplyOption,
		) error {
			a.applies++
			return c.Apply(ctx, o, opts...)
		},
	})
	a.writer = &write.Writer{Client: counting, Live: cluster.Client}
	return a
}

func (a *applying) config(data map[string]string) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		TypeMeta:   metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{Namespace: a.owner.Namespace, Name: "c"},
		Data:       data,
	}
}

// apply applies a ConfigMap with the data, checks whether anything was sent, and returns the data on the server.
func (a *applying) apply(when string, data map[string]string, wantSent bool) map[string]string {
	a.t.Helper()
	a.applies = 0
	outcome, err := a.writer.Apply(a.t.Context(), a.owner, a.config(maps.Clone(data)))
	if err != nil {
		a.t.Fatal(err)
	}
	if sent := a.applies > 0; sent != wantSent || sent != (outcome == write.Written) {
		a.t.Errorf("%s: sent is %v and the outcome %d, want %v", when, sent, outcome, wantSent)
	}
	return a.read().Data
}

func (a *applying) read() *corev1.ConfigMap {
	a.t.Helper()
	c := a.config(nil)
	if err := a.writer.Client.Get(a.t.Context(), client.ObjectKeyFromObject(c), c); err != nil {
		a.t.Fatal(err)
	}
	return c
}

func (a *applying) edit(change func(*corev1.ConfigMap)) {
	a.t.Helper()
	c := a.read()
	change(c)
	if err := a.writer.Client.Update(a.t.Context(), c); err != nil {
		a.t.Fatal(err)
	}
}

func TestOnlyDifferencesAreApplied(t *testing.T) {
	a := newApplying(t)
	desired := map[string]string{"x": "1", "y": "2"}
	expect := func(when string, data map[string]string, wantSent bool, want map[string]string) {
		t.Helper()
		if diff := cmp.Diff(want, a.apply(when, data, wantSent)); diff != "" {
			t.Errorf("%s: data (-want +got):\n%s", when, diff)
		}
	}
	expect("at first", desired, true, desired)
	expect("again", desired, false, desired)
	a.edit(func(c *corev1.ConfigMap) { c.Data["z"] = "theirs" })
	expect("with a field of others", desired, false, map[string]string{"x": "1", "y": "2", "z": "theirs"})
	a.edit(func(c *corev1.ConfigMap) { c.Data["x"] = "drift" })
	expect("after drift", desired, true, map[string]string{"x": "1", "y": "2", "z": "theirs"})
	a.edit(func(c *corev1.ConfigMap) { delete(c.Data, "y") })
	expect("after a field was deleted", desired, true, map[string]string{"x": "1", "y": "2", "z": "theirs"})
	less, left := map[string]string{"x": "1"}, map[string]string{"x": "1", "z": "theirs"}
	expect("when a field is no longer desired", less, true, left)
	expect("when that is done", less, false, left)
	a.edit(func(c *corev1.ConfigMap) { c.OwnerReferences[0].Controller = nil })
	if _, err := a.writer.Apply(t.Context(), a.owner, a.config(desired)); err == nil {
		t.Error("an object that was given away is taken back")
	}
}

func TestObjectsOfOthersAreNotTakenOver(t *testing.T) {
	a := newApplying(t)
	foreign := a.config(map[string]string{"mine": "yes"})
	if err := a.writer.Client.Create(t.Context(), foreign); err != nil {
		t.Fatal(err)
	}
	labelled := a.writer.Client
	// a cache that holds objects by label shows no object of others
	blind := interceptor.NewClient(labelled.(client.WithWatch), interceptor.Funcs{
		Get: func(context.Context, client.WithWatch, client.ObjectKey, client.Object, ...client.GetOption) error {
			return apierrors.NewNotFound(schema.GroupResource{Resource: "configmaps"}, "c")
		},
	})
	for name, c := range map[string]client.Client{"a cache of all": labelled, "a cache by label": blind} {
		t.Run(name, func(t *testing.T) {
			a.writer.Client = c
			_, err := a.writer.Apply(t.Context(), a.owner, a.config(map[string]string{"x": "1"}))
			var conflict *write.NameConflictError
			want := write.NameConflictError{Kind: "ConfigMap", Name: "c", OwnerKind: "BuildCache"}
			if !errors.As(err, &conflict) || *conflict != want || a.applies > 0 {
				t.Errorf("error %v after %d applies", err, a.applies)
			}
		})
	}
}
