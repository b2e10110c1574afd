// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// deep makes a directory whose path is longer than a system call takes, in root.
func deep(root string) error {
	fd, err := unix.Open(root, unix.O_DIRECTORY|unix.O_RDONLY, 0)
	for name := range 25 {
		part := fmt.Sprintf("%0200d", name)
		err = errors.Join(err, unix.Mkdirat(fd, part, 0o755))
		next, openErr := unix.Openat(fd, part, unix.O_DIRECTORY|unix.O_RDONLY, 0)
		err = errors.Join(err, openErr, unix.Close(fd))
		fd = next
	}
	return errors.Join(err, unix.Close(fd))
}

func TestWhatASnapshotCantHoldIsCountedAndNamed(t *testing.T) {
	write := func(path string) error { return os.WriteFile(path, []byte("x"), 0o644) }
	cases := map[string]struct {
		leave     func(mount string) error
		wantNamed string
	}{
		"a name that is not UTF-8": {
			func(mount string) error { return write(filepath.Join(mount, "\xff")) }, `"\xff" (not UTF-8)`,
		},
		"a name that means a deletion in images": {
			func(mount string) error { return write(filepath.Join(mount, ".wh.f")) }, `".wh.f" (names that begin`,
		},
		"a name of the copy itself": {
			func(mount string) error { return write(filepath.Join(mount, indexName)) }, "(a name of the copy itself)",
		},
		"a symbolic link to a name that is not UTF-8": {
			func(mount string) error { return os.Symlink("\xfe", filepath.Join(mount, "l")) }, `"l" (a symbolic link`,
		},
		"a socket": {func(mount string) error {
			l, err := net.ListenUnix("unix", &net.UnixAddr{Name: filepath.Join(mount, "s"), Net: "unix"})
			if err == nil {
				l.SetUnlinkOnClose(false)
				err = l.Close()
			}
			return err
		}, `"s" (a socket)`},
		"an attribute that is not UTF-8": {func(mount string) error {
			return unix.Setxattr(filepath.Join(mount, "kept"), "user.\xff", []byte("1"), 0)
		}, `"kept" (its attribute "user.\xff" is not UTF-8)`},
		"a path that no system call takes": {deep, "(the path is too long)"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mount, other, im := t.TempDir(), t.TempDir(), &image{}
			if err := errors.Join(write(filepath.Join(mount, "kept")), tc.leave(mount)); err != nil {
				t.Fatal(err)
			}
			res := im.snap(t, mount)
			if res.Outcome != Copied || res.Omitted.Count != 1 ||
				!strings.Contains(res.Omitted.String(), tc.wantNamed) {
				t.Errorf("the snapshot is %+v, want one left out: %s", res, tc.wantNamed)
			}
			if again := im.snap(t, mount); again.Outcome != Unchanged || again.Omitted.Count != 1 {
				t.Errorf("the second snapshot is %+v, want it unchanged with the same left out", again)
			}
			im.fill(t, other)
			if diff := gocmp.Diff(listing(t, mount), listing(t, other)); diff != "" {
				t.Errorf("the primed mount differs (-had +got):\n%s", diff)
			}
		})
	}
}

// TestSomeOfManyAreNamed has more left out than a message should name.
func TestSomeOfManyAreNamed(t *testing.T) {
	var out omissions
	for i := range 1000 {
		out.add(strings.Repeat("a", 5000), fmt.Sprint(i))
	}
	text := out.list().String()
	if !strings.HasPrefix(text, "1000 left out: ") || len(text) > 1000 {
		t.Errorf("it is described in %d bytes as %q", len(text), text)
	}
}

// TestAttributesTakeNoMoreThanTheirBytes: a scan held 64 KiB for each.
func TestAttributesTakeNoMoreThanTheirBytes(t *testing.T) {
	mount := t.TempDir()
	const files = 500
	for i := range files {
		path := filepath.Join(mount, fmt.Sprint(i))
		err := errors.Join(os.WriteFile(path, nil, 0o644), unix.Setxattr(path, "user.a", []byte("1"), 0))
		if err != nil {
			t.Fatal(err)
		}
	}
	ix, _, err := scan(t.Context(), mount, &omissions{})
	if err != nil {
		t.Fatal(err)
	}
	held := 0
	for i := range ix {
		held += cap(ix[i].Xattrs["user.a"])
	}
	if held == 0 || held > files*64 {
		t.Errorf("%d attributes of one byte hold %d bytes", files, held)
	}
	runtime.KeepAlive(ix)
}

// TestFilesThatBecomePipesDontHang replaces a file between the scan and the read.
func TestFilesThatBecomePipesDontHang(t *testing.T) {
	path := filepath.Join(t.TempDir(), "pipe")
	if err := unix.Mkfifo(path, 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := readWhole(path, make([]byte, 3, 4)); err == nil {
		t.Error("a pipe was read as a small file")
	}
	if _, err := sumFile(path, &entry{Path: "pipe", Size: 3}, make([]byte, 8)); err == nil {
		t.Error("a pipe was read as a large file")
	}
}

// TestNamesOfTheCopyThatABuildMade has a build leave links where the copy keeps its own folders.
func TestNamesOfTheCopyThatABuildMade(t *testing.T) {
	for _, name := range []string{copiedName, leavingName, leftName, copyingName} {
		t.Run(name, func(t *testing.T) {
			mount, other, outside, im := odd(t), t.TempDir(), t.TempDir(), &image{}
			im.snap(t, mount)
			err := errors.Join(os.WriteFile(filepath.Join(outside, "kept"), nil, 0o600),
				os.WriteFile(filepath.Join(other, "old"), nil, 0o600), os.Symlink(outside, filepath.Join(other, name)))
			if err != nil {
				t.Fatal(err)
			}
			if res, _ := im.replace(t, other); res.Outcome != Replaced {
				t.Errorf("the refresh is %+v", res)
			}
			if diff := gocmp.Diff(listing(t, mount), listing(t, other)); diff != "" {
				t.Errorf("the refreshed mount differs (-had +got):\n%s", diff)
			}
			if names, err := os.ReadDir(outside); err != nil || len(names) != 1 {
				t.Errorf("outside of the mount there is %v (%v), want what was there", names, err)
			}
		})
	}
}

// TestWhatCantBeMadeHereIsLeftOut sets an attribute that the kernel refuses.
func TestWhatCantBeMadeHereIsLeftOut(t *testing.T) {
	path := filepath.Join(t.TempDir(), "f")
	if err := os.WriteFile(path, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	p := &priming{}
	e := &entry{Path: "f", Kind: file, Mode: 0o640, Xattrs: map[string][]byte{"unknown.space": []byte("1")}}
	if err := p.setMetadata(path, e); err != nil {
		t.Fatal(err)
	}
	if got := p.omitted.list().String(); got != `1 left out: "f" (its attribute unknown.space can't be set here)` {
		t.Errorf("left out is %q", got)
	}
	if info, err := os.Stat(path); err != nil || info.Mode() != 0o640 {
		t.Errorf("the file is %v (%v), want all else set", info, err)
	}
}
