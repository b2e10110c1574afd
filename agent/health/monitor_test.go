// SPDX-License-Identifier: Apache-2.0

package health

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/openllb/hlb-operator/agent/self"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// world is a daemon, its builds and its Lease, which record what the monitor does to them.
type world struct {
	mu       sync.Mutex
	solve    func(context.Context) error
	step     func(context.Context) error
	running  int
	moved    time.Time
	held     bool
	withheld bool
	lost     []string
	steps    int
	verdicts []Verdict
}

func (w *world) CheckSolve(ctx context.Context) error {
	w.mu.Lock()
	solve := w.solve
	w.mu.Unlock()
	return solve(ctx)
}

func (w *world) CheckStep(ctx context.Context) error {
	w.mu.Lock()
	w.steps++
	step := w.step
	w.mu.Unlock()
	return step(ctx)
}

func (w *world) Hold(hold bool)         { w.mu.Lock(); defer w.mu.Unlock(); w.held = hold }
func (w *world) Withhold(withhold bool) { w.mu.Lock(); defer w.mu.Unlock(); w.withheld = withhold }
func (w *world) Lose(cause error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.lost = append(w.lost, cause.Error())
}
func (w *world) publish(v Verdict) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.verdicts = append(w.verdicts, v)
}

func (w *world) Progressed() (int, time.Time) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.running, w.moved
}

func (w *world) set(change func(*world)) { w.mu.Lock(); defer w.mu.Unlock(); change(w) }

// reasons are those of the verdicts, in order.
func (w *world) reasons() []string {
	w.mu.Lock()
	defer w.mu.Unlock()
	var out []string
	for _, v := range w.verdicts {
		out = append(out, v.Reason)
	}
	return slices.Compact(out)
}

func answers(context.Context) error { return nil }

// hangs answers when it is cancelled.
func hangs(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}

// monitored runs a monitor of the world in a bubble, whose clock moves on when all wait, and then the test's body with
// the path of the restart file.
func monitored(t *testing.T, body func(w *world, restartFile string)) {
	t.Helper()
	dir := t.TempDir()
	scheme := runtime.NewScheme()
	if err := v1alpha1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	bd := &v1alpha1.BuildDaemon{}
	bd.Namespace, bd.Name = "ns", "a-0"
	reader := fake.NewClientBuilder().WithScheme(scheme).WithObjects(bd).Build()
	synctest.Test(t, func(t *testing.T) {
		w := &world{solve: answers, step: answers}
		restart := filepath.Join(dir, "restart-requested")
		m := New(Config{
			StateDir: dir, RestartFile: restart, Daemon: w, Builds: w, Lease: w, Publish: w.publish,
			Self: self.Self{Namespace: "ns", Cache: "a", Daemon: "a-0"}, Client: reader,
			Events: events.NewFakeRecorder(100), Limits: DefaultLimits(), Log: logr.Discard(), Now: time.Now,
		})
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- m.Run(ctx) }()
		body(w, restart)
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func TestAHealthyDaemonIsLeftAlone(t *testing.T) {
	monitored(t, func(w *world, restart string) {
		w.set(func(w *world) { w.running, w.moved = 1, time.Now() })
		time.Sleep(50 * time.Second)
		w.set(func(w *world) { w.moved = time.Now() })
		time.Sleep(50 * time.Second)
		if len(w.reasons()) > 0 || w.held || exists(restart) {
			t.Errorf("verdicts %+v, held %v", w.verdicts, w.held)
		}
		if w.steps != 0 {
			t.Errorf("%d steps were tried although builds progressed", w.steps)
		}
	})
}

func TestAStuckDaemonIsOutThenLostThenBack(t *testing.T) {
	monitored(t, func(w *world, restart string) {
		time.Sleep(time.Second)
		w.set(func(w *world) { w.solve = hangs })
		time.Sleep(solveEvery + DefaultLimits().Out + judgeEvery)
		if w.set(func(*world) {}); !w.held || len(w.lost) > 0 || exists(restart) {
			t.Errorf("after the first limit: held %v, lost %q, restart %v", w.held, w.lost, exists(restart))
		}
		time.Sleep(DefaultLimits().Lost - DefaultLimits().Out + judgeEvery)
		if len(w.lost) != 1 || !exists(restart) || w.withheld {
			t.Errorf("after the second limit: lost %q, restart %v, withheld %v", w.lost, exists(restart), w.withheld)
		}
		if err := os.Remove(restart); err != nil { // as buildkitd does when it starts
			t.Fatal(err)
		}
		w.set(func(w *world) { w.solve = func(context.Context) error { return errors.New("connection refused") } })
		time.Sleep(2 * giveUp)
		if !w.held || exists(restart) {
			t.Errorf("before the first success: held %v, restart %v", w.held, exists(restart))
		}
		time.Sleep(restartAgain)
		if !exists(restart) {
			t.Error("a restart that did not help is not asked for again")
		}
		w.set(func(w *world) { w.solve = answers })
		time.Sleep(solveEvery + judgeEvery)
		if w.held || exists(restart) || len(w.lost) != 1 {
			t.Errorf("after a success: held %v, restart %v, lost %q", w.held, exists(restart), w.lost)
		}
		want := []string{v1alpha1.ReasonDaemonStuck, ""}
		if got := w.reasons(); !slices.Equal(got, want) {
			t.Errorf("verdicts were %q, want %q", got, want)
		}
	})
}

func TestADaemonThatIsOutAgainCoolsDown(t *testing.T) {
	monitored(t, func(w *world, _ string) {
		for range 2 {
			w.set(func(w *world) { w.solve = hangs })
			time.Sleep(solveEvery + DefaultLimits().Lost + judgeEvery)
			w.set(func(w *world) { w.solve = answers })
			time.Sleep(giveUp + solveEvery + judgeEvery)
		}
		want := []string{v1alpha1.ReasonDaemonStuck, "", v1alpha1.ReasonDaemonStuck, v1alpha1.ReasonCoolingDown, ""}
		time.Sleep(firstCoolDown)
		if got := w.reasons(); !slices.Equal(got, want) || w.held {
			t.Errorf("verdicts were %q, want %q; held %v", got, want, w.held)
		}
	})
}

func TestAStepIsTriedWhenNothingProgresses(t *testing.T) {
	monitored(t, func(w *world, restart string) {
		w.set(func(w *world) { w.running, w.moved, w.step = 1, time.Now(), hangs })
		time.Sleep(silence + DefaultLimits().StepLost + 2*judgeEvery)
		if len(w.lost) != 1 || !exists(restart) {
			t.Errorf("lost %q, restart %v", w.lost, exists(restart))
		}
	})
}
