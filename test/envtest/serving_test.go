// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"encoding/json"
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	autoscalingv1 "k8s.io/api/autoscaling/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/discovery"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestBuildCacheScales(t *testing.T) {
	cluster := envtestkit.Get(t)
	cache := testbuild.BuildCache(cluster.Namespace(t), "c")
	if err := cluster.Client.Create(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	cache.Status.Replicas, cache.Status.Selector = 2, "build.openllb.dev/cache=c"
	if err := cluster.Client.Status().Update(t.Context(), cache); err != nil {
		t.Fatal(err)
	}
	scale := &autoscalingv1.Scale{}
	if err := cluster.Client.SubResource("scale").Get(t.Context(), cache, scale); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(autoscalingv1.ScaleStatus{Replicas: 2, Selector: "build.openllb.dev/cache=c"},
		scale.Status); diff != "" {
		t.Errorf("scale status differs (-want +got):\n%s", diff)
	}
	scale.Spec.Replicas = 5
	if err := cluster.Client.SubResource("scale").
		Update(t.Context(), cache, client.WithSubResourceBody(scale)); err != nil {
		t.Fatal(err)
	}
	if err := cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(cache), cache); err != nil {
		t.Fatal(err)
	}
	if *cache.Spec.Replicas != 5 {
		t.Errorf("spec.replicas is %d after scaling to 5", *cache.Spec.Replicas)
	}
	scale.ResourceVersion, scale.Spec.Replicas = "", 1001
	err := cluster.Client.SubResource("scale").Update(t.Context(), cache, client.WithSubResourceBody(scale))
	expectVerdict(t, err, "spec.replicas")
}

// place binds a build to a daemon as the scheduler does, or takes it back where daemon is empty.
func place(t *testing.T, c client.Client, b *v1alpha1.HLBBuild, daemon string) {
	t.Helper()
	now := time.Now()
	if b.Status.Run == nil {
		status.Open(b, v1alpha1.RunStatus{ID: "g1", Cause: v1alpha1.CauseSpecChanged, Generation: b.Generation}, now)
	}
	if daemon == "" {
		status.Wait(b, v1alpha1.ReasonPending, "taken back", now)
	} else {
		status.Place(b, v1alpha1.PlacementStatus{Daemon: daemon}, now)
	}
	if err := c.Status().Update(t.Context(), b); err != nil {
		t.Fatal(err)
	}
}

func TestBuildsAreSelectedByDaemon(t *testing.T) {
	cluster := envtestkit.Get(t)
	ns := cluster.Namespace(t)
	mine := client.MatchingFieldsSelector{Selector: fields.OneTermEqualSelector(v1alpha1.FieldPlacementDaemon, "c-0")}
	w, err := cluster.Client.Watch(t.Context(), &v1alpha1.HLBBuildList{}, client.InNamespace(ns), mine)
	if err != nil {
		t.Fatal(err)
	}
	defer w.Stop()
	build, other := testbuild.HLBBuild(ns, "a"), testbuild.HLBBuild(ns, "b", testbuild.WithCache("other"))
	for _, b := range []*v1alpha1.HLBBuild{build, other} {
		if err := cluster.Client.Create(t.Context(), b); err != nil {
			t.Fatal(err)
		}
	}
	place(t, cluster.Client, other, "c-1")
	place(t, cluster.Client, build, "c-0")
	expectEvent(t, w, watch.Added, "a")
	var listed v1alpha1.HLBBuildList
	if err := cluster.Client.List(t.Context(), &listed, client.InNamespace(ns), mine); err != nil {
		t.Fatal(err)
	}
	if len(listed.Items) != 1 || listed.Items[0].Name != "a" {
		t.Errorf("listed %d builds, want only a", len(listed.Items))
	}
	place(t, cluster.Client, build, "")
	expectEvent(t, w, watch.Deleted, "a")

	if err := cluster.Client.List(t.Context(), &listed, client.InNamespace(ns),
		client.MatchingFields{"spec.cacheRef.name": "other"}); err != nil {
		t.Fatal(err)
	}
	if len(listed.Items) != 1 || listed.Items[0].Name != "b" {
		t.Errorf("listed %d builds of the other cache, want only b", len(listed.Items))
	}
}

