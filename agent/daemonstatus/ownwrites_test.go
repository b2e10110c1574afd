// SPDX-License-Identifier: Apache-2.0

package daemonstatus

import (
	"fmt"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
)

func TestAWriteIsOnTopOfTheLastOne(t *testing.T) {
	version := func(uid, v string) *v1alpha1.BuildDaemon {
		return &v1alpha1.BuildDaemon{ObjectMeta: metav1.ObjectMeta{UID: types.UID(uid), ResourceVersion: v}}
	}
	var o ownWrites
	o.wrote("1", version("a", "2"))
	o.wrote("2", version("a", "3"))
	cases := map[string]struct{ uid, shown, want string }{
		"a cache that shows the version before":         {"a", "2", "3"},
		"a cache that shows an earlier one":             {"a", "1", "3"},
		"a cache that shows the last write":             {"a", "3", "3"},
		"a cache that shows what others wrote since":    {"a", "4", "4"},
		"a cache that shows another object of the name": {"b", "2", "2"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if got := o.newer(version(tc.uid, tc.shown)).ResourceVersion; got != tc.want {
				t.Errorf("writes on top of version %s, want %s", got, tc.want)
			}
		})
	}
	for i := range 100 {
		o.wrote(fmt.Sprint("v", i), version("a", "last"))
	}
	if len(o.stale) != keptStale || o.stale[keptStale-1] != "v99" {
		t.Errorf("%d versions are kept, up to %s", len(o.stale), o.stale[len(o.stale)-1])
	}
}
