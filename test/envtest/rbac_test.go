// SPDX-License-Identifier: Apache-2.0

package envtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/go-logr/logr/funcr"
	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

const (
	systemNamespace = "hlb-system"
	managerUser     = "system:serviceaccount:" + systemNamespace + ":hlb-operator"
)

// applyRBAC installs config/rbac as kustomize would: with the namespace of config/default.
func applyRBAC(t *testing.T) {
	t.Helper()
	cluster := envtestkit.Get(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: systemNamespace}}
	if err := cluster.Client.Create(t.Context(), ns); err != nil && !apierrors.IsAlreadyExists(err) {
		t.Fatal(err)
	}
	files, err := filepath.Glob(filepath.Join(cluster.Root, "config", "rbac", "*.yaml"))
	if err != nil || len(files) < 5 {
		t.Fatalf("found %d files: %v", len(files), err)
	}
	for _, file := range files {
		applyFile(t, file, func(o *unstructured.Unstructured) {
			switch o.GetKind() {
			case "ServiceAccount", "Role", "RoleBinding":
				o.SetNamespace(systemNamespace)
			}
		})
	}
}

// applyFile applies the objects of a file, changed, but for kustomizations.
func applyFile(t *testing.T, file string, change func(*unstructured.Unstructured)) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range decodeAll(t, text) {
		if o.GetKind() == "" {
			continue
		}
		change(o)
		if err := envtestkit.Get(t).Client.Apply(t.Context(), client.ApplyConfigurationFromUnstructured(o),
			client.FieldOwner("test")); err != nil {
			t.Fatalf("apply %s: %v", file, err)
		}
	}
}

// refusals collects log lines that tell of a missing right.
type refusals struct {
	mu    sync.Mutex
	lines []string
}

func (r *refusals) log(prefix, args string) {
	if line := prefix + " " + args; strings.Contains(line, "orbidden") {
		r.mu.Lock()
		defer r.mu.Unlock()
		r.lines = append(r.lines, line)
	}
}

// startManager runs the whole manager with the rights of its service account until the test ends, for the namespaces or
// for all.
func startManager(t *testing.T, user string, namespaces ...string) *refusals {
	t.Helper()
	cluster := envtestkit.Get(t)
	refused := &refusals{}
	logger := funcr.New(refused.log, funcr.Options{})
	ctrl.SetLogger(logger) // informers log there
	mgr, err := ctrl.NewManager(cluster.ConfigAs(user), ctrl.Options{
		Scheme: cluster.Scheme, Metrics: metricsserver.Options{BindAddress: "0"}, Logger: logger,
		Cache:          controllers.CacheOptions(namespaces...),
		Controller:     config.Controller{SkipNameValidation: ptr.To(true)}, // there is one manager after the other
		LeaderElection: true, LeaderElectionID: "hlb-operator.build.openllb.dev",
		LeaderElectionNamespace: strings.Split(user, ":")[2], LeaderElectionReleaseOnCancel: true,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	install := controllers.Install{
		Images:     workload.Images{Operator: "operator:test", BuildKit: "buildkit:test"},
		BuildsRole: "hlb-operator-agent-builds",
	}
	if err := controllers.Setup(ctx, mgr, install); err != nil {
		t.Fatal(err)
	}
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the manager ended with %v", err)
		}
	})
	return refused
}

// holdLease renews a daemon's Lease as its agent does, for longer than any test runs.
func holdLease(t *testing.T, agent client.Client, name client.ObjectKey) error {
	lease := &coordinationv1.Lease{}
	if err := agent.Get(t.Context(), name, lease); err != nil {
		return err
	}
	if lease.Spec.HolderIdentity != nil {
		return nil
	}
	now := metav1.NowMicro()
	lease.Spec.HolderIdentity, lease.Spec.LeaseDurationSeconds = ptr.To("agent"), ptr.To[int32](3600)
	lease.Spec.RenewTime = &now
	return agent.Update(t.Context(), lease)
}

