// SPDX-License-Identifier: Apache-2.0

// Package testbuild makes valid objects for tests, as the API server would hold them: with its defaults filled in.
// Options say what a test is about.
package testbuild

import (
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

// Program is the smallest HLB program.
const Program = "fs default() {\n\tscratch\n}\n"

// BuildCache makes a BuildCache of one daemon with 10Gi.
func BuildCache(namespace, name string, options ...func(*v1alpha1.BuildCache)) *v1alpha1.BuildCache {
	c := &v1alpha1.BuildCache{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "BuildCache"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.BuildCacheSpec{
			Replicas: ptr.To[int32](1),
			Storage: v1alpha1.StorageSpec{
				Size: resource.MustParse("10Gi"),
				Retention: v1alpha1.RetentionSpec{
					WhenScaled: v1alpha1.RetentionRetain, WhenDeleted: v1alpha1.RetentionRetain,
				},
				GC: v1alpha1.GCSpec{MountsPercent: 50, LayersPercent: 30, FreePercent: 20},
			},
			UpdateStrategy: v1alpha1.UpdateStrategy{MaxUnavailable: ptr.To(intstr.FromInt32(1))},
			DeletionPolicy: v1alpha1.DeletionDelete,
			BuildKit: v1alpha1.BuildKitSpec{
				Isolation: v1alpha1.IsolationUserNamespace, MaxConcurrentBuilds: 4, DrainTimeoutSeconds: 3600,
				Network: v1alpha1.StepNetwork{Mode: v1alpha1.NetworkPreferIsolated},
			},
		},
	}
	for _, o := range options {
		o(c)
	}
	return c
}

// WithReplicas sets the number of daemons.
func WithReplicas(n int32) func(*v1alpha1.BuildCache) {
	return func(c *v1alpha1.BuildCache) { c.Spec.Replicas = &n }
}

// WithSlots sets how many builds a daemon runs at once.
func WithSlots(n int32) func(*v1alpha1.BuildCache) {
	return func(c *v1alpha1.BuildCache) { c.Spec.BuildKit.MaxConcurrentBuilds = n }
}

// BuildDaemon makes the daemon of a BuildCache with this ordinal, named as its pod is. Its agent has not reported.
func BuildDaemon(namespace, cache string, ordinal int32, options ...func(*v1alpha1.BuildDaemon)) *v1alpha1.BuildDaemon {
	d := &v1alpha1.BuildDaemon{
		TypeMeta: metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "BuildDaemon"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: namespace, Name: fmt.Sprintf("%s-%d", cache, ordinal),
			Labels: map[string]string{v1alpha1.LabelCache: cache},
		},
		Spec: v1alpha1.BuildDaemonSpec{CacheRef: v1alpha1.LocalObjectReference{Name: cache}, Ordinal: ordinal},
	}
	for _, o := range options {
		o(d)
	}
	return d
}

// Serving makes a daemon Ready with 10 GiB of which nothing is used, as its agent reports it.
func Serving(d *v1alpha1.BuildDaemon) {
	WithReady(metav1.ConditionTrue, v1alpha1.ReasonDaemonServing)(d)
	d.Status.ObservedGeneration = max(d.Generation, 1)
	d.Status.VolumeEpoch = "epoch-" + d.Name
	d.Status.CapacityBytes = 10 << 30
	d.Status.Slots = 4
}

// WithReady sets the daemon's Ready condition.
func WithReady(status metav1.ConditionStatus, reason string) func(*v1alpha1.BuildDaemon) {
	return WithCondition(v1alpha1.ConditionReady, status, reason)
}

// WithCondition sets one of the daemon's conditions, replacing an earlier one of its type.
func WithCondition(kind string, status metav1.ConditionStatus, reason string) func(*v1alpha1.BuildDaemon) {
	return func(d *v1alpha1.BuildDaemon) {
		condition := metav1.Condition{
			Type: kind, Status: status, Reason: reason, Message: "As a test wants it",
			LastTransitionTime: metav1.Unix(1_700_000_000, 0),
		}
		for i := range d.Status.Conditions {
			if d.Status.Conditions[i].Type == kind {
				d.Status.Conditions[i] = condition
				return
			}
		}
		d.Status.Conditions = append(d.Status.Conditions, condition)
	}
}

// WithKey puts a key into what the daemon reports to hold.
func WithKey(key string, lastUsed time.Time, warmSeconds, coldSeconds int32) func(*v1alpha1.BuildDaemon) {
	return func(d *v1alpha1.BuildDaemon) {
		d.Status.Keys = append(d.Status.Keys, v1alpha1.KeyUse{
			Key: key, LastUsed: metav1.NewTime(lastUsed), WarmSeconds: warmSeconds, ColdSeconds: coldSeconds,
		})
	}
}

// HLBBuild makes a build of Program, against the BuildCache "cache".
func HLBBuild(namespace, name string, options ...func(*v1alpha1.HLBBuild)) *v1alpha1.HLBBuild {
	b := &v1alpha1.HLBBuild{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "HLBBuild"},
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name},
		Spec: v1alpha1.HLBBuildSpec{
			CacheRef:       v1alpha1.CacheReference{Name: "cache"},
			HLB:            &v1alpha1.HLBSpec{Inline: ptr.To(Program), Targets: []string{"default"}},
			TimeoutSeconds: 3600,
			HistoryLimit:   ptr.To[int32](5),
			RetryLimit:     ptr.To[int32](3),
		},
	}
	for _, o := range options {
		o(b)
	}
	return b
}

// WithCache names the BuildCache.
func WithCache(name string) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) { b.Spec.CacheRef.Name = name }
}

// WithCacheKey sets the cache key.
func WithCacheKey(key string) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) { b.Spec.CacheKey = key }
}

// WithProgram sets the inline program.
func WithProgram(text string) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) { b.Spec.HLB.Inline = &text }
}

// WithRetryLimit sets how many more attempts a run gets.
func WithRetryLimit(n int32) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) { b.Spec.RetryLimit = &n }
}

// WithTimeout sets how long an attempt may run.
func WithTimeout(seconds int32) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) { b.Spec.TimeoutSeconds = seconds }
}

// WithRequest asks for a run by annotation.
func WithRequest(value string) func(*v1alpha1.HLBBuild) {
	return func(b *v1alpha1.HLBBuild) {
		if b.Annotations == nil {
			b.Annotations = map[string]string{}
		}
		b.Annotations[v1alpha1.AnnotationRequestedAt] = value
	}
}
