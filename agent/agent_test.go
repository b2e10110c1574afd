// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	kstatus "sigs.k8s.io/cli-utils/pkg/kstatus/status"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/attempt"
	"github.com/openllb/hlb-operator/internal/cacheref"
	"github.com/openllb/hlb-operator/internal/failure"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

func TestABuildIsTakenUpAndReported(t *testing.T) {
	t.Parallel()
	w := newWorld(t, func(c *v1alpha1.BuildCache) {
		c.Spec.Registry = &v1alpha1.RegistryCacheSpec{Repository: "r.example.com/cache"}
	})
	builder := &fakeBuilder{}
	w.start(builder, "pod")
	b := w.bind("b", "p")
	w.WaitCondition(t, b, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	if got := envtestkit.Kstatus(t, b); got != kstatus.CurrentStatus {
		t.Errorf("kstatus is %s", got)
	}
	ref := cacheref.Ref("r.example.com/cache", w.ns, "key-b")
	w.eventually(b, "the export", func(b *v1alpha1.HLBBuild) bool { return b.Status.Cache.ExportRef != "" })
	want := v1alpha1.HLBBuildStatus{
		Cache:  &v1alpha1.CacheUseStatus{Fresh: true, ImportRefs: []string{ref}, ExportRef: ref},
		Steps:  &v1alpha1.StepsStatus{Total: 3, Cached: 2, Display: "2/3"},
		Mounts: []v1alpha1.BuildMount{{ID: "ns/m", Target: "/m", Sharing: v1alpha1.MountShared, Hit: true, Bytes: 7}},
	}
	got := v1alpha1.HLBBuildStatus{Cache: b.Status.Cache, Steps: b.Status.Steps, Mounts: b.Status.Mounts}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("status (-want +got):\n%s", diff)
	}
	for _, kind := range []string{v1alpha1.ConditionCacheImported, v1alpha1.ConditionCacheExported} {
		if !meta.IsStatusConditionTrue(b.Status.Conditions, kind) {
			t.Errorf("%s is not True: %+v", kind, b.Status.Conditions)
		}
	}
	if !strings.HasPrefix(b.Status.Run.StartedBy, "pod/") || b.Status.Log == nil || b.Status.Log.File != w.ns+
		"-b-g1-1.log" || b.Status.Log.Daemon != b.Status.Placement.Daemon {
		t.Errorf("started by %s, log in %+v", b.Status.Run.StartedBy, b.Status.Log)
	}

	// The next run of the key finds the daemon warm, and neither imports nor exports, unless its placement asks to
	// refresh what is there.
	again := w.bind("again", "p", testbuild.WithCacheKey("x"))
	w.manage(again, func(b *v1alpha1.HLBBuild) {}) // reads it
	w.WaitCondition(t, again, v1alpha1.ConditionReady, metav1.ConditionTrue, "")
	run := again.Status.Run
	for id, refresh := range map[string]bool{"g1-b": false, "g1-c": true} {
		w.manage(again, func(b *v1alpha1.HLBBuild) {
			status.Open(b,
				v1alpha1.RunStatus{ID: id, Cause: v1alpha1.CauseRequested, Generation: b.Generation, Key: run.Key},
				time.Now())
			status.Place(b, v1alpha1.PlacementStatus{Daemon: "cache-0", Refresh: refresh}, time.Now())
		})
		w.eventually(again, "the next run's end", func(b *v1alpha1.HLBBuild) bool {
			return b.Status.Run.ID == id && status.IsFinal(b)
		})
		if c := again.Status.Cache; c.Fresh != refresh || len(c.ImportRefs) > 0 != refresh {
			t.Errorf("with refresh %v the next run used the registry cache as %+v", refresh, c)
		}
	}

	bd := &v1alpha1.BuildDaemon{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache-0"}}
	w.WaitCondition(t, bd, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonDaemonServing)
	envtestkit.Eventually(t, func() error {
		if err := w.Client.Get(t.Context(), client.ObjectKeyFromObject(bd), bd); err != nil {
			return err
		}
		s := bd.Status
		if len(s.Keys) != 2 || s.Slots != 4 || s.NodeName != "node-a" || s.VolumeEpoch == "" || s.CapacityBytes == 0 ||
			len(s.Mounts) != 1 || s.Mounts[0].LastUsed == nil || len(s.Platforms) != 32 {
			return fmt.Errorf("the daemon's status is %+v", s)
		}
		return nil
	})
}

func TestAFailureIsReportedWithItsReason(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(&fakeBuilder{builds: map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){
		"bad": func(context.Context, *daemon.Job) (*daemon.Outcome, error) {
			return &daemon.Outcome{}, errors.New("it broke")
		},
		"slow": until(make(chan struct{})),
		"panicked": func(context.Context, *daemon.Job) (*daemon.Outcome, error) {
			panic("at the builder")
		},
	}}, "pod")
	bad := w.bind("bad", "bad")
	panicked := w.bind("panicked", "panicked")
	slow := w.bind("slow", "slow", testbuild.WithTimeout(1))
	w.WaitCondition(t, bad, v1alpha1.ConditionSucceeded, metav1.ConditionFalse, v1alpha1.ReasonSolveFailed)
	w.WaitCondition(t, slow, v1alpha1.ConditionSucceeded, metav1.ConditionFalse, v1alpha1.ReasonDeadlineExceeded)
	w.eventually(panicked, "lost", isLost)
	if got := panicked.Status.Run.Lost.Reason; got != v1alpha1.ReasonInternalError {
		t.Errorf("a build whose builder panicked was lost for %s", got)
	}
	if got := envtestkit.Kstatus(t, bad); got != kstatus.FailedStatus {
		t.Errorf("kstatus is %s", got)
	}
	var events corev1.EventList
	envtestkit.Eventually(t, func() error {
		if err := w.Client.List(t.Context(), &events, client.InNamespace(w.ns)); err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.InvolvedObject.Name == "bad" && e.Type == corev1.EventTypeWarning &&
				e.Reason == v1alpha1.ReasonSolveFailed {
				return nil
			}
		}
		return errors.New("there is no warning about the failed build")
	})
}

