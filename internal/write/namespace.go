// SPDX-License-Identifier: Apache-2.0

package write

import (
	"context"
	"encoding/json"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// ConditionFleetEnded is the condition of a namespace that is being deleted and whose fleet has no pods any more.
const ConditionFleetEnded = "build.openllb.dev/FleetEnded"

// FleetEnded sets a condition of a namespace that is being deleted. Kubernetes looks at the namespace again after half
// the grace period of the pods that it last saw there, which is that of builds, or when the namespace changes.
func (w *Writer) FleetEnded(ctx context.Context, namespace, fleet string, now metav1.Time) error {
	patch, err := json.Marshal(map[string]any{"status": map[string]any{"conditions": []corev1.NamespaceCondition{{
		Type: ConditionFleetEnded, Status: corev1.ConditionTrue, Reason: "NoPods", LastTransitionTime: now,
		Message: fmt.Sprintf("BuildCache %s has no pods any more", fleet),
	}}}})
	if err != nil {
		return err
	}
	object := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}
	err = w.Client.Status().Patch(ctx, object, client.RawPatch(types.StrategicMergePatchType, patch),
		client.FieldOwner(fieldOwner))
	return client.IgnoreNotFound(err)
}
