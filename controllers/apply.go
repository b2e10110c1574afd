// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"context"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

// fieldOwner is the manager's name in server-side apply.
const fieldOwner = "hlb-operator"

// conflictError says that a needed name is taken by an object of somebody else.
type conflictError struct {
	kind, name string
}

func (e *conflictError) Error() string {
	return fmt.Sprintf(
		"%s %q exists and does not belong to this BuildCache: rename the BuildCache or remove that object",
		e.kind,
		e.name,
	)
}

// applyOwned brings one desired object into being by server-side apply, owned by owner. Fields that others set and
// the operator does not mention stay theirs. It returns a *conflictError rather than take over an object that owner
// does not control.
func applyOwned(ctx context.Context, c client.Client, owner client.Object, desired client.Object) error {
	gvk := desired.GetObjectKind().GroupVersionKind()
	if err := controllerutil.SetControllerReference(owner, desired, c.Scheme()); err != nil {
		return fmt.Errorf("own %s %s: %w", gvk.Kind, desired.GetName(), err)
	}
	found := &metav1.PartialObjectMetadata{}
	found.SetGroupVersionKind(gvk)
	switch err := c.Get(ctx, client.ObjectKeyFromObject(desired), found); {
	case apierrors.IsNotFound(err):
	case err != nil:
		return fmt.Errorf("read %s %s: %w", gvk.Kind, desired.GetName(), err)
	case !metav1.IsControlledBy(found, owner):
		return &conflictError{kind: gvk.Kind, name: desired.GetName()}
	}
	content, err := runtime.DefaultUnstructuredConverter.ToUnstructured(desired)
	if err != nil {
		return fmt.Errorf("convert %s %s: %w", gvk.Kind, desired.GetName(), err)
	}
	u := &unstructured.Unstructured{Object: content}
	unstructured.RemoveNestedField(u.Object, "status")
	err = c.Apply(
		ctx,
		client.ApplyConfigurationFromUnstructured(u),
		client.FieldOwner(fieldOwner),
		client.ForceOwnership,
	)
	if err != nil {
		return fmt.Errorf("apply %s %s: %w", gvk.Kind, desired.GetName(), err)
	}
	return nil
}