func TestABuildWithoutItsSecretIsHandedBack(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(&fakeBuilder{}, "pod")
	b := w.bind("secret", "p", func(b *v1alpha1.HLBBuild) {
		key := v1alpha1.SecretKeyReference{Name: "absent", Key: "k"}
		b.Spec.Secrets = []v1alpha1.BuildSecret{{ID: "a", SecretKeyRef: key}}
	})
	w.WaitCondition(t, b, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonSecretNotFound)
	if got := envtestkit.Kstatus(t, b); got != kstatus.InProgressStatus {
		t.Errorf("kstatus is %s", got)
	}
	run := b.Status.Run
	if b.Status.Placement != nil || run.Attempt != 2 || run.UncountedAttempts != 1 || !status.IsHeld(b) {
		t.Errorf("placement %+v of run %+v", b.Status.Placement, run)
	}
	if !strings.Contains(run.Missing.Message, `"absent"`) {
		t.Errorf("the message does not name the Secret: %s", run.Missing.Message)
	}
}

func TestSlotsAreGivenInTheOrderOfPlacement(t *testing.T) {
	t.Parallel()
	w := newWorld(t, testbuild.WithSlots(1))
	first, release := make(chan struct{}), make(chan struct{})
	builder := &fakeBuilder{builds: map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){
		"first": func(context.Context, *daemon.Job) (*daemon.Outcome, error) {
			close(first)
			<-release
			return &daemon.Outcome{Total: 1}, nil
		},
	}}
	w.start(builder, "pod")
	w.bind("z", "first")
	await(t, first, "the first build")
	w.bind("y", "second")
	last := w.bind("x", "third")
	close(release)
	w.WaitCondition(t, last, v1alpha1.ConditionReady, metav1.ConditionTrue, "")
	if diff := cmp.Diff([]string{"first", "second", "third"}, builder.began()); diff != "" {
		t.Errorf("order (-want +got):\n%s", diff)
	}
}

