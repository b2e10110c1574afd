// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"errors"
	"os"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"
)

func TestTheOwnerOfAMountIsSetOnce(t *testing.T) {
	open := Root{Mode: 0o777}
	cases := map[string]struct {
		is, want, wantAfter Root
		wantOutcome         Outcome
	}{
		"a mount as the daemon made it":     {asMade, open, open, Copied},
		"one that gets an owner":            {asMade, Root{7, 8, 0o700}, Root{7, 8, 0o700}, Copied},
		"one that is as it should be":       {open, open, open, Unchanged},
		"one that a build has made its own": {Root{5, 5, 0o750}, open, Root{5, 5, 0o750}, Held},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mount := t.TempDir()
			err := errors.Join(os.WriteFile(filepath.Join(mount, "f"), nil, 0o600),
				os.Chown(mount, tc.is.UID, tc.is.GID), unix.Chmod(mount, tc.is.Mode))
			if err != nil {
				t.Fatal(err)
			}
			want, err := ParseRoot(tc.want.String())
			if err != nil {
				t.Fatal(err)
			}
			step := &Step{Mode: ModeRoot, Mount: mount, Root: want}
			res, err := talk(t.Context(), step, func(p *Peer) (Result, error) { return p.Digest() })
			if err != nil || res.Outcome != tc.wantOutcome {
				t.Errorf("the result is %+v (%v), want %s", res, err, tc.wantOutcome)
			}
			var st unix.Stat_t
			if err := unix.Stat(mount, &st); err != nil {
				t.Fatal(err)
			}
			if got := (Root{int(st.Uid), int(st.Gid), st.Mode & 0o7777}); got != tc.wantAfter {
				t.Errorf("the mount is %v, want %v", got, tc.wantAfter)
			}
		})
	}
}

func TestWhatIsNoOwnerAndMode(t *testing.T) {
	for _, text := range []string{"", "1:2", "a:0:755", "0:-1:755", "0:0:99999", "0:0:8"} {
		if root, err := ParseRoot(text); err == nil {
			t.Errorf("%q is read as %v", text, root)
		}
	}
}
