// SPDX-License-Identifier: Apache-2.0

package write

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"strings"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
)

// NameConflictError means that a needed name is taken by an object of somebody else.
type NameConflictError struct {
	Kind, Name string
	// OwnerKind is the kind that needs the name.
	OwnerKind string
}

func (e *NameConflictError) Error() string {
	return fmt.Sprintf(
		"%s %q exists and does not belong to this %s: rename the %s or remove that object",
		e.Kind, e.Name, e.OwnerKind, e.OwnerKind,
	)
}

// Fault implements status.Fault: the other object may go at any time.
func (e *NameConflictError) Fault() (string, status.FailureClass) {
	return v1alpha1.ReasonNameConflict, status.MendedElsewhere
}

// Apply brings a desired object into being by server-side apply, controlled by owner. desired is a typed object with
// its kind set, without status; it is the caller's afterwards, with the owner reference and an annotation added. In
// another namespace than the owner's, an annotation stands for the reference, and the caller deletes the object.
//
// Where the object exists and has all that is desired, nothing is sent and the outcome is Unchanged. Fields that others
// set and desired does not mention stay theirs; fields that were desired once and are no longer are removed. Apply
// reads the object's typed form from the cache, so that there is one informer a kind, and asks past the cache only
// where the cache has none: it may hold objects by label. It returns a *NameConflictError rather than take over an
// object that owner does not control, and another error while that is an object of owner's predecessor.
func (w *Writer) Apply(ctx context.Context, owner, desired client.Object) (Outcome, error) {
	gvk := desired.GetObjectKind().GroupVersionKind()
	if err := w.own(owner, desired); err != nil {
		return Unchanged, fmt.Errorf("own %s %s: %w", gvk.Kind, desired.GetName(), err)
	}
	content, err := desiredContent(desired)
	if err != nil {
		return Unchanged, fmt.Errorf("convert %s %s: %w", gvk.Kind, desired.GetName(), err)
	}
	found, err := w.find(ctx, desired)
	if err != nil {
		return Unchanged, fmt.Errorf("read %s %s: %w", gvk.Kind, desired.GetName(), err)
	}
	if found != nil && IsFormer(found, owner) {
		return Conflict, fmt.Errorf("%s %s belongs to an earlier %s of the same name and is about to be collected",
			gvk.Kind, desired.GetName(), kindOf(w.Client, owner))
	}
	if found != nil && !w.Owns(owner, found) {
		return Conflict, &NameConflictError{
			Kind: gvk.Kind, Name: desired.GetName(), OwnerKind: kindOf(w.Client, owner),
		}
	}
	if same, err := has(found, content); err != nil || same {
		return Unchanged, err
	}
	err = w.Client.Apply(
		ctx,
		client.ApplyConfigurationFromUnstructured(&unstructured.Unstructured{Object: content}),
		client.FieldOwner(fieldOwner),
		client.ForceOwnership,
	)
	if err != nil {
		return Unchanged, fmt.Errorf("apply %s %s: %w", gvk.Kind, desired.GetName(), err)
	}
	return Written, nil
}

// own marks an object as the owner's.
func (w *Writer) own(owner, o client.Object) error {
	if o.GetNamespace() == owner.GetNamespace() {
		return controllerutil.SetControllerReference(owner, o, w.Client.Scheme())
	}
	annotations := maps.Clone(o.GetAnnotations())
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[v1alpha1.AnnotationOwner] = ownerText(kindOf(w.Client, owner), owner)
	o.SetAnnotations(annotations)
	return nil
}

// Owns reports whether an object was made by Apply for the owner.
func (w *Writer) Owns(owner, o client.Object) bool {
	if o.GetNamespace() == owner.GetNamespace() {
		return metav1.IsControlledBy(o, owner)
	}
	return o.GetAnnotations()[v1alpha1.AnnotationOwner] == ownerText(kindOf(w.Client, owner), owner)
}

func ownerText(kind string, owner client.Object) string {
	return kind + "/" + owner.GetNamespace() + "/" + owner.GetName()
}

// OwnerElsewhere returns the owner of an object of another namespace, of this kind; false for none.
func OwnerElsewhere(o client.Object, kind string) (types.NamespacedName, bool) {
	parts := strings.Split(o.GetAnnotations()[v1alpha1.AnnotationOwner], "/")
	if len(parts) != 3 || parts[0] != kind {
		return types.NamespacedName{}, false
	}
	return types.NamespacedName{Namespace: parts[1], Name: parts[2]}, true
}

// IsFormer reports whether an object is controlled by an owner of the same kind and name that was deleted, so that the
// garbage collector is about to take it.
func IsFormer(o, owner client.Object) bool {
	ref := metav1.GetControllerOf(o)
	return ref != nil && ref.Name == owner.GetName() && ref.UID != owner.GetUID() &&
		ref.APIVersion == v1alpha1.GroupVersion.String()
}

// find reads the object of desired's name: the typed object from the cache or, where the cache has none, its metadata
// past the cache. It is nil when there is none.
func (w *Writer) find(ctx context.Context, desired client.Object) (client.Object, error) {
	key := client.ObjectKeyFromObject(desired)
	found := newLike(desired)
	err := w.Client.Get(ctx, key, found, client.UnsafeDisableDeepCopy) // it is only read
	if !apierrors.IsNotFound(err) {
		return found, err
	}
	if w.Live == nil {
		return nil, nil
	}
	metadata := &metav1.PartialObjectMetadata{}
	metadata.SetGroupVersionKind(desired.GetObjectKind().GroupVersionKind())
	err = w.Live.Get(ctx, key, metadata)
	if apierrors.IsNotFound(err) {
		return nil, nil
	}
	return metadata, err
}

func kindOf(c client.Client, o client.Object) string {
	gvk, err := c.GroupVersionKindFor(o)
	if err != nil {
		return "object"
	}
	return gvk.Kind
}

// desiredContent is what is sent to the server. An annotation holds a hash of it, so that a field that is no longer
// desired makes a difference.
func desiredContent(desired client.Object) (map[string]any, error) {
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(desired)
	if err != nil {
		return nil, err
	}
	unstructured.RemoveNestedField(content, "status")
	data, err := json.Marshal(content) // maps in the order of their keys
	if err != nil {
		return nil, err
	}
	sum := sha256.Sum256(data)
	err = unstructured.SetNestedField(
		content, hex.EncodeToString(sum[:8]), "metadata", "annotations", v1alpha1.AnnotationAppliedHash,
	)
	return content, err
}

// has reports whether an object of the server holds all of a desired content, including its hash. found may be nil,
// or metadata only, and then does not.
func has(found client.Object, content map[string]any) (bool, error) {
	if found == nil {
		return false, nil
	}
	wanted, _, err := unstructured.NestedString(content, "metadata", "annotations", v1alpha1.AnnotationAppliedHash)
	if err != nil || found.GetAnnotations()[v1alpha1.AnnotationAppliedHash] != wanted {
		return false, err
	}
	live, err := runtime.DefaultUnstructuredConverter.ToUnstructured(found)
	if err != nil {
		return false, fmt.Errorf("convert %s: %w", found.GetName(), err)
	}
	for field, value := range content {
		if field == "apiVersion" || field == "kind" {
			continue // objects from a cache have none
		}
		if !covers(live[field], value) {
			return false, nil
		}
	}
	return true, nil
}
