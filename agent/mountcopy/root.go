// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// Root is the owner and mode of a mount's own directory.
type Root struct {
	UID, GID int
	Mode     uint32
}

// asMade is what a daemon makes of a mount.
var asMade = Root{Mode: 0o755}

// String is the root as ParseRoot reads it.
func (r Root) String() string { return fmt.Sprintf("%d:%d:%o", r.UID, r.GID, r.Mode) }

// ParseRoot reads what String has written.
func ParseRoot(text string) (Root, error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return Root{}, fmt.Errorf("%q is no owner and mode", text)
	}
	uid, err := strconv.ParseUint(parts[0], 10, 31)
	if err != nil {
		return Root{}, err
	}
	gid, err := strconv.ParseUint(parts[1], 10, 31)
	if err != nil {
		return Root{}, err
	}
	mode, err := strconv.ParseUint(parts[2], 8, 12)
	return Root{UID: int(uid), GID: int(gid), Mode: uint32(mode)}, err
}

// SetRoot gives a mount's own directory an owner and mode, unless a build has given it others than the daemon did.
// What is in the mount stays as it is. The outcome is Copied, Unchanged or Held.
func SetRoot(mount string, want Root) (Result, error) {
	var st unix.Stat_t
	if err := unix.Lstat(mount, &st); err != nil {
		return Result{}, &os.PathError{Op: "lstat", Path: mount, Err: err}
	}
	switch is := (Root{UID: int(st.Uid), GID: int(st.Gid), Mode: st.Mode & 0o7777}); is {
	case want:
		return Result{Outcome: Unchanged}, nil
	case asMade:
	default:
		return Result{Outcome: Held}, nil
	}
	if err := os.Lchown(mount, want.UID, want.GID); err != nil {
		return Result{}, err
	}
	if err := unix.Fchmodat(unix.AT_FDCWD, mount, want.Mode, 0); err != nil {
		return Result{}, &os.PathError{Op: "chmod", Path: mount, Err: err}
	}
	return Result{Outcome: Copied}, nil
}
