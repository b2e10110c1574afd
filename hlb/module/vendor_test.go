// SPDX-License-Identifier: Apache-2.0

package module_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/opencontainers/go-digest"

	"github.com/openllb/hlb-operator/hlb/module"
)

func TestVendorPath(t *testing.T) {
	d := digest.FromString("x")
	if got, want := module.VendorPath(d), "sha256/2d/"+d.Encoded(); got != want {
		t.Errorf("%s, want %s", got, want)
	}
}

// TestDigestsOfRepositories: a repository and a ref are one vendored tree, whatever the file.
func TestDigestsOfRepositories(t *testing.T) {
	of := func(operand string) digest.Digest {
		u, err := module.Parse(operand)
		if err != nil {
			t.Fatal(err)
		}
		return u.Digest()
	}
	if of("git://h/o/r@v1:a.hlb") != of("git://h/o/r@v1:b/c.hlb") {
		t.Error("two files of one repository are two trees")
	}
	seen := map[digest.Digest]string{}
	for _, operand := range []string{
		"git://h/o/r@v1", "git://h/o/r@v2", "git://h/o/r", "git://h/o/q@v1", "git://i/o/r@v1", "git+https://h/o/r@v1",
		"git+ssh://u@h/o/r@v1", "git+ssh://h/o/r@v1",
	} {
		d := of(operand)
		if seen[d] != "" {
			t.Errorf("%s and %s are one tree", seen[d], operand)
		}
		seen[d] = operand
	}
}

func TestParseLock(t *testing.T) {
	sum := digest.FromString("x")
	for name, tc := range map[string]struct {
		text string
		want module.Lock // nil for an error
	}{
		"nothing":             {"", module.Lock{}},
		"a file":              {"# remark\n\n" + sum.String() + " sha256/a b/c\r\n", module.Lock{"sha256/a b/c": sum}},
		"no path":             {sum.String() + "\n", nil},
		"no checksum":         {"a b\n", nil},
		"a path that escapes": {sum.String() + " ../a\n", nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := module.ParseLock([]byte(tc.text))
			if diff := cmp.Diff(tc.want, got); diff != "" || (err == nil) != (tc.want != nil) {
				t.Errorf("(-want +got):\n%s\n%v", diff, err)
			}
			if again, err := module.ParseLock(got.Bytes()); err != nil || tc.want != nil && cmp.Diff(got, again) != "" {
				t.Errorf("written and read again: %v, %v", again, err)
			}
		})
	}
}

func TestWriteVendor(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a", "modules")
	for _, step := range []struct {
		name  string
		files map[string]string
		only  bool
		want  module.VendorChanges
		left  []string
	}{
		{"no files make no directory", nil, false, module.VendorChanges{}, nil},
		{
			"new files", map[string]string{"x/1/m": "one", "x/2/m": "two"}, false,
			module.VendorChanges{Written: []string{"x/1/m", "x/2/m"}}, []string{"modules.lock", "x/1/m", "x/2/m"},
		},
		{
			"only what changed is written, others stay", map[string]string{"x/1/m": "one", "x/3/m": "three"}, false,
			module.VendorChanges{Written: []string{"x/3/m"}}, []string{"modules.lock", "x/1/m", "x/2/m", "x/3/m"},
		},
		{
			"others are removed if asked for", map[string]string{"x/3/m": "3"}, true,
			module.VendorChanges{Written: []string{"x/3/m"}, Removed: []string{"x/1/m", "x/2/m"}},
			[]string{"modules.lock", "x/3/m"},
		},
		{"at last the directory", nil, true, module.VendorChanges{Removed: []string{"x/3/m"}}, nil},
	} {
		files := map[string][]byte{}
		for name, text := range step.files {
			files[name] = []byte(text)
		}
		got, err := module.WriteVendor(dir, files, step.only)
		if diff := cmp.Diff(step.want, got); diff != "" || err != nil {
			t.Fatalf("%s: %v (-want +got):\n%s", step.name, err, diff)
		}
		if diff := cmp.Diff(step.left, filesIn(t, dir)); diff != "" {
			t.Fatalf("%s: files (-want +got):\n%s", step.name, diff)
		}
		checkLock(t, dir)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("the empty directory is left")
	}
}

// TestVendorKeepsModulesOfOthers: a directory without a lock gets one with all that is there.
func TestVendorKeepsModulesOfOthers(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "theirs"), []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := module.WriteVendor(dir, map[string][]byte{"ours": []byte("y")}, false); err != nil {
		t.Fatal(err)
	}
	checkLock(t, dir)
}

func TestPathsThatLeaveTheVendorDirectoryAreRefused(t *testing.T) {
	for _, name := range []string{"../x", "/x", module.LockFile, ""} {
		if _, err := module.WriteVendor(t.TempDir(), map[string][]byte{name: nil}, false); err == nil {
			t.Errorf("%q was written", name)
		}
	}
}

func filesIn(t *testing.T, dir string) []string {
	t.Helper()
	var names []string
	_ = fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err == nil && !entry.IsDir() {
			names = append(names, name)
		}
		return err
	})
	return names
}

// checkLock holds the lock against the files.
func checkLock(t *testing.T, dir string) {
	t.Helper()
	text, _ := os.ReadFile(filepath.Join(dir, module.LockFile))
	lock, err := module.ParseLock(text)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range filesIn(t, dir) {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if name != module.LockFile && (err != nil || lock[name] != digest.FromBytes(text)) {
			t.Errorf("the lock has %s for %s, %v", lock[name], name, err)
		}
		delete(lock, name)
	}
	if len(lock) > 0 {
		t.Errorf("the lock has more: %v", lock)
	}
}
