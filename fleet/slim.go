// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Slim returns the observation with only what a State reads: without programs, arguments, logs and names of Secrets.
// A State does the same with it.
func (o Observation) Slim() Observation {
	daemons, builds := o.Daemons, o.Builds
	o.Daemons, o.Builds = nil, nil
	if o.Cache != nil {
		o.Cache = slimCache(o.Cache)
	}
	for _, d := range daemons {
		o.Daemons = append(o.Daemons, slimDaemon(d))
	}
	for _, b := range builds {
		o.Builds = append(o.Builds, slimBuild(b))
	}
	return o
}

func slimMeta(from *metav1.ObjectMeta) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace:         from.Namespace,
		Name:              from.Name,
		UID:               from.UID,
		Generation:        from.Generation,
		ResourceVersion:   from.ResourceVersion,
		DeletionTimestamp: from.DeletionTimestamp,
	}
}

func slimCache(c *v1alpha1.BuildCache) *v1alpha1.BuildCache {
	out := &v1alpha1.BuildCache{ObjectMeta: slimMeta(&c.ObjectMeta)}
	out.Spec.Replicas = c.Spec.Replicas
	out.Spec.BuildKit.MaxConcurrentBuilds = c.Spec.BuildKit.MaxConcurrentBuilds
	out.Spec.BuildKit.DrainTimeoutSeconds = c.Spec.BuildKit.DrainTimeoutSeconds
	out.Spec.Mounts, out.Spec.Queues = c.Spec.Mounts, c.Spec.Queues
	out.Spec.Prefetch = c.Spec.Prefetch
	if r := c.Spec.Registry; r != nil {
		out.Spec.Registry = &v1alpha1.RegistryCacheSpec{
			ImportPolicy:      r.ImportPolicy,
			WaitSecondsPerGiB: r.WaitSecondsPerGiB,
		}
	}
	return out
}

func slimDaemon(d *v1alpha1.BuildDaemon) *v1alpha1.BuildDaemon {
	out := &v1alpha1.BuildDaemon{ObjectMeta: slimMeta(&d.ObjectMeta), Spec: d.Spec, Status: d.Status}
	out.Status.GCPolicy, out.Status.Sizing = nil, nil
	return out
}

func slimBuild(b *v1alpha1.HLBBuild) *v1alpha1.HLBBuild {
	out := &v1alpha1.HLBBuild{ObjectMeta: slimMeta(&b.ObjectMeta)}
	out.Spec.CacheRef = b.Spec.CacheRef
	out.Spec.Platforms = b.Spec.Platforms
	out.Spec.TimeoutSeconds = b.Spec.TimeoutSeconds
	out.Spec.Priority, out.Spec.Queue, out.Spec.Suspend = b.Spec.Priority, b.Spec.Queue, b.Spec.Suspend
	s := &b.Status
	out.Status.Conditions = s.Conditions
	out.Status.Run, out.Status.Placement, out.Status.Cache = s.Run, s.Placement, s.Cache
	out.Status.Mounts, out.Status.Prime = s.Mounts, s.Prime
	if s.Failure != nil {
		out.Status.Failure = &v1alpha1.FailureStatus{Reason: s.Failure.Reason}
	}
	return out
}