func expectEvent(t *testing.T, w watch.Interface, want watch.EventType, name string) {
	t.Helper()
	select {
	case e := <-w.ResultChan():
		got, ok := e.Object.(*v1alpha1.HLBBuild)
		if !ok || e.Type != want || got.Name != name {
			t.Fatalf("event %s %v, want %s %s", e.Type, e.Object, want, name)
		}
	case <-time.After(envtestkit.Patience):
		t.Fatalf("no event, want %s %s", want, name)
	}
}

// columns is one row of the table that kubectl get prints, by column.
func columns(t *testing.T, namespace, resource, name string) map[string]string {
	t.Helper()
	disco, err := discovery.NewDiscoveryClientForConfig(envtestkit.Get(t).Config)
	if err != nil {
		t.Fatal(err)
	}
	path := fmt.Sprintf("/apis/build.openllb.dev/v1alpha1/namespaces/%s/%s/%s", namespace, resource, name)
	raw, err := disco.RESTClient().Get().AbsPath(path).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil {
		t.Fatal(err)
	}
	row := map[string]string{}
	for i, c := range table.ColumnDefinitions {
		if c.Name != "Age" && c.Name != "Name" && table.Rows[0].Cells[i] != nil {
			row[c.Name] = fmt.Sprint(table.Rows[0].Cells[i])
		}
	}
	return row
}

func TestColumnsAnswerTheFirstQuestions(t *testing.T) {
	cluster := envtestkit.Get(t)
	ns := cluster.Namespace(t)
	cache, daemon, build := testbuild.BuildCache(ns, "c", testbuild.WithReplicas(3)), testbuild.BuildDaemon(ns, "c",
		0), testbuild.HLBBuild(ns, "b")
	for _, o := range []client.Object{cache, daemon, build} {
		if err := cluster.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	cache.Status.ReadyDisplay, cache.Status.Usage = "2/3", "61% of 30Gi"
	cache.Status.ReadyReplicas, cache.Status.Storage = 2, &v1alpha1.StorageStatus{Size: resource.MustParse("10Gi")}
	status.Set(&cache.Status.Conditions, metav1.Condition{Type: "Ready", Status: "False", Reason: "DaemonsNotReady"},
		time.Now())
	testbuild.Serving(daemon)
	daemon.Status.NodeName, daemon.Status.RunningBuilds, daemon.Status.Version = "n1", 2, "v0.34.2"
	place(t, cluster.Client, build, "c-0")
	status.Start(build, "agent", envtestkit.Epoch)
	build.Status.Run.Key = "k"
	build.Status.Steps = &v1alpha1.StepsStatus{Total: 14, Cached: 12, Display: "12/14"}
	status.Succeed(build, envtestkit.Epoch.Add(2*time.Second))
	for _, o := range []client.Object{cache, daemon, build} {
		if err := cluster.Client.Status().Update(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	cases := map[string]struct {
		resource, name string
		want           map[string]string
	}{
		"of a fleet": {"buildcaches", "c", map[string]string{
			"Ready": "False", "Daemons": "2/3", "Size": "10Gi", "Used": "61% of 30Gi", "Reason": "DaemonsNotReady"}},
		"of a daemon": {"builddaemons", "c-0", map[string]string{
			"Cache": "c", "Ready": "True", "Reason": "DaemonServing", "Node": "n1", "Running": "2", "Slots": "4",
			"Version": "v0.34.2"}},
		"of a build": {"hlbbuilds", "b", map[string]string{
			"Ready": "True", "Reason": "Succeeded", "Daemon": "c-0", "Cached": "12/14", "Seconds": "2", "Attempt": "1",
			"Key": "k"}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if diff := cmp.Diff(tc.want, columns(t, ns, tc.resource, tc.name)); diff != "" {
				t.Errorf("columns differ (-want +got):\n%s", diff)
			}
		})
	}
}

func TestShortNames(t *testing.T) {
	disco, err := discovery.NewDiscoveryClientForConfig(envtestkit.Get(t).Config)
	if err != nil {
		t.Fatal(err)
	}
	list, err := disco.ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	if err != nil {
		t.Fatal(err)
	}
	got := map[string][]string{}
	for _, r := range list.APIResources {
		if len(r.ShortNames) > 0 {
			got[r.Name] = append(r.ShortNames, r.Categories...)
		}
	}
	want := map[string][]string{"buildcaches": {
		"bcache", "build",
	}, "builddaemons": {"bd", "build"}, "hlbbuilds": {"hb", "build"}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("short names and categories differ (-want +got):\n%s", diff)
	}
}