// TestRightsSuffice runs the manager as its service account through a fleet's and a build's life, and then asks what
// agents may do.
func TestRightsSuffice(t *testing.T) {
	cluster := envtestkit.Get(t)
	applyRBAC(t)
	refused := startManager(t, managerUser)
	ns := cluster.Namespace(t)
	cache, build := testbuild.BuildCache(ns, "cache", testbuild.WithReplicas(2)), testbuild.HLBBuild(ns, "b")
	for _, o := range []client.Object{build, cache} { // the build first: it waits for its cache
		if err := cluster.Client.Create(t.Context(), o); err != nil {
			t.Fatal(err)
		}
	}
	agent := cluster.As(t, "system:serviceaccount:"+ns+":cache-agent")
	daemon := &v1alpha1.BuildDaemon{ObjectMeta: metav1.ObjectMeta{Namespace: ns, Name: "cache-0"}}
	// With the rights of the agent, which has them from the Role that the manager made: hold the Lease, and say so
	// until the manager believes it. A manager that has not seen the Lease yet says NotStarted.
	envtestkit.Eventually(t, func() error {
		if err := holdLease(t, agent, client.ObjectKeyFromObject(daemon)); err != nil {
			return errors.Join(err, refusedError(refused))
		}
		if err := agent.Get(t.Context(), client.ObjectKeyFromObject(daemon), daemon); err != nil {
			return errors.Join(err, refusedError(refused))
		}
		if ready := envtestkit.Condition(daemon, v1alpha1.ConditionReady); ready == nil ||
			ready.Status != metav1.ConditionTrue {
			before := client.MergeFromWithOptions(daemon.DeepCopy(), client.MergeFromWithOptimisticLock{})
			testbuild.Serving(daemon)
			if err := agent.Status().Patch(t.Context(), daemon, before); err != nil {
				return err
			}
		}
		if err := cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(build), build); err != nil {
			return err
		}
		if build.Status.Placement == nil {
			return errors.New("the build is not placed yet")
		}
		return nil
	})
	cluster.WaitCondition(t, build, v1alpha1.ConditionScheduled, metav1.ConditionTrue, v1alpha1.ReasonDaemonChosen)
	if build.Status.Placement.Daemon != "cache-0" {
		t.Errorf("placed on %s, want the only daemon that serves", build.Status.Placement.Daemon)
	}
	envtestkit.Eventually(t, func() error {
		var events eventsv1.EventList
		if err := cluster.Client.List(t.Context(), &events, client.InNamespace(ns)); err != nil {
			return err
		}
		for i := range events.Items {
			if e := &events.Items[i]; e.Reason == v1alpha1.ReasonDaemonsNotReady && e.Regarding.Name == "cache" {
				return nil
			}
		}
		return fmt.Errorf("no event of the fleet among %d", len(events.Items))
	})
	t.Run("agents", func(t *testing.T) { checkAgentRights(t, ns) })
	t.Run("the manager", func(t *testing.T) { checkManagerRights(t, ns) })

	expectTakenBack(t, daemon, refused)

	scaled := cache.DeepCopy()
	envtestkit.Eventually(t, func() error {
		if err := cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(cache), scaled); err != nil {
			return err
		}
		scaled.Spec.Replicas = new(int32)
		return cluster.Client.Update(t.Context(), scaled)
	})
	cluster.WaitCondition(t, daemon, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonScaledDown)
	if err := refusedError(refused); err != nil {
		t.Error(err)
	}
}

// expectTakenBack has a daemon asked for a cache mount, and wants the manager to take that back: the BuildCache has
// no spec.prefetch.
func expectTakenBack(t *testing.T, daemon *v1alpha1.BuildDaemon, refused *refusals) {
	t.Helper()
	cluster := envtestkit.Get(t)
	envtestkit.Eventually(t, func() error {
		if err := cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(daemon), daemon); err != nil {
			return err
		}
		daemon.Spec.Prefetch = []v1alpha1.PrefetchRequest{{
			ID: daemon.Namespace + "/m", Sharing: v1alpha1.MountShared, RequestedAt: metav1.Now(),
		}}
		return cluster.Client.Update(t.Context(), daemon)
	})
	envtestkit.Eventually(t, func() error {
		if err := cluster.Client.Get(t.Context(), client.ObjectKeyFromObject(daemon), daemon); err != nil ||
			len(daemon.Spec.Prefetch) == 0 {
			return err
		}
		return errors.Join(errors.New("the request is not taken back"), refusedError(refused))
	})
}

func refusedError(r *refusals) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.lines) == 0 {
		return nil
	}
	return fmt.Errorf("refused: %s", strings.Join(r.lines, "\n"))
}

// may asks the server's authorizer.
func may(t *testing.T, user string, what authorizationv1.ResourceAttributes) bool {
	t.Helper()
	groups := []string{"system:authenticated", "system:serviceaccounts", "system:serviceaccounts:" +
		strings.Split(user, ":")[2]}
	review := &authorizationv1.SubjectAccessReview{Spec: authorizationv1.SubjectAccessReviewSpec{
		User: user, Groups: groups, ResourceAttributes: &what,
	}}
	if err := envtestkit.Get(t).Client.Create(t.Context(), review); err != nil {
		t.Fatal(err)
	}
	return review.Status.Allowed
}

type access = authorizationv1.ResourceAttributes

