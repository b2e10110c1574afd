// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"context"
	"errors"
	"fmt"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/tools/events"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/internal/write"
)

const (
	// eventPatience is how long a daemon may be without what an event would explain before events are read: a
	// StatefulSet makes its pod, and a kubelet starts one, within seconds.
	eventPatience = 5 * time.Second
	// troublePause is how soon it is noticed that trouble is over which no object that is watched shows.
	troublePause = 30 * time.Second
	// leftoverPause is how soon a StatefulSet of an earlier BuildDaemon of the same name is looked for again.
	leftoverPause = 2 * time.Second
)

// Reconciler keeps a StatefulSet for each BuildDaemon, and reports on the BuildDaemon why its pod does not come up
// while no agent reports.
type Reconciler struct {
	Client client.Client
	// Live reads past the cache, which holds no events; nil means that Client has no cache.
	Live   client.Reader
	Events events.EventRecorder
	Clock  clock.PassiveClock
	Images Images
}

func (r *Reconciler) writer() *write.Writer {
	return &write.Writer{Client: r.Client, Live: r.live(), Events: r.Events}
}

func (r *Reconciler) live() client.Reader {
	if r.Live == nil {
		return r.Client
	}
	return r.Live
}

// Reconcile brings a BuildDaemon's workload a step nearer to its spec and reports.
func (r *Reconciler) Reconcile(ctx context.Context, daemon *v1alpha1.BuildDaemon) (ctrl.Result, error) {
	cache := &v1alpha1.BuildCache{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: daemon.Namespace, Name: daemon.Spec.CacheRef.Name}, cache)
	switch {
	case apierrors.IsNotFound(err):
		return ctrl.Result{}, nil // both are collected
	case err != nil:
		return ctrl.Result{}, fmt.Errorf("read BuildCache: %w", err)
	case !daemon.DeletionTimestamp.IsZero(), !cache.DeletionTimestamp.IsZero(), !metav1.IsControlledBy(daemon, cache):
		return ctrl.Result{}, nil
	}
	template, err := NewTemplate(cache, r.Images)
	if err != nil {
		return ctrl.Result{}, nil // the BuildCache's own controller reports it
	}
	set, err := r.keepSet(ctx, daemon, template)
	var taken *write.NameConflictError
	switch {
	case errors.Is(err, errLeftover):
		return ctrl.Result{RequeueAfter: leftoverPause}, nil
	case errors.As(err, &taken):
		return ctrl.Result{RequeueAfter: troublePause}, r.report(ctx, daemon, false, &status.Trouble{
			Reason: v1alpha1.ReasonPodRefused, Message: taken.Error(), UserOnly: true,
		})
	case err != nil:
		return ctrl.Result{}, err
	}
	return r.observe(ctx, daemon, set)
}

// errLeftover means that the StatefulSet of an earlier BuildDaemon of the name is about to be collected.
var errLeftover = errors.New("the StatefulSet of an earlier BuildDaemon is still there")

// keepSet makes the StatefulSet as it should be and returns it as it was before; nil for none. What Kubernetes lets
// nobody change of a StatefulSet, its claim template, stays: the claim itself is grown instead. Only where the claim
// is yet to be made of a template of another size, the StatefulSet is made anew, without its pod.
func (r *Reconciler) keepSet(
	ctx context.Context,
	daemon *v1alpha1.BuildDaemon,
	template *Template,
) (*appsv1.StatefulSet, error) {
	desired := template.StatefulSet(daemon)
	found := &appsv1.StatefulSet{}
	err := r.Client.Get(ctx, client.ObjectKeyFromObject(desired), found)
	switch {
	case apierrors.IsNotFound(err):
		found = nil
	case err != nil:
		return nil, fmt.Errorf("read StatefulSet: %w", err)
	case !found.DeletionTimestamp.IsZero(), write.IsFormer(found, daemon):
		return nil, errLeftover
	case len(found.Spec.VolumeClaimTemplates) == 1:
		made, err := r.remake(ctx, daemon, found, desired)
		if made || err != nil {
			return nil, errors.Join(err, errLeftover)
		}
		desired.Spec.VolumeClaimTemplates = found.Spec.DeepCopy().VolumeClaimTemplates
		desired.Spec.VolumeClaimTemplates[0].Status = corev1.PersistentVolumeClaimStatus{}
	}
	if _, err := r.writer().Apply(ctx, daemon, desired); err != nil {
		return nil, err
	}
	return found, nil
}

