// SPDX-License-Identifier: Apache-2.0

package localcluster

import "context"

// storageClass is the default class's name.
const storageClass = "local"

// createStorage makes the driver's and the class's objects known to the API server.
func createStorage(ctx context.Context, a *api) error {
	if err := a.create(ctx, "/apis/storage.k8s.io/v1/csidrivers", map[string]any{
		"apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver",
		"metadata": map[string]any{"name": driverName},
		"spec": map[string]any{
			"attachRequired": false, "podInfoOnMount": false, "fsGroupPolicy": "File",
			"volumeLifecycleModes": []string{"Persistent"},
		},
	}); err != nil {
		return err
	}
	return a.create(ctx, "/apis/storage.k8s.io/v1/storageclasses", map[string]any{
		"apiVersion": "storage.k8s.io/v1", "kind": "StorageClass",
		"metadata": map[string]any{
			"name":        storageClass,
			"annotations": map[string]any{"storageclass.kubernetes.io/is-default-class": "true"},
		},
		"provisioner": driverName, "reclaimPolicy": "Delete",
		"volumeBindingMode": "WaitForFirstConsumer", "allowVolumeExpansion": true,
	})
}
