// SPDX-License-Identifier: Apache-2.0

package statefile

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// brokenDisk is a disk of which one operation fails.
type brokenDisk struct {
	realDisk
	fails string
}

var errDisk = errors.New("input/output error")

func (d brokenDisk) create(dir, pattern string) (tempFile, error) {
	if d.fails == "create" {
		return nil, errDisk
	}
	file, err := d.realDisk.create(dir, pattern)
	return brokenFile{file, d.fails}, err
}

func (d brokenDisk) rename(from, to string) error {
	if d.fails == "rename" {
		return errDisk
	}
	return d.realDisk.rename(from, to)
}

func (d brokenDisk) syncDir(dir string) error {
	if d.fails == "sync of the directory" {
		return errDisk
	}
	return d.realDisk.syncDir(dir)
}

// brokenFile is a file that takes part of what is written, or can't be synced or closed.
type brokenFile struct {
	tempFile
	fails string
}

func (f brokenFile) Write(data []byte) (int, error) {
	if f.fails == "write" {
		n, err := f.tempFile.Write(data[:len(data)/2])
		return n, errors.Join(err, errDisk)
	}
	return f.tempFile.Write(data)
}

func (f brokenFile) Sync() error {
	if f.fails == "sync" {
		return errDisk
	}
	return f.tempFile.Sync()
}

func (f brokenFile) Close() error {
	err := f.tempFile.Close()
	if f.fails == "close" {
		return errDisk
	}
	return err
}

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, e := range entries {
		out = append(out, e.Name())
	}
	return out
}

func TestAFailedSaveLeavesTheOldContent(t *testing.T) {
	cases := map[string]string{"create": "old", "write": "old", "sync": "old", "close": "old", "rename": "old",
		"sync of the directory": "new content"}
	for fails, want := range cases {
		t.Run(fails, func(t *testing.T) {
			dir := t.TempDir()
			f := New(filepath.Join(dir, "state"), 100)
			if err := f.Save([]byte("old")); err != nil {
				t.Fatal(err)
			}
			f.disk = brokenDisk{fails: fails}
			if err := f.Save([]byte("new content")); !errors.Is(err, errDisk) ||
				!strings.HasPrefix(err.Error(), "write state: ") {
				t.Errorf("the error is %v, want the disk's", err)
			}
			got, err := f.Load()
			if diff := cmp.Diff(want, string(got)); diff != "" || err != nil {
				t.Errorf("error %v, content (-want +got):\n%s", err, diff)
			}
			if diff := cmp.Diff([]string{"state"}, names(t, dir)); diff != "" {
				t.Errorf("files (-want +got):\n%s", diff)
			}
		})
	}
}

func TestDamagedFilesAreErrors(t *testing.T) {
	cases := map[string]struct {
		content string
		limit   int64
		want    error
	}{
		"a file at the limit":     {`{"a": 1}`, 8, nil},
		"a file beyond the limit": {`{"a": 1}`, 7, ErrTooLarge},
		"an empty file":           {"", 8, nil},
		"half a file":             {`{"a"`, 8, nil},
		"zeros after a power cut": {"\x00\x00\x00", 8, nil},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "state.json")
			if err := os.WriteFile(path, []byte(tc.content), 0o600); err != nil {
				t.Fatal(err)
			}
			f := New(path, tc.limit)
			data, err := f.Load()
			if !errors.Is(err, tc.want) || err == nil && string(data) != tc.content {
				t.Errorf("loaded %q, %v; want the content or %v", data, err, tc.want)
			}
			var v map[string]int
			if err := f.LoadJSON(&v); (err == nil) != (v["a"] == 1) {
				t.Errorf("loaded %v with the error %v", v, err)
			}
		})
	}
}

func TestWhatIsSavedIsLoadedByTheNextProcess(t *testing.T) {
	path := filepath.Join(t.TempDir(), "state.json")
	if err := New(path, 100).LoadJSON(new(int)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a missing file is the error %v", err)
	}
	if err := New(path, 100).SaveJSON([]int{1, 2}); err != nil {
		t.Fatal(err)
	}
	var got []int
	if err := New(path, 100).LoadJSON(&got); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]int{1, 2}, got); diff != "" {
		t.Errorf("content (-want +got):\n%s", diff)
	}
	if err := New(path, 4).SaveJSON([]int{1, 2}); !errors.Is(err, ErrTooLarge) {
		t.Errorf("content beyond the limit is the error %v", err)
	}
	if err := New(path, 100).SaveJSON(func() {}); err == nil {
		t.Error("a function was saved")
	}
}

func TestTemporaryFilesOfACrashAreSwept(t *testing.T) {
	dir := t.TempDir()
	for _, name := range []string{".state.new-1", ".state.new-22", ".other.new-1", "state"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := New(filepath.Join(dir, "state"), 100).Load(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".other.new-1", "state"}, names(t, dir)); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
}
