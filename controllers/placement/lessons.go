// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/write"
)

const (
	// lessonsInterval is how often what was learned of a fleet is written to its ConfigMap, if there is anything new.
	lessonsInterval = 5 * time.Minute
	// lessonsKey is where the ConfigMap has it.
	lessonsKey = "lessons.json"
)

// lessonsName names the ConfigMap with what was learned of a BuildCache's builds.
func lessonsName(cache *v1alpha1.BuildCache) string { return cache.Name + "-learned" }

// recall has a new State take in what an earlier manager learned. Lessons that can't be read are left out: builds are
// placed without them too, only less well.
func (r *Reconciler) recall(ctx context.Context, cache *v1alpha1.BuildCache, l *loop) error {
	if l.recalled {
		return nil
	}
	found := &corev1.ConfigMap{}
	err := r.Client.Get(ctx, client.ObjectKey{Namespace: cache.Namespace, Name: lessonsName(cache)}, found)
	switch {
	case err != nil && !apierrors.IsNotFound(err):
		return fmt.Errorf("read what was learned: %w", err)
	case err == nil && metav1.IsControlledBy(found, cache):
		if err := l.state.Recall([]byte(found.Data[lessonsKey])); err != nil {
			log.FromContext(ctx).Error(err, "Failed to recall what was learned", "ConfigMap", found.Name)
		}
		l.lessons = found.Data[lessonsKey]
	}
	l.recalled, l.lessonsAt = true, r.Clock.Now().Add(lessonsInterval)
	return nil
}

// keepLessons writes what was learned, in the first round after each interval: a fleet at rest is not woken for it. A
// failure is only logged, and tried again later: no build waits for it.
func (r *Reconciler) keepLessons(ctx context.Context, cache *v1alpha1.BuildCache, l *loop) {
	learned := l.state.Learned()
	if learned == l.learned || r.Clock.Now().Before(l.lessonsAt) {
		return
	}
	l.lessonsAt = r.Clock.Now().Add(lessonsInterval)
	if err := r.writeLessons(ctx, cache, l); err != nil {
		log.FromContext(ctx).Error(err, "Failed to keep what was learned", "ConfigMap", lessonsName(cache))
		return
	}
	l.learned = learned
}

func (r *Reconciler) writeLessons(ctx context.Context, cache *v1alpha1.BuildCache, l *loop) error {
	text, err := l.state.Lessons()
	if err != nil || string(text) == l.lessons {
		return err
	}
	desired := &corev1.ConfigMap{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "ConfigMap"},
		ObjectMeta: metav1.ObjectMeta{
			Namespace: cache.Namespace, Name: lessonsName(cache),
			Labels: map[string]string{v1alpha1.LabelCache: cache.Name},
		},
		Data: map[string]string{lessonsKey: string(text)},
	}
	writer := &write.Writer{Client: r.Client, Live: r.Live, Events: r.Events}
	if _, err := writer.Apply(ctx, cache, desired); err != nil {
		return err
	}
	l.lessons = string(text)
	return nil
}
