// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"archive/tar"
	"bytes"
	"cmp"
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
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

// image is a snapshot: its index layer, and the layers with content, the bottom one first.
type image struct {
	index   []byte
	content [][]byte
}

// blob is a layer that is being written.
type blob struct{ bytes.Buffer }

func (*blob) Close() error { return nil }

// snapshot brings an image up to date, over a connection as step and agent do it.
func (im *image) snapshot(ctx context.Context, mount string, whole bool, limit int64) (Result, error) {
	var pushed [][]byte
	res, err := talk(ctx, &Step{Mode: ModeSnapshot, Mount: mount, Whole: whole, MaxBytes: limit}, func(p *Peer) (Result, error) {
		return p.Snapshot(bytes.NewReader(im.index), func(layer io.Reader) error {
			text, err := io.ReadAll(layer)
			pushed = append(pushed, text)
			return err
		})
	})
	if err != nil || len(pushed) == 0 {
		return res, err
	}
	n := len(pushed) - 1
	if (res.ContentDiffID != "") != (n == 1) {
		return res, fmt.Errorf("%d layers were sent with %+v", n, res)
	}
	if whole {
		im.content = nil
	}
	im.content, im.index = append(im.content, pushed[:n]...), pushed[n]
	return res, nil
}

// prime fills a mount from the image, over a connection too.
func (im *image) prime(ctx context.Context, mount string) (Result, error) {
	return talk(ctx, &Step{Mode: ModePrime, Mount: mount}, func(p *Peer) (Result, error) {
		return p.Prime(bytes.NewReader(im.index), im.layers())
	})
}

// replace puts the image's content in place of a mount's, and says how many layers were asked for.
func (im *image) replace(t *testing.T, mount string) (res Result, asked int) {
	t.Helper()
	res, err := talk(t.Context(), &Step{Mode: ModePrime, Mount: mount, Replace: true}, func(p *Peer) (Result, error) {
		layers := im.layers()
		return p.Prime(bytes.NewReader(im.index), func() (io.Reader, error) { asked++; return layers() })
	})
	if err != nil {
		t.Fatal(err)
	}
	return res, asked
}

func (im *image) layers() Layers {
	next := len(im.content)
	return func() (io.Reader, error) {
		if next--; next < 0 {
			return nil, io.EOF
		}
		return bytes.NewReader(im.content[next]), nil
	}
}

// talk runs both halves of a copy. The error is the agent's, or else the step's.
func talk(ctx context.Context, s *Step, with func(*Peer) (Result, error)) (Result, error) {
	s.Token = "token"
	here, there := net.Pipe()
	ended := make(chan error, 1)
	go func() { ended <- s.Run(ctx, there); there.Close() }()
	peer, err := Accept(here, "token")
	if err != nil {
		return Result{}, err
	}
	res, err := with(peer)
	here.Close()
	return res, cmp.Or(err, <-ended)
}

// listing is a tree as entries with sums.
func listing(t *testing.T, root string) index {
	t.Helper()
	ix, _, err := scan(t.Context(), root)
	if err == nil {
		err = each(t.Context(), len(ix), func(i int, buf []byte) error { return ix.sum(i, root, buf) })
	}
	if err != nil {
		t.Fatal(err)
	}
	return ix
}

func (im *image) snap(t *testing.T, mount string) Result {
	t.Helper()
	res, err := im.snapshot(t.Context(), mount, false, 0)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func (im *image) fill(t *testing.T, mount string) Result {
	t.Helper()
	res, err := im.prime(t.Context(), mount)
	if err != nil {
		t.Fatal(err)
	}
	return res
}

func TestEverythingOfATreeComesBack(t *testing.T) {
	mount, other, im := odd(t), t.TempDir(), &image{}
	made := im.snap(t, mount)
	back := im.fill(t, other)
	if diff := gocmp.Diff(listing(t, mount), listing(t, other)); diff != "" {
		t.Errorf("the primed mount differs (-had +got):\n%s", diff)
	}
	want := Result{Outcome: Copied, Digest: made.Digest, Bytes: 5, Files: 7, Written: 5}
	made.ContentDiffID, made.IndexDiffID = "", ""
	if diff := gocmp.Diff([]Result{want, want}, []Result{made, back}); diff != "" {
		t.Errorf("results (-want +got):\n%s", diff)
	}
	if d, err := Digest(t.Context(), other); err != nil || d.Digest != made.Digest {
		t.Errorf("the primed mount has digest %s (%v), want %s", d.Digest, err, made.Digest)
	}
}

func TestUnchangedMountIsNotWrittenAgain(t *testing.T) {
	for name, whole := range map[string]bool{"as a layer": false, "whole": true} {
		t.Run(name, func(t *testing.T) {
			mount, im := odd(t), &image{}
			first := im.snap(t, mount)
			again, err := im.snapshot(t.Context(), mount, whole, 0)
			want := Result{Outcome: Unchanged, Digest: first.Digest, Bytes: first.Bytes, Files: first.Files}
			if diff := gocmp.Diff(want, again); diff != "" || err != nil {
				t.Errorf("the second snapshot (-want +got):\n%s%v", diff, err)
			}
		})
	}
}

// TestFilesThatStayAreNotRead makes a file unreadable in a way that leaves its inode as it is: what was mounted over it hides another content.
func TestFilesThatStayAreNotRead(t *testing.T) {
	mount, im := t.TempDir(), &image{}
	path := filepath.Join(mount, "f")
	if err := os.WriteFile(path, []byte("1"), 0o644); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2 * clockStep) // a stamp that is younger tells nothing
	im.snap(t, mount)
	ix, stamps, err := readIndexLayer(bytes.NewReader(im.index))
	if err != nil {
		t.Fatal(err)
	}
	ix[1].Sum = "never read" // what a snapshot only knows from here
	encoded, err := ix.encode()
	if err != nil {
		t.Fatal(err)
	}
	var out blob
	if _, err := writeIndexLayer(&out, encoded, stamps); err != nil {
		t.Fatal(err)
	}
	im.index = out.Bytes()
	if res := im.snap(t, mount); res.Outcome != Unchanged {
		t.Errorf("the snapshot is %+v, want the file not to be read", res)
	}
	if err := os.Chmod(path, 0o644); err != nil { // changes the inode and nothing of the file
		t.Fatal(err)
	}
	if res := im.snap(t, mount); res.Outcome != Copied || res.Written != 1 {
		t.Errorf("the snapshot is %+v, want the file to be read", res)
	}
}

