// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// sparseFile makes a file of a size with bytes at some offsets.
func sparseFile(path string, size int64, at ...int64) error {
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	err = f.Truncate(size)
	for _, offset := range at {
		_, writeErr := f.WriteAt([]byte("data"), offset)
		err = errors.Join(err, writeErr)
	}
	return errors.Join(err, f.Close())
}

// taken is how many bytes of the disk a file takes.
func taken(t *testing.T, path string) int64 {
	t.Helper()
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		t.Fatal(err)
	}
	return st.Blocks * 512
}

func TestSparseFilesStaySparse(t *testing.T) {
	const size = 1 << 40
	cases := map[string][]int64{
		"without data":                    nil,
		"with data at the start":          {0},
		"with data at the end":            {8<<30 - 4},
		"with data in several places":     {5, 1 << 20, 3 << 30},
		"with data across a block's edge": {1<<20 + 4094},
	}
	for name, at := range cases {
		t.Run(name, func(t *testing.T) {
			size := int64(size)
			if len(at) > 0 {
				size = 8 << 30 // what lies before data is read as zeros
			}
			mount, other, im := t.TempDir(), t.TempDir(), &image{}
			err := errors.Join(sparseFile(filepath.Join(mount, "f"), size, at...),
				os.WriteFile(filepath.Join(mount, "g"), []byte("after it"), 0o644),
				os.Chown(filepath.Join(mount, "f"), 3_000_000, 7), os.Chmod(filepath.Join(mount, "f"), 0o4755))
			if err != nil {
				t.Fatal(err)
			}
			began := time.Now()
			res := im.snap(t, mount)
			if again := im.snap(t, mount); again.Outcome != Unchanged {
				t.Errorf("the second snapshot is %+v", again)
			}
			im.fill(t, other)
			if took := time.Since(began); took > 30*time.Second {
				t.Errorf("it took %v: holes were read", took)
			}
			if diff := gocmp.Diff(listing(t, mount), listing(t, other)); diff != "" {
				t.Errorf("the primed mount differs (-had +got):\n%s", diff)
			}
			if got := taken(t, filepath.Join(other, "f")); got > 1<<20 || res.Bytes > 1<<20 {
				t.Errorf("the primed file takes %d bytes, the snapshot has %d", got, res.Bytes)
			}
			for _, offset := range at {
				wantAt(t, filepath.Join(other, "f"), offset)
			}
		})
	}
}

// wantAt wants what sparseFile has written at an offset.
func wantAt(t *testing.T, path string, offset int64) {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	got := make([]byte, 4)
	if _, err := f.ReadAt(got, offset); err != nil || string(got) != "data" {
		t.Errorf("at %d there is %q (%v)", offset, got, err)
	}
}

// TestOthersSeeSparseFilesWhole reads a layer as other programs do.
func TestOthersSeeSparseFilesWhole(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		mount, im := t.TempDir(), &image{}
		size := rapid.Int64Range(minHole, 20*minHole).Draw(rt, "size")
		offsets := rapid.SliceOfN(rapid.Int64Range(0, size-4), 0, 4).Draw(rt, "offsets")
		path := filepath.Join(mount, strings.Repeat("long", 50))
		if err := sparseFile(path, size, offsets...); err != nil {
			rt.Fatal(err)
		}
		im.snap(t, mount)
		layer, done, err := readLayer(bytes.NewReader(im.content[0]))
		if err != nil {
			rt.Fatal(err)
		}
		defer done()
		h, err := layer.Next()
		if err != nil || h.Name != filepath.Base(path) || h.Typeflag != tar.TypeReg || h.Size != size {
			rt.Fatalf("the layer begins with %+v (%v)", h, err)
		}
		got, err := io.ReadAll(layer)
		if err != nil {
			rt.Fatal(err)
		}
		want, err := os.ReadFile(path)
		if err != nil || !bytes.Equal(got, want) {
			rt.Fatalf("the layer has other bytes than the file (%v)", err)
		}
		if _, err := layer.Next(); !errors.Is(err, io.EOF) {
			rt.Fatalf("the layer goes on with %v", err)
		}
	})
}