func checkAgentRights(t *testing.T, ns string) {
	user := "system:serviceaccount:" + ns + ":cache-agent"
	const group, leases = "build.openllb.dev", "coordination.k8s.io"
	cases := map[string]struct {
		access
		want bool
	}{
		"watches builds": {
			access{Verb: "watch", Group: group, Resource: "hlbbuilds", Namespace: ns}, true,
		},
		"reads a build": {
			access{Verb: "get", Group: group, Resource: "hlbbuilds", Name: "b", Namespace: ns}, true,
		},
		"reports on a build": {
			access{Verb: "patch", Group: group, Resource: "hlbbuilds", Subresource: "status", Name: "b", Namespace: ns},
			true,
		},
		"changes no build": {
			access{Verb: "patch", Group: group, Resource: "hlbbuilds", Name: "b", Namespace: ns}, false,
		},
		"deletes no build": {
			access{Verb: "delete", Group: group, Resource: "hlbbuilds", Name: "b", Namespace: ns}, false,
		},
		"watches its BuildCache": {
			access{Verb: "watch", Group: group, Resource: "buildcaches", Name: "cache", Namespace: ns}, true,
		},
		"watches no other BuildCache": {
			access{Verb: "watch", Group: group, Resource: "buildcaches", Name: "other", Namespace: ns}, false,
		},
		"changes no BuildCache": {
			access{Verb: "patch", Group: group, Resource: "buildcaches", Name: "cache", Namespace: ns}, false,
		},
		"watches a daemon of the fleet": {
			access{Verb: "watch", Group: group, Resource: "builddaemons", Name: "cache-1", Namespace: ns}, true,
		},
		"lists the daemons of its fleet": {
			access{Verb: "list", Group: group, Resource: "builddaemons", Namespace: ns}, true,
		},
		"reports on a daemon of the fleet": {
			access{Verb: "patch", Group: group, Resource: "builddaemons", Subresource: "status", Name: "cache-0",
				Namespace: ns},
			true,
		},
		"asks its daemon for no mounts": {
			access{Verb: "patch", Group: group, Resource: "builddaemons", Name: "cache-0", Namespace: ns}, false,
		},
		"reports on no daemon of another": {
			access{Verb: "patch", Group: group, Resource: "builddaemons", Subresource: "status", Name: "other-0",
				Namespace: ns},
			false,
		},
		"renews its Lease": {
			access{Verb: "update", Group: leases, Resource: "leases", Name: "cache-0", Namespace: ns}, true,
		},
		"renews no other Lease": {
			access{Verb: "update", Group: leases, Resource: "leases", Name: "other", Namespace: ns}, false,
		},
		"makes no Lease": {
			access{Verb: "create", Group: leases, Resource: "leases", Namespace: ns}, false,
		},
		"tells events": {
			access{Verb: "create", Group: "events.k8s.io", Resource: "events", Namespace: ns}, true,
		},
		"reads a Secret that a build names": {
			access{Verb: "get", Resource: "secrets", Name: "s", Namespace: ns}, true,
		},
		"reads a ConfigMap that a build names": {
			access{Verb: "get", Resource: "configmaps", Name: "c", Namespace: ns}, true,
		},
		"lists no Secrets":   {access{Verb: "list", Resource: "secrets", Namespace: ns}, false},
		"watches no Secrets": {access{Verb: "watch", Resource: "secrets", Namespace: ns}, false},
		"writes no Secret":   {access{Verb: "create", Resource: "secrets", Namespace: ns}, false},
		"makes no pods":      {access{Verb: "create", Resource: "pods", Namespace: ns}, false},
		"reads no Secret of another namespace": {
			access{Verb: "get", Resource: "secrets", Name: "s", Namespace: "default"}, false,
		},
		"sees no build of another namespace": {
			access{Verb: "list", Group: group, Resource: "hlbbuilds", Namespace: "default"}, false,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := may(t, user, tc.access); got != tc.want {
				t.Errorf("may %s %s/%s is %v, want %v", tc.Verb, tc.Resource, tc.Name, got, tc.want)
			}
		})
	}
}

func checkManagerRights(t *testing.T, ns string) {
	for name, what := range map[string]access{
		"reads no Secret":             {Verb: "get", Resource: "secrets", Name: "s", Namespace: ns},
		"lists no Secrets of its own": {Verb: "list", Resource: "secrets", Namespace: systemNamespace},
		"runs nothing in pods":        {Verb: "create", Resource: "pods", Subresource: "exec", Namespace: ns},
		"binds no other ClusterRole": {
			Verb: "bind", Group: "rbac.authorization.k8s.io", Resource: "clusterroles", Name: "cluster-admin",
		},
		"grants no more than it has": {
			Verb: "escalate", Group: "rbac.authorization.k8s.io", Resource: "roles", Namespace: ns,
		},
		"deletes no BuildCache": {
			Verb: "delete", Group: "build.openllb.dev", Resource: "buildcaches", Name: "c", Namespace: ns,
		},
		"changes nobody's spec of a build": {
			Verb: "patch", Group: "build.openllb.dev", Resource: "hlbbuilds", Name: "b", Namespace: ns,
		},
	} {
		t.Run(name, func(t *testing.T) {
			if may(t, managerUser, what) {
				t.Errorf("it may %s %s", what.Verb, what.Resource)
			}
		})
	}
}
