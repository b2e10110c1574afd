// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"syscall"
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

// TestFilesThatStayAreNotRead makes a file unreadable in a way that leaves its inode as it is: what was mounted over
// it hides another content.
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

// TestChangesAreFollowed changes a tree at random, again and again; the image must always make the same tree, and
// look like it to others.
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

// change does one thing to a name; what can't be done is left.
func change(rt *rapid.T, root, name string) {
	path := filepath.Join(root, name)
	switch rapid.SampledFrom([]string{"write", "remove", "mkdir", "symlink", "link", "chmod", "touch"}).
		Draw(rt, "change") {
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
	if err := errors.Join(os.WriteFile(path, same, 0o644),
		os.Chtimes(path, info.ModTime(), info.ModTime())); err != nil {
		t.Fatal(err)
	}
	if res := im.snap(t, mount); res.Written != 1000 || res.Outcome != Copied {
		t.Errorf("the second snapshot is %+v, want one file of 1000 bytes written", res)
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
	}{
		"an empty mount":          {want: Empty},
		"a mount above the limit": {name: "f", text: "four", limit: 3, want: TooLarge},
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
			if err != nil || res.Outcome != tc.want {
				t.Errorf("the result is %+v (%v), want %s", res, err, tc.want)
			}
			if im.index != nil {
				t.Error("layers were written")
			}
		})
	}
}

// TestADroppedStepComesAgain drops the step's first connections, as the agent does when others crowd its socket.
func TestADroppedStepComesAgain(t *testing.T) {
	dials := 0
	s := &Step{Mode: ModeDigest, Mount: t.TempDir(), Token: "token"}
	talked := make(chan error, 1)
	err := s.Run(t.Context(), func(context.Context) (net.Conn, error) {
		here, there := net.Pipe()
		switch dials++; dials {
		case 1:
			return nil, &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.EAGAIN)}
		case 2:
			here.Close()
		case 3: // dropped when it has said whose it is
			go func() { Accept(here, "token"); here.Close() }() //nolint:errcheck // it is the step's
		default:
			go func() {
				p, err := Accept(here, "token")
				if err == nil {
					err = p.Welcome()
				}
				if err == nil {
					_, err = p.Digest()
				}
				talked <- err
			}()
		}
		return there, nil
	})
	if err != nil || dials != 4 {
		t.Fatalf("%d attempts, %v", dials, err)
	}
	if err := <-talked; err != nil {
		t.Error(err)
	}
}

// TestAStepWithoutAnAgentEnds has nobody listen.
func TestAStepWithoutAnAgentEnds(t *testing.T) {
	s := &Step{Mode: ModeDigest, Mount: t.TempDir(), Token: "token"}
	start := time.Now()
	err := s.Run(t.Context(), func(context.Context) (net.Conn, error) { return nil, syscall.ECONNREFUSED })
	if !errors.Is(err, syscall.ECONNREFUSED) || time.Since(start) > meetTimeout/2 {
		t.Errorf("it ended after %v with %v", time.Since(start), err)
	}
}
