// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

func TestPrimingSparesWhatIsThere(t *testing.T) {
	mount, other, im := odd(t), t.TempDir(), &image{}
	im.snap(t, mount)
	if err := os.WriteFile(filepath.Join(other, "mine"), []byte("newer"), 0o644); err != nil {
		t.Fatal(err)
	}
	before := listing(t, other)
	if res := im.fill(t, other); res.Outcome != Held {
		t.Errorf("priming is %+v, want Held", res)
	}
	if diff := gocmp.Diff(before, listing(t, other)); diff != "" {
		t.Errorf("the mount changed:\n%s", diff)
	}
}

// TestReplacingTakesWhatHasChanged primes a mount, has the first one go on, and primes the other again.
func TestReplacingTakesWhatHasChanged(t *testing.T) {
	mount, other, im := odd(t), t.TempDir(), &image{}
	if err := os.WriteFile(filepath.Join(mount, "large"), bytes.Repeat([]byte("large"), 1<<18), 0o644); err != nil {
		t.Fatal(err)
	}
	im.snap(t, mount)
	if res, asked := im.replace(t, other); res.Outcome != Copied || asked != 1 {
		t.Errorf("an empty mount: %+v from %d layers, want it copied from one", res, asked)
	}
	if res, asked := im.replace(t, other); res.Outcome != Unchanged || asked > 0 {
		t.Errorf("an equal mount: %+v from %d layers, want it unchanged", res, asked)
	}
	change := errors.Join(os.WriteFile(filepath.Join(mount, "new"), []byte("new"), 0o644),
		os.Remove(filepath.Join(mount, "run")),
		os.WriteFile(filepath.Join(other, "mine"), []byte("of no use"), 0o644), os.Remove(filepath.Join(other, "pipe")))
	if change != nil {
		t.Fatal(change)
	}
	im.snap(t, mount)
	if res, asked := im.replace(t, other); res.Outcome != Replaced || asked != 1 || res.Written != 3 {
		t.Errorf("a mount behind: %+v from %d layers, want three bytes from the top one", res, asked)
	}
	if diff := gocmp.Diff(listing(t, mount), listing(t, other)); diff != "" {
		t.Errorf("the replaced mount differs (-had +got):\n%s", diff)
	}
	if names, err := filepath.Glob(filepath.Join(other, ".hlb-mount-*")); err != nil || len(names) > 0 {
		t.Errorf("%q are left in the mount (%v)", names, err)
	}
}

// TestReplacingWithoutLayers has the registry lose the layers: the mount keeps what it has.
func TestReplacingWithoutLayers(t *testing.T) {
	mount, other, im := odd(t), odd(t), &image{}
	if err := os.WriteFile(filepath.Join(mount, "new"), []byte("new"), 0o644); err != nil {
		t.Fatal(err)
	}
	im.snap(t, mount)
	before := listing(t, other)
	_, err := talk(t.Context(), &Step{Mode: ModePrime, Mount: other, Replace: true}, func(p *Peer) (Result, error) {
		return p.Prime(bytes.NewReader(im.index), func() (io.Reader, error) { return nil, errors.New("no more today") })
	})
	if err == nil || !strings.Contains(err.Error(), "no more today") {
		t.Errorf("the error is %v", err)
	}
	after := listing(t, other)
	before[0].Modified = after[0].Modified // of the mount's own directory
	if diff := gocmp.Diff(before, after); diff != "" {
		t.Errorf("the mount changed (-had +got):\n%s", diff)
	}
}

func TestPrimingThatWasCutOff(t *testing.T) {
	in := func(mount, name string) string { return filepath.Join(mount, name) }
	cases := map[string]struct {
		leave func(t *testing.T, im *image, mount string)
	}{
		"while it copied is begun anew": {func(t *testing.T, _ *image, mount string) {
			if err := os.MkdirAll(filepath.Join(mount, copyingName, "a"), 0o755); err != nil {
				t.Fatal(err)
			}
		}},
		"while it moved things goes on": {func(t *testing.T, im *image, mount string) {
			im.fill(t, mount)
			copied := filepath.Join(mount, copiedName)
			if err := errors.Join(os.Mkdir(copied, 0o755),
				os.Rename(filepath.Join(mount, "run"), filepath.Join(copied, "run"))); err != nil {
				t.Fatal(err)
			}
		}},
		"before the old content left": {func(t *testing.T, im *image, mount string) {
			im.fill(t, mount)
			names, err := os.ReadDir(mount)
			err = errors.Join(err, os.Mkdir(in(mount, copiedName), 0o755), os.Mkdir(in(mount, leavingName), 0o755),
				os.WriteFile(in(mount, "old"), nil, 0o644))
			for _, n := range names {
				err = errors.Join(err, os.Rename(in(mount, n.Name()), in(mount, filepath.Join(copiedName, n.Name()))))
			}
			if err = errors.Join(err, os.WriteFile(in(mount, "run"), []byte("old"), 0o644)); err != nil {
				t.Fatal(err)
			}
		}},
		"before the copy was whole, with the old content about to leave": {func(t *testing.T, _ *image, mount string) {
			if err := errors.Join(os.Mkdir(in(mount, copyingName), 0o755),
				os.Mkdir(in(mount, leavingName), 0o755)); err != nil {
				t.Fatal(err)
			}
		}},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mount, other, im := odd(t), t.TempDir(), &image{}
			im.snap(t, mount)
			tc.leave(t, im, other)
			im.fill(t, other)
			if diff := gocmp.Diff(listing(t, mount), listing(t, other)); diff != "" {
				t.Errorf("the primed mount differs (-had +got):\n%s", diff)
			}
			if _, err := os.Lstat(filepath.Join(other, copiedName)); err == nil {
				t.Error("the copy's own folder is still there")
			}
		})
	}
}

