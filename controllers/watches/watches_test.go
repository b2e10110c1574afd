// SPDX-License-Identifier: Apache-2.0

package watches

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/buildrun"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// bound is a build that is placed on the daemon.
func bound(namespace, name, daemon string) *v1alpha1.HLBBuild {
	b := testbuild.HLBBuild(namespace, name, testbuild.WithCache("other"))
	status.Open(b, buildrun.New(b), envtestkit.Epoch)
	status.Place(b, v1alpha1.PlacementStatus{Daemon: daemon}, envtestkit.Epoch)
	return b
}

// manager is a client with two fleets' daemons and builds.
func manager(t *testing.T) client.Client {
	t.Helper()
	scheme, err := envtestkit.Scheme()
	if err != nil {
		t.Fatal(err)
	}
	over := bound("ns", "over", "cache-0")
	status.Succeed(over, envtestkit.Epoch)
	foreign := testbuild.HLBBuild("team", "waiting")
	foreign.Spec.CacheRef.Namespace = "ns"
	visitor := bound("team", "running", "cache-0")
	visitor.Status.Placement.Namespace = "ns"
	builder := fake.NewClientBuilder().WithScheme(scheme).WithObjects(
		testbuild.BuildDaemon("ns", "cache", 0), testbuild.BuildDaemon("ns", "cache", 1),
		testbuild.BuildDaemon("ns", "other", 0), testbuild.BuildDaemon("elsewhere", "cache", 2),
		testbuild.HLBBuild("ns", "waiting"), testbuild.HLBBuild("elsewhere", "waiting"),
		bound("ns", "running", "cache-0"), bound("ns", "beside", "cache-1"), over, foreign, visitor,
	)
	for field, index := range indexes {
		builder.WithIndex(&v1alpha1.HLBBuild{}, field, index)
	}
	return builder.Build()
}

func TestObjectsAreMapped(t *testing.T) {
	c := manager(t)
	daemon := testbuild.BuildDaemon("ns", "cache", 0)
	cache := testbuild.BuildCache("ns", "cache")
	cases := map[string]struct {
		by     handler.MapFunc
		object client.Object
		want   []string
	}{
		"an object with a label wakes what it names":  {ByLabel(v1alpha1.LabelCache), daemon, []string{"ns/cache"}},
		"an object without the label wakes nothing":   {ByLabel(v1alpha1.LabelCache), cache, nil},
		"a daemon wakes the builds that are bound":    {BuildsOn(c), daemon, []string{"ns/running", "team/running"}},
		"a BuildCache wakes the builds that name it":  {BuildsOf(c), cache, []string{"ns/waiting", "team/waiting"}},
		"a BuildCache wakes its daemons and no other": {DaemonsOf(c), cache, []string{"ns/cache-0", "ns/cache-1"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var want []reconcile.Request
			for _, n := range tc.want {
				namespace, name, _ := strings.Cut(n, "/")
				want = append(want, reconcile.Request{NamespacedName: types.NamespacedName{
					Namespace: namespace, Name: name,
				}})
			}
			if diff := cmp.Diff(want, tc.by(t.Context(), tc.object)); diff != "" {
				t.Errorf("requests differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestAFailedListWakesNothing(t *testing.T) {
	failing := interceptor.NewClient(manager(t).(client.WithWatch), interceptor.Funcs{
		List: func(context.Context, client.WithWatch, client.ObjectList, ...client.ListOption) error {
			return errors.New("the cache stops")
		},
	})
	if got := DaemonsOf(failing)(t.Context(), testbuild.BuildCache("ns", "cache")); len(got) > 0 {
		t.Errorf("requests are %v", got)
	}
}
