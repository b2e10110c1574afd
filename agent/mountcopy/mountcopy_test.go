// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
	"pgregory.net/rapid"
)

// odd is a tree with one of everything.
func odd(t *testing.T) string {
	t.Helper()
	root := t.TempDir()
	at := func(name string) string { return filepath.Join(root, name) }
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.MkdirAll(at("a/b"), 0o755))
	must(os.MkdirAll(at("empty"), 0o1777))
	must(os.WriteFile(at("a/b/one"), []byte("one"), 0o600))
	must(os.WriteFile(at("a/none"), nil, 0o644))
	must(os.WriteFile(at("run"), []byte("#!"), 0o755))
	must(os.Chmod(at("run"), 0o755|os.ModeSetuid))
	must(os.Link(at("a/b/one"), at("z-same-as-one")))
	must(os.Symlink("../nowhere", at("a/dangling")))
	must(unix.Mkfifo(at("pipe"), 0o620))
	must(unix.Mknod(at("null"), unix.S_IFCHR|0o666, int(unix.Mkdev(1, 3))))
	must(os.Lchown(at("a/dangling"), 7, 8))
	must(os.Chown(at("a/b"), 1000, 1001))
	must(unix.Setxattr(at("a/none"), "user.note", []byte("kept"), 0))
	old := time.Date(2001, 2, 3, 4, 5, 6, 789, time.UTC)
	for _, name := range []string{"a/b/one", "a/b", "a", "."} {
		must(os.Chtimes(at(name), old, old))
	}
	return root
}

// throughLayers does to an image's tree what layers do: no fractions of seconds, and other times for directories.
func throughLayers(t *testing.T, image string) {
	t.Helper()
	err := filepath.Walk(image, func(path string, info os.FileInfo, err error) error {
		if err != nil || info.Mode()&os.ModeSymlink != 0 {
			return err
		}
		when := info.ModTime().Truncate(time.Second)
		if info.IsDir() {
			when = time.Now()
		}
		return os.Chtimes(path, when, when)
	})
	if err != nil {
		t.Fatal(err)
	}
}