// TestChangesAreFollowed changes a tree at random, again and again; the image must always make the same tree, and look like it to others.
func TestChangesAreFollowed(t *testing.T) {
	names := []string{"a", "b", "a/x", "a/y", "b/x", "c"}
	rapid.Check(t, func(rt *rapid.T) {
		base, im := t.TempDir(), &image{}
		mount := filepath.Join(base, "m")
		if err := os.Mkdir(mount, 0o755); err != nil {
			rt.Fatal(err)
		}
		for round := range rapid.IntRange(1, 4).Draw(rt, "rounds") {
			for range rapid.IntRange(1, 5).Draw(rt, "changes") {
				change(rt, mount, rapid.SampledFrom(names).Draw(rt, "name"))
			}
			if _, err := im.snapshot(context.Background(), mount, rapid.Bool().Draw(rt, "whole"), 0); err != nil {
				rt.Fatal(err)
			}
			if names, _ := os.ReadDir(mount); len(names) == 0 {
				continue // nothing to snapshot
			}
			other := filepath.Join(base, fmt.Sprint(round))
			if err := os.Mkdir(other, 0o755); err != nil {
				rt.Fatal(err)
			}
			if _, err := im.prime(context.Background(), other); err != nil {
				rt.Fatal(err)
			}
			want := listing(t, mount)
			if diff := gocmp.Diff(want, listing(t, other)); diff != "" {
				rt.Fatalf("round %d (-mount +primed):\n%s", round, diff)
			}
			if diff := gocmp.Diff(seenByOthers(want), im.unpacked(rt)); diff != "" {
				rt.Fatalf("round %d (-mount +image):\n%s", round, diff)
			}
		}
	})
}

// seenByOthers is the part of a tree that layers hold: what there is at each path.
func seenByOthers(ix index) map[string]string {
	out := map[string]string{}
	for _, e := range ix {
		if e.inImage() && e.Path != "." {
			out[e.Path] = fmt.Sprintf("%s %o %s", e.Kind, e.Mode, e.Link+e.Sum)
		}
	}
	return out
}

// unpacked is that part as the specification of images makes it out of layers.
func (im *image) unpacked(rt *rapid.T) map[string]string {
	out := map[string]string{}
	remove := func(path string, itself bool) {
		for other := range out {
			if itself && other == path || strings.HasPrefix(other, path+"/") {
				delete(out, other)
			}
		}
	}
	for _, content := range im.content {
		layer, done, err := readLayer(bytes.NewReader(content))
		if err != nil {
			rt.Fatal(err)
		}
		for {
			h, err := layer.Next()
			if err == io.EOF {
				break
			}
			if err != nil {
				rt.Fatal(err)
			}
			path, base := strings.TrimSuffix(h.Name, "/"), filepath.Base(h.Name)
			if gone, ok := strings.CutPrefix(base, whiteout); ok {
				remove(filepath.Join(filepath.Dir(path), gone), true)
				continue
			}
			e := entry{Path: path, Mode: uint32(h.Mode), Link: h.Linkname}
			switch h.Typeflag {
			case tar.TypeDir:
				e.Kind = dir
			case tar.TypeSymlink:
				e.Kind, e.Mode = symlink, 0
			default:
				e.Kind = file
				text, err := io.ReadAll(layer)
				if err != nil {
					rt.Fatal(err)
				}
				e.Sum = fmt.Sprintf("%x", sha256.Sum256(text))
			}
			if e.Kind != dir {
				remove(path, false)
			}
			out[path] = seenByOthers(index{e})[path]
		}
		done()
	}
	return out
}

