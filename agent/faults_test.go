// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// outage fails writes of builds' statuses that hold a text, for as long as it is on.
type outage struct {
	next http.RoundTripper
	// fail answers a request in the API server's place.
	fail func(*outage, *http.Request) (*http.Response, error)
	text string

	mu     sync.Mutex
	on     bool
	failed int
	builds map[string]bool // those whose requests have failed, by path
}

func (o *outage) wrap(next http.RoundTripper) http.RoundTripper {
	o.next = next
	return o
}

func (o *outage) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Method != http.MethodPatch || !strings.Contains(r.URL.Path, "/hlbbuilds/") {
		return o.next.RoundTrip(r)
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return nil, err
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	o.mu.Lock()
	fails := o.on && strings.Contains(string(body), o.text)
	if fails {
		o.failed++
		if o.builds == nil {
			o.builds = map[string]bool{}
		}
		o.builds[r.URL.Path] = true
	}
	o.mu.Unlock()
	if !fails {
		return o.next.RoundTrip(r)
	}
	return o.fail(o, r)
}

func (o *outage) set(on bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.on = on
}

func (o *outage) count() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.failed
}

// failing returns of how many builds requests have failed.
func (o *outage) failing() int {
	o.mu.Lock()
	defer o.mu.Unlock()
	return len(o.builds)
}

// wait waits until the outage has failed n requests.
func (o *outage) wait(t *testing.T, n int) {
	t.Helper()
	deadline := time.Now().Add(time.Minute)
	for time.Now().Before(deadline) {
		if o.count() >= n {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("no request has failed")
}

// answer fails requests with a status, as the API server or admission does.
func answer(code int, reason metav1.StatusReason) func(*outage, *http.Request) (*http.Response, error) {
	return func(_ *outage, r *http.Request) (*http.Response, error) {
		body := fmt.Sprintf(
			`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":%q,"code":%d}`, reason, code)
		return &http.Response{
			StatusCode: code, Status: http.StatusText(code), Request: r, ProtoMajor: 1, ProtoMinor: 1,
			Header: http.Header{"Content-Type": {"application/json"}}, Body: io.NopCloser(strings.NewReader(body)),
		}, nil
	}
}

var faults = map[string]func(*outage, *http.Request) (*http.Response, error){
	"401": answer(http.StatusUnauthorized, metav1.StatusReasonUnauthorized),
	"403": answer(http.StatusForbidden, metav1.StatusReasonForbidden),
	"409": answer(http.StatusConflict, metav1.StatusReasonConflict),
	"422": answer(http.StatusUnprocessableEntity, metav1.StatusReasonInvalid),
	"429": answer(http.StatusTooManyRequests, metav1.StatusReasonTooManyRequests),
	"500": answer(http.StatusInternalServerError, metav1.StatusReasonInternalError),
	"no connection": func(*outage, *http.Request) (*http.Response, error) {
		return nil, errors.New("no route to host")
	},
	"no answer": func(_ *outage, r *http.Request) (*http.Response, error) {
		<-r.Context().Done()
		return nil, r.Context().Err()
	},
	"a lost answer": func(o *outage, r *http.Request) (*http.Response, error) {
		response, err := o.next.RoundTrip(r)
		if err == nil {
			err = errors.Join(errors.New("connection reset"), response.Body.Close())
		}
		return nil, err
	},
}

// TestRefusedWritesAreTriedAgain fails the claim or the report of a build for a while. The build is built and reported
// once, and what the agent asks for meanwhile is bounded.
func TestRefusedWritesAreTriedAgain(t *testing.T) {
	t.Parallel()
	for what, text := range map[string]string{"the claim": `"startedBy":"`, "the report": `"finishedAt":"`} {
		for fault, fail := range faults {
			t.Run(what+", "+fault, func(t *testing.T) {
				t.Parallel()
				w, o, builder := newWorld(t), &outage{fail: fail, text: text, on: true}, &fakeBuilder{}
				w.wrap = o.wrap
				w.start(builder, "pod")
				b := w.bind("b", "p")
				o.wait(t, 1)
				time.Sleep(time.Second)
				o.set(false)
				w.WaitCondition(t, b, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
				if began := builder.began(); len(began) != 1 || b.Status.Run.Attempt != 1 {
					t.Errorf("it was built %d times, and is at attempt %d", len(began), b.Status.Run.Attempt)
				}
				if b.Status.Steps == nil && fault != "422" {
					t.Error("the report lost its details")
				}
				if o.failed > 40 {
					t.Errorf("%d requests were made in a second", o.failed)
				}
			})
		}
	}
}

// TestAnEndOutlivesTheAgent refuses a report until the agent is gone. The next one writes it.
func TestAnEndOutlivesTheAgent(t *testing.T) {
	t.Parallel()
	w, dir := newWorld(t), t.TempDir()
	o := &outage{fail: faults["403"], text: `"finishedAt":"`, on: true}
	w.wrap = o.wrap
	builder := &fakeBuilder{builds: map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){
		"fails": func(context.Context, *daemon.Job) (*daemon.Outcome, error) {
			return &daemon.Outcome{}, errors.New("it broke")
		},
	}}
	options := func(opts *agent.Options) { opts.StateDir, opts.DrainTimeout = dir, 0 }
	stop := w.start(builder, "pod", options)
	good, bad := w.bind("good", "p"), w.bind("bad", "fails")
	for o.failing() < 2 {
		o.wait(t, o.count()+1)
	}
	if err := stop(); err != nil {
		t.Fatal(err)
	}
	w.manage(good, func(*v1alpha1.HLBBuild) {}) // reads it
	if status.IsFinal(good) {
		t.Fatal("the report was not refused")
	}
	o.set(false)
	w.start(builder, "pod", options)
	w.WaitCondition(t, good, v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonSucceeded)
	w.WaitCondition(t, bad, v1alpha1.ConditionSucceeded, metav1.ConditionFalse, v1alpha1.ReasonSolveFailed)
	if began := builder.began(); len(began) != 2 || good.Status.Run.Attempt != 1 || good.Status.Steps == nil {
		t.Errorf("built: %q, the status is %+v", began, good.Status)
	}
}

// TestAReleaseIsAcknowledged supersedes an attempt. The run that follows can be placed once the agent has ended it.
func TestAReleaseIsAcknowledged(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	begun, release := make(chan struct{}), make(chan struct{})
	w.start(&fakeBuilder{builds: map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){
		"p": func(ctx context.Context, _ *daemon.Job) (*daemon.Outcome, error) {
			close(begun)
			<-ctx.Done()
			<-release // it takes its time to end
			return &daemon.Outcome{}, ctx.Err()
		},
	}}, "pod")
	b := w.bind("b", "p")
	await(t, begun, "the build")
	testbuild.WithRequest("again")(b)
	w.manage(b, func(b *v1alpha1.HLBBuild) {
		run := v1alpha1.RunStatus{ID: "g1-2", Cause: v1alpha1.CauseRequested, Generation: b.Generation}
		status.Open(b, run, time.Now())
	})
	time.Sleep(200 * time.Millisecond) // time to do wrong
	w.manage(b, func(*v1alpha1.HLBBuild) {})
	if status.PhaseOfBuild(b) != status.BuildReleasing {
		t.Errorf("the attempt executes, and the phase is %s", status.PhaseOfBuild(b))
	}
	close(release)
	w.eventually(b, "waiting", status.IsWaiting)
}
