// SPDX-License-Identifier: Apache-2.0

package daemonstatus

import (
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/openllb/hlb-operator/agent/stepnet"
	"github.com/openllb/hlb-operator/api/v1alpha1"
)

func TestNetworkCondition(t *testing.T) {
	cases := map[string]struct {
		network     *stepnet.State
		wantStatus  metav1.ConditionStatus
		wantReason  string
		wantMessage string
	}{
		"steps have their own": {
			&stepnet.State{Isolated: true}, metav1.ConditionTrue, v1alpha1.ReasonOwnNetworks, "own",
		},
		"the node has none": {
			&stepnet.State{Message: "no nf_tables"}, metav1.ConditionFalse, v1alpha1.ReasonNetworksUnsupported,
			"no nf_tables",
		},
		"the BuildCache wants none": {nil, metav1.ConditionFalse, v1alpha1.ReasonPodNetwork, "spec.buildkit.network"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			c := networkCondition(tc.network)
			if c.Status != tc.wantStatus || c.Reason != tc.wantReason || !strings.Contains(c.Message, tc.wantMessage) {
				t.Errorf("condition is %+v", c)
			}
		})
	}
}