// listing is a tree as entries with sums.
func listing(t *testing.T, root string) index {
	t.Helper()
	ix, err := scan(root)
	if err == nil {
		err = ix.sum(t.Context(), root)
	}
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

func snap(t *testing.T, mount, image string) Result {
	t.Helper()
	res, err := Snapshot(t.Context(), mount, image, 0)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func prime(t *testing.T, image, mount string) Result {
	t.Helper()
	res, err := Prime(t.Context(), image, mount)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestEverythingOfATreeComesBack(t *testing.T) {
	mount, image, other := odd(t), t.TempDir(), t.TempDir()
	made := snap(t, mount, image)
	throughLayers(t, image)
	back := prime(t, image, other)
	if diff := cmp.Diff(listing(t, mount), listing(t, other)); diff != "" {
		t.Errorf("the primed mount differs (-had +got):\n%s", diff)
	}
	want := Result{Outcome: Copied, Digest: made.Digest, Bytes: 5, Files: 7, Written: 5}
	if diff := cmp.Diff([]Result{want, want}, []Result{made, back}); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if d, err := Digest(t.Context(), other); err != nil || d.Digest != made.Digest {
		t.Errorf("the primed mount has digest %s (%v), want %s", d.Digest, err, made.Digest)
	}
}

func TestUnchangedMountIsNotWrittenAgain(t *testing.T) {
	mount, image := odd(t), t.TempDir()
	first := snap(t, mount, image)
	throughLayers(t, image)
	before := listing(t, image)
	again := snap(t, mount, image)
	if again.Outcome != Unchanged || again.Digest != first.Digest {
		t.Errorf("the second snapshot is %+v, want it unchanged with %s", again, first.Digest)
	}
	if diff := cmp.Diff(before, listing(t, image)); diff != "" {
		t.Errorf("the image changed:\n%s", diff)
	}
}

// TestChangesAreFollowed changes a tree at random, again and again; the image must always make the same tree.
func TestChangesAreFollowed(t *testing.T) {
	names := []string{"a", "b", "a/x", "a/y", "b/x", "c"}
	rapid.Check(t, func(rt *rapid.T) {
		base := t.TempDir()
		mount, image := filepath.Join(base, "m"), filepath.Join(base, "i")
		for _, d := range []string{mount, image} {
			if err := os.Mkdir(d, 0o755); err != nil {
				rt.Fatal(err)
			}
		}
		for round := range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			for range rapid.IntRange(1, 5).Draw(rt, "changes") {
				change(rt, mount, rapid.SampledFrom(names).Draw(rt, "name"))
			}
			if _, err := Snapshot(context.Background(), mount, image, 0); err != nil {
				rt.Fatal(err)
			}
			other := filepath.Join(base, fmt.Sprint(round))
			if err := os.Mkdir(other, 0o755); err != nil {
				rt.Fatal(err)
			}
			if names, _ := os.ReadDir(mount); len(names) == 0 {
				continue // nothing to snapshot
			}
			if _, err := Prime(context.Background(), image, other); err != nil {
				rt.Fatal(err)
			}
			if diff := cmp.Diff(listing(t, mount), listing(t, other)); diff != "" {
				rt.Fatalf("round %d (-mount +primed):\n%s", round, diff)
			}
		}
	})
}

// change does one thing to a name; what can't be done is left.
func change(rt *rapid.T, root, name string) {
	path := filepath.Join(root, name)
	switch rapid.SampledFrom([]string{"write", "remove", "mkdir", "symlink", "link", "chmod", "touch"}).Draw(rt, "change") {
	case "write":
		os.WriteFile(path, []byte(rapid.StringN(0, 3, 3).Draw(rt, "text")), 0o644) //nolint:errcheck // see above
	case "remove":
		os.RemoveAll(path) //nolint:errcheck // see above
	case "mkdir":
		os.Mkdir(path, 0o755) //nolint:errcheck // see above
	case "symlink":
		os.Symlink("c", path) //nolint:errcheck // see above
	case "link":
		os.Link(filepath.Join(root, "c"), path) //nolint:errcheck // see above
	case "chmod":
		os.Chmod(path, 0o700) //nolint:errcheck // see above
	case "touch":
		os.Chtimes(path, time.Time{}, time.Unix(1, 5)) //nolint:errcheck // see above
	}
}

func TestSmallChangeWritesLittle(t *testing.T) {
	mount, image := t.TempDir(), t.TempDir()
	random := rand.NewChaCha8([32]byte{1})
	for i := range 200 {
		data := make([]byte, 1000)
		random.Read(data) //nolint:errcheck // never fails
		if err := os.WriteFile(filepath.Join(mount, fmt.Sprint(i)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	snap(t, mount, image)
	same := bytes.Repeat([]byte{1}, 1000) // of the same size and the same time: only the bytes tell
	path := filepath.Join(mount, "7")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path, same, 0o644), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if res := snap(t, mount, image); res.Written != 1000 || res.Outcome != Copied {
		t.Errorf("the second snapshot is %+v, want one file of 1000 bytes written", res)
	}
}

func TestPrimingSparesWhatIsThere(t *testing.T) {
	mount, image, other := odd(t), t.TempDir(), t.TempDir()
	snap(t, mount, image)
	if err := os.WriteFile(filepath.Join(other, "mine"), []byte("newer"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := listing(t, other)
	if res := prime(t, image, other); res.Outcome != Held {
		t.Errorf("priming is %+v, want Held", res)
	}
	if diff := cmp.Diff(before, listing(t, other)); diff != "" {
		t.Errorf("the mount changed:\n%s", diff)
	}
}

func TestPrimingThatWasCutOff(t *testing.T) {
	cases := map[string]struct {
		leave func(t *testing.T, image, mount string)
	}{
		"while it copied is begun anew": {func(t *testing.T, _, mount string) {
			if err := os.MkdirAll(filepath.Join(mount, copyingName, "a"), 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		"while it moved things goes on": {func(t *testing.T, image, mount string) {
			prime(t, image, mount)
			copied := filepath.Join(mount, copiedName)
			if err := errors.Join(os.Mkdir(copied, 0o755), os.Rename(filepath.Join(mount, "run"), filepath.Join(copied, "run"))); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mount, image, other := odd(t), t.TempDir(), t.TempDir()
			snap(t, mount, image)
			tc.leave(t, image, other)
			prime(t, image, other)
			if diff := cmp.Diff(listing(t, mount), listing(t, other)); diff != "" {
				t.Errorf("the primed mount differs (-had +got):\n%s", diff)
			}
			if _, err := os.Lstat(filepath.Join(other, copiedName)); err == nil {
				t.Error("the copy's own folder is still there")
			}
		})
	}
}

func TestPrimingOutOfTimeLeavesNothing(t *testing.T) {
	mount, image, other := odd(t), t.TempDir(), t.TempDir()
	snap(t, mount, image)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Prime(ctx, image, other); !errors.Is(err, context.Canceled) {
		t.Errorf("the error is %v, want %v", err, context.Canceled)
	}
	if names, err := os.ReadDir(other); err != nil || len(names) > 0 {
		t.Errorf("the mount holds %v (%v), want nothing", names, err)
	}
}

func TestWhatIsNotSnapshotted(t *testing.T) {
	cases := map[string]struct {
		name, text string
		limit      int64
		want       Outcome
		wantErr    string
	}{
		"an empty mount":                {want: Empty},
		"a mount above the limit":       {name: "f", text: "four", limit: 3, want: TooLarge},
		"a name that layers can't hold": {name: ".wh.f", text: "x", wantErr: `".wh.f" can't be held in an image`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mount, image := t.TempDir(), t.TempDir()
			if tc.name != "" {
				if err := os.WriteFile(filepath.Join(mount, tc.name), []byte(tc.text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			res, err := Snapshot(t.Context(), mount, image, tc.limit)
			switch {
			case tc.wantErr != "":
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("the error is %v, want %q", err, tc.wantErr)
				}
			case err != nil || res.Outcome != tc.want:
				t.Errorf("the result is %+v (%v), want %s", res, err, tc.want)
			}
			if names, _ := os.ReadDir(image); len(names) > 0 {
				t.Errorf("the image holds %v", names)
			}
		})
	}
}

func TestImagesThatAreNoSnapshotsAreRefused(t *testing.T) {
	cases := map[string]struct{ index, want string }{
		"without an index":               {"", "no snapshot of a mount"},
		"with a file outside":            {`{"path":"../f","kind":"file"}`, "outside of the tree"},
		"with another name for one":      {`{"path":"f","kind":"hardlink","link":"/etc/passwd"}`, "outside of the tree"},
		"with an index that was cut off": {`{"path":`, "read the index"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			image, mount := t.TempDir(), t.TempDir()
			if tc.index != "" {
				if err := os.WriteFile(filepath.Join(image, indexName), []byte(tc.index), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			if _, err := Prime(t.Context(), image, mount); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
		})
	}
}
