// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// smallVolume is a mounted filesystem of 8 MiB with 200 inodes.
func smallVolume(t *testing.T) string {
	t.Helper()
	path := t.TempDir()
	if err := unix.Mount("tmpfs", path, "tmpfs", 0, "size=8m,nr_inodes=200"); err != nil {
		t.Fatalf("mount a small volume, which takes root: %v", err)
	}
	t.Cleanup(func() {
		if err := unix.Unmount(path, 0); err != nil {
			t.Error(err)
		}
	})
	return path
}

func TestPrimingNeverFillsAVolume(t *testing.T) {
	cases := map[string]struct {
		files, size int
		wantErr     string
	}{
		"what fits is primed":            {files: 100, size: 10_000},
		"more bytes than are free":       {files: 3, size: 3 << 20, wantErr: "no room for 10 MiB"},
		"as much as is free":             {files: 1, size: 8<<20 - blockBytes, wantErr: "are kept free"},
		"more names than there is place": {files: 250, size: 1, wantErr: "no room for 251 names"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mount, other, im := t.TempDir(), smallVolume(t), &image{}
			text := make([]byte, tc.size)
			rand.NewChaCha8([32]byte{1}).Read(text) //nolint:errcheck // never fails
			for i := range tc.files {
				if err := os.WriteFile(filepath.Join(mount, fmt.Sprint(i)), text, 0o644); err != nil {
					t.Fatal(err)
				}
			}
			im.snap(t, mount)
			_, err := im.prime(t.Context(), other)
			if tc.wantErr == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
				t.Errorf("the error is %v, want %q", err, tc.wantErr)
			}
			if names, err := os.ReadDir(other); err != nil || len(names) > 0 {
				t.Errorf("the mount holds %v (%v), want nothing", names, err)
			}
		})
	}
}

// TestPrimingStopsWhenOthersFillTheVolume has the room go while the copy is written.
func TestPrimingStopsWhenOthersFillTheVolume(t *testing.T) {
	volume := smallVolume(t)
	r := &room{path: volume}
	if err := r.take(checkBytes - 1); err != nil {
		t.Fatalf("with the volume empty: %v", err)
	}
	if err := os.WriteFile(filepath.Join(volume, "other"), bytes.Repeat([]byte("o"), 7<<20), 0o644); err != nil {
		t.Fatal(err)
	}
	if err := r.take(1 << 20); err == nil || !strings.Contains(err.Error(), "no room for 1 MiB") {
		t.Errorf("the error is %v, want that there is no room", err)
	}
}
