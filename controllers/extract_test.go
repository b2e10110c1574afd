// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"fmt"

	apimeta "k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// extract is a list's items.
func extract(list client.ObjectList) ([]client.Object, error) {
	raw, err := apimeta.ExtractList(list)
	if err != nil {
		return nil, err
	}
	items := make([]client.Object, len(raw))
	for i := range raw {
		o, ok := raw[i].(client.Object)
		if !ok {
			return nil, fmt.Errorf("%T is no object", raw[i])
		}
		items[i] = o
	}
	return items, nil
}
