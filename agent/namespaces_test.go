// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// serve sets the other namespaces that the BuildCache serves.
func (w *world) serve(namespaces ...v1alpha1.ServedNamespace) {
	w.t.Helper()
	cache := &v1alpha1.BuildCache{}
	if err := w.Client.Get(w.t.Context(), types.NamespacedName{Namespace: w.ns, Name: "cache"}, cache); err != nil {
		w.t.Fatal(err)
	}
	cache.Status.Namespaces = namespaces
	if err := w.Client.Status().Update(w.t.Context(), cache); err != nil {
		w.t.Fatal(err)
	}
}

// visit makes a build of another namespace with an open run that is placed on the daemon.
func (w *world) visit(namespace, name, program string) *v1alpha1.HLBBuild {
	w.t.Helper()
	b := testbuild.HLBBuild(namespace, name, testbuild.WithProgram(program))
	b.Spec.CacheRef.Namespace = w.ns
	w.create(b)
	w.manage(b, func(b *v1alpha1.HLBBuild) {
		run := v1alpha1.RunStatus{ID: "g1", Cause: v1alpha1.CauseSpecChanged, Generation: b.Generation, Key: "/team/k"}
		status.Open(b, run, time.Now())
		status.Place(b, v1alpha1.PlacementStatus{Daemon: "cache-0", Namespace: w.ns}, time.Now())
	})
	return b
}

func TestBuildsOfServedNamespacesAreRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	team := w.Namespace(t)
	jobs, begun, ended := make(chan *daemon.Job, 1), make(chan struct{}), make(chan struct{})
	builder := &fakeBuilder{builds: map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){
		"first": func(_ context.Context, job *daemon.Job) (*daemon.Outcome, error) {
			jobs <- job
			return &daemon.Outcome{}, nil
		},
		"second": func(ctx context.Context, _ *daemon.Job) (*daemon.Outcome, error) {
			close(begun)
			<-ctx.Done()
			close(ended)
			return &daemon.Outcome{}, errors.New("cancelled")
		},
	}}
	w.start(builder, "pod-1")
	first := w.visit(team, "first", "first")
	time.Sleep(time.Second) // long enough for an agent that looks into a namespace that is not served
	if began := builder.began(); len(began) > 0 {
		t.Fatalf("a build of a namespace that is not served was run: %v", began)
	}
	w.serve(v1alpha1.ServedNamespace{Name: team, Admitted: true})
	w.eventually(first, "the build is over", status.IsFinal)
	if job := <-jobs; job.Namespace != team {
		t.Errorf("its caches are of namespace %q, want %q", job.Namespace, team)
	}
	w.visit(team, "second", "second")
	await(t, begun, "the second build")
	w.serve()
	await(t, ended, "the end of a build whose namespace is not served any more")
}