func TestABuildThatIsNoLongerWantedIsCancelled(t *testing.T) {
	t.Parallel()
	for name, change := range map[string]func(w *world, b *v1alpha1.HLBBuild){
		"deleted": func(w *world, b *v1alpha1.HLBBuild) {
			if err := w.Client.Delete(w.t.Context(), b); err != nil {
				w.t.Fatal(err)
			}
		},
		"edited": func(w *world, b *v1alpha1.HLBBuild) {
			envtestkit.Eventually(w.t, func() error {
				if err := w.Client.Get(w.t.Context(), client.ObjectKeyFromObject(b), b); err != nil {
					return err
				}
				testbuild.WithProgram("other")(b)
				return w.Client.Update(w.t.Context(), b)
			})
		},
		"given away": func(w *world, b *v1alpha1.HLBBuild) {
			w.manage(b, func(b *v1alpha1.HLBBuild) {
				status.Lose(b, v1alpha1.ReasonDaemonLost, "test", time.Now())
				status.Retry(b, failure.Verdict{Counts: true}, time.Now())
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			begun, ended := make(chan struct{}), make(chan struct{})
			w.start(&fakeBuilder{builds: map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){
				"p": func(ctx context.Context, job *daemon.Job) (*daemon.Outcome, error) {
					defer close(ended)
					return until(begun)(ctx, job)
				},
			}}, "pod")
			b := w.bind("b", "p")
			await(t, begun, "the build")
			change(w, b)
			await(t, ended, "the build's end")
		})
	}
}

func TestDrainingWaitsForBuilds(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun, release := make(chan struct{}), make(chan struct{})
	stop := w.start(&fakeBuilder{builds: map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){
		"p": func(context.Context, *daemon.Job) (*daemon.Outcome, error) {
			close(begun)
			<-release
			return &daemon.Outcome{Total: 1}, nil
		},
	}}, "pod")
	b := w.bind("b", "p")
	await(t, begun, "the build")
	stopped := make(chan error, 1)
	go func() { stopped <- stop() }()
	bd := &v1alpha1.BuildDaemon{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache-0"}}
	w.WaitCondition(t, bd, v1alpha1.ConditionDraining, metav1.ConditionTrue, v1alpha1.ReasonShuttingDown)
	late := w.bind("late", "late")
	close(release)
	if err := <-stopped; err != nil {
		t.Errorf("the agent ended with: %v", err)
	}
	w.WaitCondition(t, b, v1alpha1.ConditionReady, metav1.ConditionTrue, "")
	w.WaitCondition(t, late, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonAwaitingAgent)
	held := &coordinationv1.Lease{}
	if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "cache-0"}, held); err != nil {
		t.Fatal(err)
	}
	if held.Spec.HolderIdentity == nil || *held.Spec.HolderIdentity != "" {
		t.Errorf("the Lease was not released: %+v", held.Spec)
	}
}

func TestABuildThatOutlastsDrainingIsLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun := make(chan struct{})
	stop := w.start(&fakeBuilder{builds: map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){
		"p": until(begun),
	}}, "pod",
		func(o *agent.Options) { o.DrainTimeout = 0 })
	b := w.bind("b", "p")
	await(t, begun, "the build")
	if err := stop(); err != nil {
		t.Errorf("the agent ended with: %v", err)
	}
	w.eventually(b, "lost", isLost)
	if b.Status.Run.Lost.Reason != v1alpha1.ReasonDaemonDraining {
		t.Errorf("it was lost for %s", b.Status.Run.Lost.Reason)
	}
}

func TestAnEarlierAgentsAttemptIsReportedLost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	b := w.bind("b", "p")
	w.manage(b, func(b *v1alpha1.HLBBuild) { status.Start(b, "pod/earlier", time.Now()) })
	builder := &fakeBuilder{}
	w.start(builder, "pod")
	w.eventually(b, "lost", isLost)
	if lost := b.Status.Run.Lost; lost.Attempt != 1 || lost.Daemon != "cache-0" ||
		lost.Reason != v1alpha1.ReasonDaemonLost {
		t.Errorf("lost: %+v", lost)
	}
	if len(builder.began()) > 0 {
		t.Error("the attempt was run a second time")
	}
}

