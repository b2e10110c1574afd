// SPDX-License-Identifier: Apache-2.0

package agent_test

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-containerregistry/pkg/name"
	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/empty"
	"github.com/google/go-containerregistry/pkg/v1/mutate"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/static"
	"github.com/google/go-containerregistry/pkg/v1/types"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/daemon"
	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/cacheref"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/envtestkit"
)

// primer is a daemon that holds a mount once it was primed, with 7 bytes.
type primer struct {
	holder
	ns     string
	primed atomic.Int32
}

func (p *primer) Prime(_ context.Context, c *daemon.MountCopy) (mountcopy.Result, error) {
	p.primed.Add(1)
	p.put(p.ns, strings.TrimPrefix(c.ID, p.ns+"/"), 7)
	return mountcopy.Result{Outcome: mountcopy.Copied, Digest: "sha256:tree", Bytes: 7, Files: 1, Written: 7}, nil
}

// newPrimer starts an agent for one, of a fleet whose mounts have a snapshot policy. Snapshots of the mounts are in
// its registry.
func newPrimer(t *testing.T, snapshots ...string) (*world, *primer) {
	t.Helper()
	repository := ""
	w := newWorld(t, withSnapshots(t), func(c *v1alpha1.BuildCache) {
		c.Spec.Mounts[0].PrimeTimeoutSeconds = 60
		repository = c.Spec.Registry.Repository
	})
	for _, id := range snapshots {
		pushSnapshot(t, repository, w.ns, id)
	}
	d := &primer{ns: w.ns}
	d.builds = map[string]func(context.Context, *daemon.Job) (*daemon.Outcome, error){"uses": d.using(w.ns, "m", nil,
		nil)}
	w.start(d, "pod", withCopier(t), func(o *agent.Options) { o.ObserveEvery = 200 * time.Millisecond })
	return w, d
}

// pushSnapshot puts an image into the repository that passes for a snapshot of the mount on this machine's platform.
func pushSnapshot(t *testing.T, repository, namespace, id string) {
	t.Helper()
	image, err := mutate.Append(empty.Image, mutate.Addendum{
		Layer:       static.NewLayer([]byte("index"), types.OCILayerZStd),
		Annotations: map[string]string{"dev.openllb.build.mount.layer": "index"},
	})
	if err != nil {
		t.Fatal(err)
	}
	image = mutate.Annotations(mutate.MediaType(image, types.OCIManifestSchema1), map[string]string{
		"dev.openllb.build.mount.id": id, "dev.openllb.build.mount.namespace": namespace,
		"dev.openllb.build.mount.daemon":   "cache-9",
		"dev.openllb.build.mount.platform": "linux/" + runtime.GOARCH,
	}).(v1.Image)
	tag, err := name.NewTag(repository + ":" + cacheref.MountTag(namespace, id, time.Now(), "cache-9"))
	if err == nil {
		err = remote.Write(tag, image)
	}
	if err != nil {
		t.Fatal(err)
	}
}

