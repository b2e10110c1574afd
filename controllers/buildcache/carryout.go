// SPDX-License-Identifier: Apache-2.0

package buildcache

import (
	"context"
	"errors"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/internal/write"
)

// carryOut does what the plan says. It goes on after an error, so that one object holds up no other, and returns all.
func (r *Reconciler) carryOut(ctx context.Context, s *snapshot, p *plan, template *workload.Template) error {
	var errs []error
	do := func(what, name string, err error) {
		if err != nil {
			errs = append(errs, fmt.Errorf("%s %s: %w", what, name, err))
		}
	}
	for _, d := range s.daemons {
		_, err := r.writer().Apply(ctx, s.cache, desiredDaemon(s.cache, d.Spec.Ordinal))
		do("repair BuildDaemon", d.Name, err)
	}
	for _, ordinal := range p.create {
		_, err := r.writer().Apply(ctx, s.cache, desiredDaemon(s.cache, ordinal))
		do("make BuildDaemon", workload.DaemonName(s.cache.Name, ordinal), err)
	}
	for _, d := range p.wake {
		do("wake BuildDaemon", d.Name, r.suspend(ctx, &d, false))
	}
	for _, d := range p.suspend {
		do("suspend BuildDaemon", d.Name, r.suspend(ctx, &d, true))
	}
	for _, d := range p.remove {
		do("delete BuildDaemon", d.Name, r.delete(ctx, d.BuildDaemon))
	}
	for _, claim := range p.drop {
		do("delete claim", claim.Name, r.dropClaim(ctx, claim))
	}
	for _, pod := range p.unstick {
		do("force the deletion of pod", pod.Name, r.unstick(ctx, s, pod))
	}
	for _, d := range p.replace {
		do("replace the pod of", d.Name, r.replacePod(ctx, &d))
	}
	for _, d := range p.patch {
		do("replace the agent of", d.Name, r.replaceAgent(ctx, &d, template.AgentImage()))
	}
	for _, d := range p.settled {
		do("end the update of", d.Name, r.mark(ctx, &d, false))
	}
	return errors.Join(errs...)
}

// suspend stops a daemon's pod, or lets it come back.
func (r *Reconciler) suspend(ctx context.Context, d *daemon, suspended bool) error {
	after := d.DeepCopy()
	after.Spec.Suspend = suspended
	_, err := r.writer().Patch(ctx, d.BuildDaemon, after, write.Retry)
	return err
}

// delete deletes exactly the object that was read.
func (r *Reconciler) delete(ctx context.Context, o client.Object, options ...client.DeleteOption) error {
	uid := o.GetUID()
	err := r.Client.Delete(ctx, o, append(options, client.Preconditions{UID: &uid})...)
	if apierrors.IsConflict(err) {
		return nil // another object has its name by now
	}
	return client.IgnoreNotFound(err)
}

// dropClaim deletes the claim of a BuildDaemon that was deleted. It looks past the cache first: the cache may know of a
// new claim before it knows of its BuildDaemon.
func (r *Reconciler) dropClaim(ctx context.Context, claim *corev1.PersistentVolumeClaim) error {
	key := client.ObjectKey{Namespace: claim.Namespace, Name: claim.Labels[v1alpha1.LabelDaemon]}
	err := r.live().Get(ctx, key, &v1alpha1.BuildDaemon{})
	if !apierrors.IsNotFound(err) {
		return err
	}
	return r.delete(ctx, claim)
}

// unstick deletes the pod of a deleted BuildDaemon without waiting for its node, if that node is dead.
func (r *Reconciler) unstick(ctx context.Context, s *snapshot, pod *corev1.Pod) error {
	if pod.Spec.NodeName == "" {
		return nil
	}
	node := &corev1.Node{}
	err := r.live().Get(ctx, client.ObjectKey{Name: pod.Spec.NodeName}, node)
	switch {
	case apierrors.IsNotFound(err):
		node = nil
	case err != nil:
		return fmt.Errorf("read node %s: %w", pod.Spec.NodeName, err)
	}
	if !isDead(pod, node, s.now) {
		return nil
	}
	log.FromContext(ctx).Info("Deleting the pod of a deleted BuildDaemon on a dead node",
		"Pod", pod.Name, "Node", pod.Spec.NodeName)
	return r.delete(ctx, pod, client.GracePeriodSeconds(0))
}

// replacePod deletes a pod, so that its StatefulSet makes one of the present template. The agent ends its builds first.
func (r *Reconciler) replacePod(ctx context.Context, d *daemon) error {
	if err := r.mark(ctx, d, d.serves()); err != nil {
		return err
	}
	return r.delete(ctx, d.pod)
}

// replaceAgent changes the image of a running pod's agent. The kubelet restarts that container alone, after the agent
// has ended its builds.
func (r *Reconciler) replaceAgent(ctx context.Context, d *daemon, image string) error {
	if err := r.mark(ctx, d, d.serves()); err != nil {
		return err
	}
	after := d.pod.DeepCopy()
	workload.SetAgentImage(after, image)
	patch := client.StrategicMergeFrom(d.pod, client.MergeFromWithOptimisticLock{})
	err := r.Client.Patch(ctx, after, patch)
	if apierrors.IsConflict(err) {
		return nil // its change wakes us
	}
	return client.IgnoreNotFound(err)
}

// mark puts on a BuildDaemon that a roll-out took it out of service, or takes that back. A daemon that was down already
// keeps the mark that it has.
func (r *Reconciler) mark(ctx context.Context, d *daemon, updating bool) error {
	after := d.DeepCopy()
	switch {
	case updating && after.Annotations == nil:
		after.Annotations = map[string]string{v1alpha1.AnnotationUpdating: "true"}
	case updating:
		after.Annotations[v1alpha1.AnnotationUpdating] = "true"
	case d.serves():
		delete(after.Annotations, v1alpha1.AnnotationUpdating)
	}
	_, err := r.writer().Patch(ctx, d.BuildDaemon, after, write.Retry)
	return err
}
