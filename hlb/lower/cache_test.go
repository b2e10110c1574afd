// SPDX-License-Identifier: Apache-2.0

package lower

import "testing"

func TestSharingThatTheProgramLeavesOpen(t *testing.T) {
	policy := func(id string) (string, bool) { return "private", id == "team//var/lib/apt" || id == "team/named" }
	for name, tc := range map[string]struct {
		option, want string
		policy       func(string) (string, bool)
	}{
		"without a policy it is the advised one":        {`cacheMount "/var/lib/apt"`, "locked", nil},
		"a policy comes before the advice":              {`cacheMount "/var/lib/apt"`, "private", policy},
		"a policy knows mounts by their ids":            {`cacheMount "/p" with id("named")`, "private", policy},
		"a policy without an opinion leaves the advice": {`cacheMount "/var/cache/apt"`, "locked", policy},
		"the program's own word comes before a policy": {
			`cacheMount "/var/lib/apt" with sharing("shared")`, "shared", policy,
		},
	} {
		t.Run(name, func(t *testing.T) {
			req := mustCompile(t, "fs default() { image \"x\"; run \"r\" with option { "+tc.option+"; }; }",
				Options{CacheMountNamespace: "team", CacheMountSharing: tc.policy})
			if len(req.CacheMounts) != 1 || req.CacheMounts[0].Sharing != tc.want {
				t.Errorf("mounts are %+v, want one that is %s", req.CacheMounts, tc.want)
			}
		})
	}
}
