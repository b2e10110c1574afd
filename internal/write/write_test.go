// SPDX-License-Identifier: Apache-2.0

package write_test

import (
	"context"
	"errors"
	"slices"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/write"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func newScheme(t *testing.T) *runtime.Scheme {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := errors.Join(clientgoscheme.AddToScheme(scheme), v1alpha1.AddToScheme(scheme)); err != nil {
		t.Fatal(err)
	}
	return scheme
}

// server is an API server in memory that counts patches and may refuse them.
type server struct {
	client.WithWatch
	patches int
	refuse  error // nil for none
}

func newServer(t *testing.T, objects ...client.Object) *server {
	t.Helper()
	s := &server{}
	s.WithWatch = fake.NewClientBuilder().WithScheme(newScheme(t)).WithObjects(objects...).
		WithStatusSubresource(&v1alpha1.HLBBuild{}, &v1alpha1.BuildDaemon{}).
		WithInterceptorFuncs(interceptor.Funcs{
			SubResourcePatch: func(
				ctx context.Context, c client.Client, sub string, o client.Object, p client.Patch,
				opts ...client.SubResourcePatchOption,
			) error {
				s.patches++
				if s.refuse != nil {
					return s.refuse
				}
				return c.SubResource(sub).Patch(ctx, o, p, opts...)
			},
		}).Build()
	return s
}

func (s *server) build(t *testing.T) *v1alpha1.HLBBuild {
	t.Helper()
	b := &v1alpha1.HLBBuild{}
	if err := s.Get(t.Context(), types.NamespacedName{Namespace: "ns", Name: "b"}, b); err != nil {
		t.Fatal(err)
	}
	return b
}

func setSteps(display string) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) { b.Status.Steps = &v1alpha1.StepsStatus{Display: display} }
}

func always(*v1alpha1.HLBBuild) bool { return true }

func TestPoliciesSayWhatAConflictMeans(t *testing.T) {
	builds := schema.GroupResource{Resource: "hlbbuilds"}
	conflict := apierrors.NewConflict(builds, "b", errors.New("changed"))
	gone := apierrors.NewNotFound(builds, "b")
	down := apierrors.NewServiceUnavailable("starting")
	cases := map[string]struct {
		policy  write.Policy
		refuse  error
		want    write.Outcome
		wantErr error
	}{
		"written, whichever the policy":       {write.Yield, nil, write.Written, nil},
		"who yields has lost to a conflict":   {write.Yield, conflict, write.Conflict, nil},
		"who retries has an error":            {write.Retry, conflict, write.Conflict, conflict},
		"who yields need not report the dead": {write.Yield, gone, write.Gone, nil},
		"who retries need not either":         {write.Retry, gone, write.Gone, nil},
		"an API server that is down, yield":   {write.Yield, down, write.Unchanged, down},
		"an API server that is down, retry":   {write.Retry, down, write.Unchanged, down},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			s := newServer(t, testbuild.HLBBuild("ns", "b"))
			s.refuse = tc.refuse
			before := s.build(t)
			after := before.DeepCopy()
			setSteps("1/2")(after)
			got, err := (&write.Writer{Client: s}).PatchStatus(t.Context(), before, after, tc.policy)
			if got != tc.want || !errors.Is(err, tc.wantErr) {
				t.Errorf("outcome %d and error %v, want %d and %v", got, err, tc.want, tc.wantErr)
			}
		})
	}
}

func TestNothingIsSentWhereNothingDiffers(t *testing.T) {
	s := newServer(t, testbuild.HLBBuild("ns", "b"))
	before := s.build(t)
	got, err := (&write.Writer{Client: s}).PatchStatus(t.Context(), before, before.DeepCopy(), write.Retry)
	if got != write.Unchanged || err != nil || s.patches > 0 {
		t.Errorf("outcome %d, error %v, %d patches", got, err, s.patches)
	}
}

