// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/kit/fleettest"
)

// learnedOf reads the ConfigMap with what was learned of a BuildCache's builds; nil for none.
func (w *world) learnedOf(cache *v1alpha1.BuildCache) *corev1.ConfigMap {
	w.T.Helper()
	found := &corev1.ConfigMap{}
	err := w.Client.Get(w.T.Context(), client.ObjectKey{Namespace: cache.Namespace, Name: lessonsName(cache)}, found)
	if client.IgnoreNotFound(err) != nil {
		w.T.Fatal(err)
	}
	if err != nil {
		return nil
	}
	return found
}

// buildOnce has one build of a program run for so long.
func (w *world) buildOnce(cache *v1alpha1.BuildCache, name string, took time.Duration) *v1alpha1.HLBBuild {
	w.T.Helper()
	b := w.Build(name)
	w.place(cache)
	w.Start(b)
	w.place(cache)
	w.Clock.Step(took)
	w.Report(b, func(b *v1alpha1.HLBBuild) {
		b.Status.Cache = &v1alpha1.CacheUseStatus{Fresh: true}
		status.Succeed(b, w.Clock.Now())
	})
	w.place(cache)
	return b
}

// TestWhatWasLearnedOutlivesTheManager deletes the build it was learned from, too.
func TestWhatWasLearnedOutlivesTheManager(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	cache := w.Fleet(1, 1)
	b := w.buildOnce(cache, "b0", 200*time.Second)
	key := fleettest.Read(w, b).Status.Run.Key
	if w.learnedOf(cache) != nil {
		t.Fatal("it is written sooner than every five minutes")
	}
	w.Clock.Step(lessonsInterval)
	w.place(cache)
	first := w.learnedOf(cache)
	if first == nil || !metav1.IsControlledBy(first, cache) {
		t.Fatalf("there is no ConfigMap of the BuildCache: %v", first)
	}
	w.Must(w.Client.Delete(t.Context(), b))
	w.Clock.Step(lessonsInterval)
	w.place(cache)
	if again := w.learnedOf(cache); again.ResourceVersion != first.ResourceVersion {
		t.Error("it is written again although nothing was learned")
	}
	w.restart()
	w.place(cache)
	text, err := w.placement.loops[client.ObjectKeyFromObject(cache)].state.Lessons()
	w.Must(err)
	if string(text) != first.Data[lessonsKey] || !strings.Contains(string(text), `"cold":{"n":1,"value":5.2`) {
		t.Errorf("the next manager knows of key %s\n%s\nwant\n%s", key, text, first.Data[lessonsKey])
	}
}

// TestPlacementGoesOnWithoutWhatWasLearned has lessons that can't be read, and a ConfigMap of somebody else.
func TestPlacementGoesOnWithoutWhatWasLearned(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		owned bool
		text  string
	}{
		"text that is no JSON":           {true, "{"},
		"lengths out of range":           {true, `{"estimates":{"keys":{"1":{"warm":{"n":1,"value":1e300}}}}}`},
		"a ConfigMap of somebody else's": {false, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t)
			cache := w.Fleet(1, 1)
			bad := &corev1.ConfigMap{
				ObjectMeta: metav1.ObjectMeta{Namespace: cache.Namespace, Name: lessonsName(cache)},
				Data:       map[string]string{lessonsKey: tc.text},
			}
			if tc.owned {
				bad.OwnerReferences = []metav1.OwnerReference{
					*metav1.NewControllerRef(cache, v1alpha1.GroupVersion.WithKind("BuildCache")),
				}
			}
			w.Must(w.Client.Create(t.Context(), bad))
			w.buildOnce(cache, "b0", 200*time.Second)
			w.Clock.Step(lessonsInterval)
			w.place(cache)
			if got := w.learnedOf(cache).Data[lessonsKey]; (got != tc.text) != tc.owned {
				t.Errorf("the ConfigMap has %s, owned %v", got, tc.owned)
			}
		})
	}
}
