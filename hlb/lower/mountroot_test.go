// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/openllb/hlb-operator/hlb/request"
)

func TestWhoseANewCacheMountIs(t *testing.T) {
	open, owner := &request.MountRoot{Mode: 0o777}, &request.MountRoot{UID: 1000, GID: 1001, Mode: 0o700}
	const owned = `cacheMount "/p" with option { owner 1000 1001; permissions 0o700; }`
	cases := map[string]struct {
		before, options string
		local           bool
		want            *request.MountRoot
		wantBase        bool // the mount has a base state
	}{
		"root's":                         {options: `cacheMount "/p"`},
		"root's by number":               {options: `user "0:0"; cacheMount "/p"`},
		"any user's":                     {options: `user "1000:1000"; cacheMount "/p"`, want: open},
		"any user's, written before":     {options: `cacheMount "/p"; user "node"`, want: open},
		"any user's, by the image":       {before: `user "node";`, options: `cacheMount "/p"`, want: open},
		"not that of one who only reads": {options: `user "1000"; cacheMount "/p" with readonly`},
		"an owner's":                     {options: owned, want: owner},
		"an owner's, with another user":  {options: `user "5"; ` + owned, want: owner},
		"an owner's, where no agent is":  {options: owned, local: true, wantBase: true},
		"any user's, where no agent is":  {options: `user "1000"; cacheMount "/p"`, local: true},
		"that of a base state stays there": {
			options: `user "5"; cacheMount "/p" with base(image("y"))`, wantBase: true,
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			opts := Options{CacheMountNamespace: "ns", Profile: ProfileServer}
			if tc.local {
				opts.Profile = ProfileLocal
			}
			req := mustCompile(t, `fs default() { image "x"; `+tc.before+` run "r" with option { `+tc.options+`; }; }`,
				opts)
			if len(req.CacheMounts) != 1 {
				t.Fatalf("mounts are %+v", req.CacheMounts)
			}
			if diff := cmp.Diff(tc.want, req.CacheMounts[0].Root); diff != "" {
				t.Errorf("the mount's own directory (-want +got):\n%s", diff)
			}
			for _, m := range cacheMounts(t, req.Targets[0].Final.Definition.Def) {
				if base := !strings.Contains(m, "base=scratch"); base != tc.wantBase {
					t.Errorf("the mount is %s, want a base state: %v", m, tc.wantBase)
				}
			}
		})
	}
}