func TestReportsAreWrittenOverAConflict(t *testing.T) {
	s := newServer(t, testbuild.HLBBuild("ns", "b"))
	stale := s.build(t)
	fresh := stale.DeepCopy()
	fresh.Status.Run = &v1alpha1.RunStatus{ID: "g1"}
	if err := s.Status().Update(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	done, err := write.Reread(t.Context(), &write.Writer{Client: s}, stale, always, setSteps("1/2"))
	if err != nil || done.Outcome != write.Written || s.patches != 2 {
		t.Fatalf("outcome %d, error %v, after %d patches", done.Outcome, err, s.patches)
	}
	if b := s.build(t); b.Status.Steps == nil || b.Status.Run == nil {
		t.Errorf("status is %+v, want both changes", b.Status)
	}
	if done.Before.Status.Run == nil || stale.Status.Steps != nil {
		t.Error("before is not what was read last, or the caller's object was changed")
	}
}

func TestReportsEndWhenTheObjectIsSomebodyElses(t *testing.T) {
	s := newServer(t, testbuild.HLBBuild("ns", "b"))
	stale := s.build(t)
	fresh := stale.DeepCopy()
	fresh.Status.Run = &v1alpha1.RunStatus{ID: "g2"}
	if err := s.Status().Update(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	w := &write.Writer{Client: s}
	mine := func(b *v1alpha1.HLBBuild) bool { return b.Status.Run == nil }
	done, err := write.Reread(t.Context(), w, stale, mine, setSteps("1/2"))
	if err != nil || done.Outcome != write.NotMine {
		t.Errorf("outcome %d, error %v, want NotMine", done.Outcome, err)
	}
	if err := s.Delete(t.Context(), fresh); err != nil {
		t.Fatal(err)
	}
	done, err = write.Reread(t.Context(), w, fresh, always, setSteps("1/2"))
	if err != nil || done.Outcome != write.Gone {
		t.Errorf("outcome %d, error %v, want Gone", done.Outcome, err)
	}
}

func TestReportsReturnTroubleOfTheAPI(t *testing.T) {
	s := newServer(t, testbuild.HLBBuild("ns", "b"))
	s.refuse = apierrors.NewForbidden(schema.GroupResource{Resource: "hlbbuilds"}, "b", errors.New("not yet"))
	_, err := write.Reread(t.Context(), &write.Writer{Client: s}, s.build(t), always, setSteps("1/2"))
	if !apierrors.IsForbidden(err) || s.patches != 1 {
		t.Errorf("error %v after %d patches, want the refusal at once", err, s.patches)
	}
}

func TestReportsDoNotFightAStormOfConflicts(t *testing.T) {
	s := newServer(t, testbuild.HLBBuild("ns", "b"))
	s.refuse = apierrors.NewConflict(schema.GroupResource{Resource: "hlbbuilds"}, "b", errors.New("changed"))
	_, err := write.Reread(t.Context(), &write.Writer{Client: s}, s.build(t), always, setSteps("1/2"))
	if err == nil || s.patches != 5 {
		t.Errorf("error %v after %d patches, want one after 5", err, s.patches)
	}
}

func TestEventsFollowSuccessfulWritesOnly(t *testing.T) {
	s := newServer(t, testbuild.BuildDaemon("ns", "c", 0))
	told := &envtestkit.Recorder{}
	w := &write.Writer{Client: s, Events: told}
	before := &v1alpha1.BuildDaemon{}
	if err := s.Get(t.Context(), types.NamespacedName{Namespace: "ns", Name: "c-0"}, before); err != nil {
		t.Fatal(err)
	}
	after := before.DeepCopy()
	testbuild.WithReady("Unknown", v1alpha1.ReasonLeaseExpired)(after)
	s.refuse = apierrors.NewConflict(schema.GroupResource{}, "c-0", errors.New("changed"))
	if _, err := w.PatchStatus(t.Context(), before, after, write.Yield); err != nil || len(told.Take()) > 0 {
		t.Errorf("a write that was refused has events, or the error %v", err)
	}
	s.refuse = nil
	_, err := w.PatchStatus(t.Context(), before, after, write.Yield)
	if got := told.Reasons(); err != nil || !slices.Equal(got, []string{v1alpha1.ReasonLeaseExpired}) {
		t.Errorf("events %q, error %v", got, err)
	}
}

func TestTriesAreCountedInARow(t *testing.T) {
	var tries write.Tries
	a, b := types.NamespacedName{Name: "a"}, types.NamespacedName{Name: "b"}
	failed := errors.New("x")
	passes := []struct {
		name types.NamespacedName
		err  error
		want int
	}{{a, failed, 1}, {a, failed, 2}, {b, failed, 1}, {a, nil, 0}, {a, failed, 1}}
	for i, p := range passes {
		if got := tries.Count(p.name, p.err); got != p.want {
			t.Errorf("pass %d: %d have failed in a row, want %d", i, got, p.want)
		}
	}
}
