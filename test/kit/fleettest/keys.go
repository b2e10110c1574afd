// SPDX-License-Identifier: Apache-2.0

package fleettest

import (
	"fmt"
	"testing"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/kit/envtestkit/testbuild"
)

// KeyAt is the n-th key whose home is the daemon.
func KeyAt(t *testing.T, cache *v1alpha1.BuildCache, daemon string, n int) string {
	t.Helper()
	var daemons []scheduler.Daemon
	for i := range *cache.Spec.Replicas {
		d := testbuild.BuildDaemon(cache.Namespace, cache.Name, i)
		daemons = append(daemons,
			scheduler.Daemon{ID: scheduler.DaemonOf(cache.Namespace+"/"+cache.Name, int(i)), Name: d.Name,
				Phase: scheduler.Ready, Slots: 1})
	}
	view, err := scheduler.NewView(daemons, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	for i := range 1000 {
		key := fmt.Sprint("home-", i)
		if view.Daemons[scheduler.Ranks(view, scheduler.KeyOf(cache.Namespace, key), 1)[0]].Name != daemon {
			continue
		}
		if n--; n < 0 {
			return key
		}
	}
	t.Fatalf("no key has its home on %s", daemon)
	return ""
}