// ask has the manager ask for mounts, or take back its requests.
func (w *world) ask(requests ...v1alpha1.PrefetchRequest) {
	w.t.Helper()
	for i := range requests {
		requests[i].Sharing, requests[i].RequestedAt = v1alpha1.MountShared, metav1.NewTime(time.Now().
			Truncate(time.Second))
	}
	bd := &v1alpha1.BuildDaemon{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache-0"}}
	envtestkit.Eventually(w.t, func() error {
		if err := w.Client.Get(w.t.Context(), client.ObjectKeyFromObject(bd), bd); err != nil {
			return err
		}
		bd.Spec.Prefetch = requests
		return w.Client.Update(w.t.Context(), bd)
	})
}

// tells waits until the daemon's status is as wanted, and returns it.
func (w *world) tells(what string, holds func(*v1alpha1.BuildDaemonStatus) bool) *v1alpha1.BuildDaemon {
	w.t.Helper()
	bd := &v1alpha1.BuildDaemon{}
	envtestkit.Eventually(w.t, func() error {
		if err := w.Client.Get(w.t.Context(), client.ObjectKey{Namespace: w.ns, Name: "cache-0"}, bd); err != nil {
			return err
		}
		if !holds(&bd.Status) {
			return fmt.Errorf("%s: %+v", what, bd.Status)
		}
		return nil
	})
	return bd
}

// notes are what the events of the BuildDaemon with the reason say.
func (w *world) notes(reason string) ([]string, error) {
	var events corev1.EventList
	if err := w.Client.List(w.t.Context(), &events, client.InNamespace(w.ns)); err != nil {
		return nil, err
	}
	var notes []string
	for _, e := range events.Items {
		if e.InvolvedObject.Kind == "BuildDaemon" && e.InvolvedObject.Name == "cache-0" && e.Reason == reason {
			notes = append(notes, e.Message)
		}
	}
	return notes, nil
}

// event waits until the BuildDaemon has one with the reason that says the text.
func (w *world) event(reason, text string) {
	w.t.Helper()
	envtestkit.Eventually(w.t, func() error {
		notes, err := w.notes(reason)
		if err == nil && !slices.ContainsFunc(notes, func(n string) bool { return strings.Contains(n, text) }) {
			err = fmt.Errorf("of the events %s none says %q: %q", reason, text, notes)
		}
		return err
	})
}

// isDone says whether the agent is done with so many requests.
func isDone(n int) func(*v1alpha1.BuildDaemonStatus) bool {
	return func(s *v1alpha1.BuildDaemonStatus) bool { return len(s.Prefetch) == n }
}

func TestAMountThatIsAskedForIsThereForTheNextBuild(t *testing.T) {
	t.Parallel()
	w, d := newPrimer(t, "m")
	w.tells("the daemon serves", func(s *v1alpha1.BuildDaemonStatus) bool { return len(s.Conditions) > 0 })
	w.ask(v1alpha1.PrefetchRequest{ID: w.ns + "/m", Bytes: 7})
	bd := w.tells("the mount is brought in", isDone(1))
	s := bd.Status
	if got := s.Prefetch[0]; got.ID != w.ns+"/m" || got.Outcome != v1alpha1.PrimePrimed || got.Bytes != 7 ||
		got.Ref == "" || !got.RequestedAt.Equal(&bd.Spec.Prefetch[0].RequestedAt) {
		t.Errorf("the request came to %+v", got)
	}
	if len(s.Mounts) != 1 || s.Mounts[0].ID != w.ns+"/m" || s.Mounts[0].LastUsed == nil ||
		s.Mounts[0].FirstUsed != nil || s.Mounts[0].Uses != 0 {
		t.Errorf("with the end of the request the status has the mounts %+v", s.Mounts)
	}
	w.event(v1alpha1.ReasonPrefetched, "Brought in "+w.ns+"/m with 0 MiB")
	w.ask()
	w.tells("nothing is told of a request that was taken back", isDone(0))

	b := w.bind("b", "uses")
	w.eventually(b, "it is done", status.IsFinal)
	if len(b.Status.Prime) > 0 || len(b.Status.Mounts) != 1 || !b.Status.Mounts[0].Hit || d.primed.Load() != 1 {
		t.Errorf("the build primed %+v and found %+v; %d copies were made", b.Status.Prime, b.Status.Mounts,
			d.primed.Load())
	}
}

func TestWhatRequestsComeTo(t *testing.T) {
	t.Parallel()
	w, d := newPrimer(t, "m", "wide", "wider")
	d.put(w.ns, "held", 5)
	w.tells("the mount that is held was seen", func(s *v1alpha1.BuildDaemonStatus) bool { return len(s.Mounts) == 1 })
	cases := []struct {
		id      string
		bytes   int64
		outcome v1alpha1.PrimeOutcome
		message string
	}{
		{"held", 1, v1alpha1.PrimeHeld, ""},
		{"without-snapshot", 1, v1alpha1.PrimeNoSnapshot, ""},
		{"wide", 1 << 60, v1alpha1.PrimeFailed, "the volume has no room"},
		{"wider", 1 << 61, v1alpha1.PrimeFailed, "the volume has no room"},
		{"m", 1, v1alpha1.PrimePrimed, ""},
	}
	var requests []v1alpha1.PrefetchRequest
	for _, tc := range cases {
		requests = append(requests, v1alpha1.PrefetchRequest{ID: w.ns + "/" + tc.id, Bytes: tc.bytes})
	}
	// which no policy is about, and which is tried again
	requests = append(requests, v1alpha1.PrefetchRequest{ID: "elsewhere/m", Bytes: 1})
	w.ask(requests...)
	told := w.tells("the agent is done with all of them", isDone(len(requests)-1)).Status.Prefetch
	for i, tc := range cases {
		if got := told[i]; got.ID != w.ns+"/"+tc.id || got.Outcome != tc.outcome ||
			!strings.Contains(got.Message, tc.message) {
			t.Errorf("the request for %s came to %+v, want %s %q", tc.id, got, tc.outcome, tc.message)
		}
	}
	for _, id := range []string{"wide", "wider"} { // each has an event of its own
		w.event(v1alpha1.ReasonPrefetchFailed, w.ns+"/"+id+" was not brought in: the volume has no room")
	}
	if d.primed.Load() != 1 {
		t.Errorf("%d copies were made, want 1", d.primed.Load())
	}
}

// TestADaemonThatDoesNotAnswerIsLeftAlone asks while buildkitd is away.
func TestADaemonThatDoesNotAnswerIsLeftAlone(t *testing.T) {
	t.Parallel()
	w, d := newPrimer(t, "m")
	w.tells("the daemon serves", func(s *v1alpha1.BuildDaemonStatus) bool { return s.Version != "" })
	d.mu.Lock()
	d.pingErr = errors.New("EOF")
	d.mu.Unlock()
	bd := &v1alpha1.BuildDaemon{ObjectMeta: metav1.ObjectMeta{Namespace: w.ns, Name: "cache-0"}}
	w.WaitCondition(t, bd, v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonDaemonUnreachable)
	w.ask(v1alpha1.PrefetchRequest{ID: w.ns + "/m", Bytes: 7})
	w.tells("the agent has seen the request", func(s *v1alpha1.BuildDaemonStatus) bool {
		return s.ObservedGeneration > 1
	})
	if d.primed.Load() != 0 {
		t.Error("a mount was copied to a daemon that does not answer")
	}
	d.mu.Lock()
	d.pingErr = nil
	d.mu.Unlock()
	w.tells("the mount is brought in", isDone(1))
	if notes, err := w.notes(v1alpha1.ReasonPrefetchFailed); err != nil || len(notes) > 0 {
		t.Errorf("the events say %q, %v; want none", notes, err)
	}
}