// TestPrimingThatFailsLeavesNothing has the agent go away in the middle, or the layers be others than the index says.
func TestPrimingThatFailsLeavesNothing(t *testing.T) {
	mount := t.TempDir()
	large := bytes.Repeat([]byte("large"), 1<<20)
	rand.NewChaCha8([32]byte{1}).Read(large) //nolint:errcheck // never fails
	for name, text := range map[string][]byte{"large": large, "small": []byte("small")} {
		if err := os.WriteFile(filepath.Join(mount, name), text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	good := &image{}
	good.snap(t, mount)
	if err := os.WriteFile(filepath.Join(mount, "small"), []byte("SMALL"), 0o644); err != nil {
		t.Fatal(err)
	}
	evil := &image{}
	evil.snap(t, mount)
	cases := map[string]struct {
		layers  func(t *testing.T, cancel func()) Layers
		wantErr string
	}{
		"a file with other bytes": {func(*testing.T, func()) Layers { return evil.layers() }, "small has the sum"},
		"a file that is missing": {
			func(*testing.T, func()) Layers { return (&image{}).layers() }, "is in the index and in no layer",
		},
		"a layer that was cut off": {func(*testing.T, func()) Layers {
			return (&image{content: [][]byte{good.content[0][:1<<20]}}).layers()
		}, "unexpected EOF"},
		"a registry that breaks off": {func(*testing.T, func()) Layers {
			return func() (io.Reader, error) { return nil, errors.New("no more today") }
		}, "no more today"},
		"a time that is over": {func(_ *testing.T, cancel func()) Layers {
			return func() (io.Reader, error) {
				cancel()
				return good.layers()()
			}
		}, "closed pipe|EOF|canceled"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			other := t.TempDir()
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			_, err := talk(ctx, &Step{Mode: ModePrime, Mount: other}, func(p *Peer) (Result, error) {
				return p.Prime(bytes.NewReader(good.index), tc.layers(t, cancel))
			})
			if err == nil || !regexp.MustCompile(tc.wantErr).MatchString(err.Error()) {
				t.Errorf("the error is %v, want %q", err, tc.wantErr)
			}
			if names, err := os.ReadDir(other); err != nil || len(names) > 0 {
				t.Errorf("the mount holds %v (%v), want nothing", names, err)
			}
		})
	}
}

func TestImagesThatAreNoSnapshotsAreRefused(t *testing.T) {
	const root = `{"path":".","kind":"dir"}`
	cases := map[string]struct{ index, want string }{
		"without an index":    {"", "no snapshot of a mount"},
		"with a file outside": {`{"path":"../f","kind":"file"}`, "outside of the tree"},
		"with another name for one": {
			`{"path":"f","kind":"hardlink","link":"/etc/passwd"}`, "outside of the tree",
		},
		"with an index that was cut off": {`{"path":`, "read the index"},
		"that lead out by a symbolic link": {root + `{"path":"x","kind":"symlink","link":"/tmp"}
			{"path":"x/y","kind":"symlink","link":"z"}`, "lies in no directory of the tree"},
		"with a hard link through a symbolic one": {root + `{"path":"x","kind":"symlink","link":"/etc"}
			{"path":"y","kind":"hardlink","link":"x/passwd"}`, "which is no file of the tree"},
		"with a hard link to a directory": {
			root + `{"path":"x","kind":"dir"}{"path":"y","kind":"hardlink","link":"x"}`, "which is no file of the tree",
		},
		"with a path that turns back": {root + `{"path":"x/../y","kind":"dir"}`, "no clean path"},
		"with one name twice": {
			root + `{"path":"x","kind":"fifo"}{"path":"x","kind":"file"}`, "there twice",
		},
		"with a name of the copy itself": {
			root + `{"path":".hlb-mount-left","kind":"dir"}`, "no name of a mount's content",
		},
		"without a root": {`{"path":"x","kind":"dir"}`, "before the root"},
		"with a hole past the end": {
			root + `{"path":"x","kind":"file","size":9,"holes":[[4,6]]}`, "a hole of 6 bytes at 4",
		},
		"with a hole before another": {
			root + `{"path":"x","kind":"file","size":9,"holes":[[4,2],[5,1]]}`, "a hole of 1 bytes at 5",
		},
		"with a size below nothing": {root + `{"path":"x","kind":"file","size":-1}`, "a size of -1"},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			var out blob
			if _, err := writeIndexLayer(&out, []byte(tc.index), nil); err != nil {
				t.Fatal(err)
			}
			mount, im := t.TempDir(), &image{index: out.Bytes()}
			if _, err := im.prime(t.Context(), mount); err == nil || !strings.Contains(err.Error(), tc.want) {
				t.Errorf("the error is %v, want %q", err, tc.want)
			}
		})
	}
}

func TestAnIndexLayerHoldsNothingElse(t *testing.T) {
	pack, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	layer := tarOf(t, map[string]string{indexName: `{"path":".","kind":"dir"}`, "bomb": strings.Repeat("0", 1<<20)})
	mount, im := t.TempDir(), &image{index: pack.EncodeAll(layer, nil)}
	if _, err := im.prime(t.Context(), mount); err == nil || !strings.Contains(err.Error(), `"bomb" is no part of it`) {
		t.Errorf("the error is %v", err)
	}
}