// change does one thing to a name; what can't be done is left.
func change(rt *rapid.T, root, name string) {
	path := filepath.Join(root, name)
	switch rapid.SampledFrom([]string{"write", "remove", "mkdir", "symlink", "link", "chmod", "touch"}).Draw(rt, "change") {
	case "write":
		os.WriteFile(path, []byte(rapid.StringN(0, 3, 3).Draw(rt, "text")), 0o644) //nolint:errcheck // see above
	case "remove":
		os.RemoveAll(path)
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
	mount, im := t.TempDir(), &image{}
	random := rand.NewChaCha8([32]byte{1})
	for i := range 200 {
		data := make([]byte, 1000)
		random.Read(data) //nolint:errcheck // never fails
		if err := os.WriteFile(filepath.Join(mount, fmt.Sprint(i)), data, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	im.snap(t, mount)
	same := bytes.Repeat([]byte{1}, 1000) // of the same size and the same time: only the bytes tell
	path := filepath.Join(mount, "7")
	info, err := os.Stat(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(os.WriteFile(path, same, 0o644), os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if res := im.snap(t, mount); res.Written != 1000 || res.Outcome != Copied {
		t.Errorf("the second snapshot is %+v, want one file of 1000 bytes written", res)
	}
}

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
	change := errors.Join(os.WriteFile(filepath.Join(mount, "new"), []byte("new"), 0o644), os.Remove(filepath.Join(mount, "run")),
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
			if err := errors.Join(os.Mkdir(copied, 0o755), os.Rename(filepath.Join(mount, "run"), filepath.Join(copied, "run"))); err != nil {
				t.Fatal(err)
			}
		}},
		"before the old content left": {func(t *testing.T, im *image, mount string) {
			im.fill(t, mount)
			names, err := os.ReadDir(mount)
			err = errors.Join(err, os.Mkdir(in(mount, copiedName), 0o755), os.Mkdir(in(mount, leavingName), 0o755), os.WriteFile(in(mount, "old"), nil, 0o644))
			for _, n := range names {
				err = errors.Join(err, os.Rename(in(mount, n.Name()), in(mount, filepath.Join(copiedName, n.Name()))))
			}
			if err = errors.Join(err, os.WriteFile(in(mount, "run"), []byte("old"), 0o644)); err != nil {
				t.Fatal(err)
			}
		}},
		"before the copy was whole, with the old content about to leave": {func(t *testing.T, _ *image, mount string) {
			if err := errors.Join(os.Mkdir(in(mount, copyingName), 0o755), os.Mkdir(in(mount, leavingName), 0o755)); err != nil {
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
		"a file that is missing":  {func(*testing.T, func()) Layers { return (&image{}).layers() }, "is in the index and in no layer"},
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

func TestASnapshotThatCantBePushedEnds(t *testing.T) {
	enough := errors.New("the registry is full")
	_, err := talk(t.Context(), &Step{Mode: ModeSnapshot, Mount: odd(t)}, func(p *Peer) (Result, error) {
		return p.Snapshot(nil, func(io.Reader) error { return enough })
	})
	if !errors.Is(err, enough) {
		t.Errorf("the error is %v, want %v", err, enough)
	}
}

func TestStrangersAreNotListenedTo(t *testing.T) {
	cases := map[string]string{
		"another token":  "h\x00\x00\x00\x05other",
		"a long token":   "h\x00\x0f\xff\xff",
		"something else": "GET / HTTP/1.1\r\n\r\n",
		"nothing":        "",
	}
	for name, says := range cases {
		t.Run(name, func(t *testing.T) {
			here, there := net.Pipe()
			go func() { io.WriteString(there, says); there.Close() }() //nolint:errcheck // the other end may be closed
			defer here.Close()
			if _, err := Accept(here, "token"); err == nil {
				t.Error("it was taken for the step")
			}
		})
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
		"a name that JSON can't hold":   {name: "\xff", text: "x", wantErr: `can't be held in an index`},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			mount, im := t.TempDir(), &image{}
			if tc.name != "" {
				if err := os.WriteFile(filepath.Join(mount, tc.name), []byte(tc.text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			res, err := im.snapshot(t.Context(), mount, false, tc.limit)
			switch {
			case tc.wantErr != "":
				if err == nil || !strings.Contains(err.Error(), tc.wantErr) {
					t.Errorf("the error is %v, want %q", err, tc.wantErr)
				}
			case err != nil || res.Outcome != tc.want:
				t.Errorf("the result is %+v (%v), want %s", res, err, tc.want)
			}
			if im.index != nil {
				t.Error("layers were written")
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
