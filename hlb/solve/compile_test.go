// SPDX-License-Identifier: Apache-2.0

package solve

import (
	"testing"

	gateway "github.com/moby/buildkit/frontend/gateway/client"
)

func TestDockerEngineIsKnownByItsWorker(t *testing.T) {
	const prefix = "org.mobyproject.buildkit.worker."
	for name, tc := range map[string]struct {
		labels map[string]string
		want   bool
	}{
		"a standalone daemon": {
			map[string]string{prefix + "executor": "oci", prefix + "snapshotter": "overlayfs"}, false,
		},
		"a daemon without labels":     {nil, false},
		"the one inside of an engine": {map[string]string{prefix + "moby.host-gateway-ip": "172.17.0.1"}, true},
	} {
		t.Run(name, func(t *testing.T) {
			if got := isDockerEngine(gateway.BuildOpts{Workers: []gateway.WorkerInfo{
				{}, {Labels: tc.labels},
			}}); got != tc.want {
				t.Errorf("got %v, want %v", got, tc.want)
			}
		})
	}
}