func TestAnAgentThatLosesItsLeaseFencesItself(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun, ended := make(chan struct{}), make(chan struct{})
	w.start(&fakeBuilder{builds: map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){
		"p": func(ctx context.Context, job *daemon.Job) (*daemon.Outcome, error) {
			defer close(ended)
			return until(begun)(ctx, job)
		},
	}}, "pod", func(o *agent.Options) {
		o.Lease = attempt.Timing{RenewEvery: 200 * time.Millisecond, FenceAfter: 1500 * time.Millisecond,
			Duration: 2 * time.Second}
	})
	b := w.bind("b", "p")
	await(t, begun, "the build")
	other, now, seconds := "otherpod/x", metav1.NowMicro(), int32(2)
	envtestkit.Eventually(t, func() error { // the agent writes it too
		held := &coordinationv1.Lease{}
		if err := w.Client.Get(t.Context(), client.ObjectKey{Namespace: w.ns, Name: "cache-0"}, held); err != nil {
			return err
		}
		held.Spec.HolderIdentity, held.Spec.RenewTime, held.Spec.LeaseDurationSeconds = &other, &now, &seconds
		return w.Client.Update(t.Context(), held)
	})
	await(t, ended, "the build's end")
	// The other holder goes silent, so the agent takes the Lease back and then says what became of its attempt.
	w.eventually(b, "lost", isLost)
	if !strings.Contains(b.Status.Run.Lost.Message, "fenced") {
		t.Errorf("the message is %q", b.Status.Run.Lost.Message)
	}
}

func TestAnEndIsReportedEvenIfItsDetailsAreRefused(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start(&fakeBuilder{builds: map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){
		"p": func(context.Context, *daemon.Job) (*daemon.Outcome, error) {
			return &daemon.Outcome{Total: 1,
				Outputs: []v1alpha1.OutputStatus{{Image: "r", Digest: strings.Repeat("d", 200)}}}, nil
		},
	}}, "pod")
	b := w.bind("b", "p")
	w.WaitCondition(t, b, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	if len(b.Status.Outputs) > 0 {
		t.Errorf("outputs: %+v", b.Status.Outputs)
	}
}

func TestADaemonThatDoesNotAnswerIsGivenNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	builder := &fakeBuilder{pingErr: errors.New("connection refused")}
	w.start(builder, "pod")
	bd := &v1alpha1.BuildDaemon{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache-0"}}
	w.WaitCondition(t, bd, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable)
	b := w.bind("b", "p")
	time.Sleep(100 * time.Millisecond) // time to do wrong; a slow machine only makes the check weaker
	if began := builder.began(); len(began) > 0 {
		t.Errorf("a silent daemon was given %v", began)
	}
	builder.mu.Lock()
	builder.pingErr = nil
	builder.mu.Unlock()
	w.WaitCondition(t, b, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	w.WaitCondition(t, bd, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonDaemonServing)
}

func TestAResetCacheIsANewEpoch(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	builder := &fakeBuilder{}
	w.start(builder, "pod", func(o *agent.Options) { o.ObserveEvery = 200 * time.Millisecond })
	w.WaitCondition(t, w.bind("b", "p"), v1alpha1.ConditionReady, metav1.ConditionTrue, "")
	bd := &v1alpha1.BuildDaemon{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache-0"}}
	read := func(ok func() bool) {
		envtestkit.Eventually(t, func() error {
			if err := w.Client.Get(t.Context(), client.ObjectKeyFromObject(bd), bd); err != nil {
				return err
			}
			if !ok() {
				return fmt.Errorf("the daemon's status is %+v", bd.Status)
			}
			return nil
		})
	}
	read(func() bool { return len(bd.Status.Keys) == 1 })
	epoch := bd.Status.VolumeEpoch
	builder.mu.Lock()
	builder.records = -1 // none are left
	builder.mu.Unlock()
	read(func() bool { return len(bd.Status.Keys) == 0 && bd.Status.VolumeEpoch != epoch })
}