// remake deletes a StatefulSet without its pod if its next claim would be of another size than is wanted, and reports
// whether it did.
func (r *Reconciler) remake(
	ctx context.Context,
	daemon *v1alpha1.BuildDaemon,
	found, desired *appsv1.StatefulSet,
) (bool, error) {
	if !metav1.IsControlledBy(found, daemon) {
		return false, nil // applying it reports that
	}
	has := found.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]
	if has.Cmp(desired.Spec.VolumeClaimTemplates[0].Spec.Resources.Requests[corev1.ResourceStorage]) == 0 {
		return false, nil
	}
	key := client.ObjectKey{Namespace: daemon.Namespace, Name: ClaimName(daemon.Name)}
	err := r.Client.Get(ctx, key, &corev1.PersistentVolumeClaim{})
	if !apierrors.IsNotFound(err) {
		return false, err
	}
	err = r.Client.Delete(ctx, found,
		client.PropagationPolicy(metav1.DeletePropagationOrphan), client.Preconditions{UID: &found.UID})
	if client.IgnoreNotFound(err) != nil && !apierrors.IsConflict(err) {
		return false, fmt.Errorf("delete StatefulSet without its pod: %w", err)
	}
	return true, nil
}

// observe finds out how the daemon's pod stands and reports on it while no agent does. set is nil for one that was only
// now made.
func (r *Reconciler) observe(
	ctx context.Context,
	daemon *v1alpha1.BuildDaemon,
	set *appsv1.StatefulSet,
) (ctrl.Result, error) {
	facts := Facts{Pod: &corev1.Pod{}, Claim: &corev1.PersistentVolumeClaim{}}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: daemon.Namespace, Name: PodName(daemon.Name)}, facts.Pod)
	if facts.Pod, err = orNil(facts.Pod, err); err != nil {
		return ctrl.Result{}, fmt.Errorf("read pod: %w", err)
	}
	if daemon.Spec.Suspend || !status.AwaitsAgent(daemon) {
		return ctrl.Result{}, r.report(ctx, daemon, facts.Pod != nil, nil)
	}
	err = r.Client.Get(ctx, client.ObjectKey{Namespace: daemon.Namespace, Name: ClaimName(daemon.Name)}, facts.Claim)
	if facts.Claim, err = orNil(facts.Claim, err); err != nil {
		return ctrl.Result{}, fmt.Errorf("read volume claim: %w", err)
	}
	after, err := r.readEvents(ctx, daemon, set, &facts)
	if err != nil {
		return ctrl.Result{}, err
	}
	trouble := Diagnose(facts)
	if trouble != nil {
		after = troublePause
	}
	return ctrl.Result{RequeueAfter: after}, r.report(ctx, daemon, facts.Pod != nil, trouble)
}

// orNil makes an object that was not found nil.
func orNil[T any](o *T, err error) (*T, error) {
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return o, err
}

// readEvents reads the events that the facts want, and returns when to look again; 0 for not.
func (r *Reconciler) readEvents(
	ctx context.Context,
	daemon *v1alpha1.BuildDaemon,
	set *appsv1.StatefulSet,
	facts *Facts,
) (time.Duration, error) {
	kind, name := facts.Wants(daemon.Name)
	if kind == "" {
		return 0, nil
	}
	since := r.Clock.Now()
	switch {
	case facts.Pod != nil:
		since = facts.Pod.CreationTimestamp.Time
	case set != nil:
		since = set.CreationTimestamp.Time
	}
	if left := eventPatience - r.Clock.Since(since); left > 0 {
		return left, nil
	}
	var list corev1.EventList
	err := r.live().List(ctx, &list, client.InNamespace(daemon.Namespace), client.MatchingFields{
		"involvedObject.kind": kind, "involvedObject.name": name, "type": corev1.EventTypeWarning,
	})
	if err != nil {
		return 0, fmt.Errorf("list events of %s %s: %w", kind, name, err)
	}
	facts.Events = newest(list.Items, since)
	return troublePause, nil
}

// newest are the latest messages of events by their reason, without those of an earlier object of the name.
func newest(list []corev1.Event, since time.Time) map[string]string {
	out, at := map[string]string{}, map[string]time.Time{}
	for i := range list {
		e := &list[i]
		seen := lastSeen(e)
		if seen.Before(since.Add(-time.Second)) || seen.Before(at[e.Reason]) {
			continue
		}
		out[e.Reason], at[e.Reason] = e.Message, seen
	}
	return out
}

// lastSeen is when an event last happened. Which field holds that depends on how it was sent.
func lastSeen(e *corev1.Event) time.Time {
	latest := e.CreationTimestamp.Time
	if e.LastTimestamp.After(latest) {
		latest = e.LastTimestamp.Time
	}
	if e.EventTime.After(latest) {
		latest = e.EventTime.Time
	}
	if series := ptr.Deref(e.Series, corev1.EventSeries{}); series.LastObservedTime.After(latest) {
		latest = series.LastObservedTime.Time
	}
	return latest
}

func (r *Reconciler) report(
	ctx context.Context,
	daemon *v1alpha1.BuildDaemon,
	podExists bool,
	trouble *status.Trouble,
) error {
	before := daemon.DeepCopy()
	status.ReportPod(daemon, podExists, trouble, r.Clock.Now())
	if _, err := r.writer().PatchStatus(ctx, before, daemon, write.Yield); err != nil {
		return fmt.Errorf("report on the pod: %w", err)
	}
	return nil
}
