// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"io"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
)

// indexSeeds are indices, good ones and those that lead out of the mount.
var indexSeeds = []string{
	`{"path":".","kind":"dir","mode":493,"modified":1}
{"path":"a","kind":"dir","mode":493}
{"path":"a/f","kind":"file","mode":420,"size":3,"sum":"ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"}
{"path":"a/g","kind":"hardlink","link":"a/f"}
{"path":"b","kind":"symlink","link":"a/f"}
{"path":"c","kind":"fifo","mode":420}
{"path":"d","kind":"char","device":259,"xattrs":{"user.x":"eA=="}}`,
	`{"path":".","kind":"dir"}{"path":"x","kind":"symlink","link":"/"}{"path":"x/y","kind":"symlink","link":"z"}`,
	`{"path":".","kind":"dir"}{"path":"x","kind":"symlink","link":"../.."}{"path":"h","kind":"hardlink","link":"x/kept"}`,
	`{"path":".","kind":"dir"}{"path":"x/../../y","kind":"dir"}`,
	`{"path":"..","kind":"dir"}`,
	`{"path":".","kind":"dir"}{"path":".hlb-mount-copied","kind":"dir"}`,
	`{"path":".","kind":"dir"}{"path":"f","kind":"file","size":-1}`,
	`{"path":`, "", "null", "[]",
}

// FuzzIndex: whatever a registry gives as an index is an error, or a tree whose entries lie in each other.
func FuzzIndex(f *testing.F) {
	for _, seed := range indexSeeds {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		ix, err := decode(bytes.NewReader(text))
		if err != nil {
			return
		}
		kinds := map[string]kind{}
		for i := range ix {
			e := &ix[i]
			if !filepath.IsLocal(e.Path) || i > 0 && kinds[path.Dir(e.Path)] != dir || kinds[e.Path] != "" {
				t.Fatalf("entry %d, %q, is no part of a tree", i, e.Path)
			}
			kinds[e.Path] = e.Kind
		}
		encoded, err := ix.encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := decode(bytes.NewReader(encoded))
		if err != nil {
			t.Fatalf("what was written can't be read: %v\n%s", err, encoded)
		}
		if twice, _ := again.encode(); !bytes.Equal(encoded, twice) {
			t.Errorf("written twice, the index differs:\n%s\n%s", encoded, twice)
		}
	})
}

// FuzzIndexLayer: whatever bytes a registry gives as an index layer are an error or an index with a stamp for each
// entry.
func FuzzIndexLayer(f *testing.F) {
	for _, seed := range indexSeeds {
		var out blob
		if _, err := writeIndexLayer(&out, []byte(seed), []stamp{{Changed: 1, Inode: 2}}); err != nil {
			f.Fatal(err)
		}
		f.Add(out.Bytes())
	}
	f.Add([]byte("\x28\xb5\x2f\xfd\x04\xf8")) // the head of a frame with a window of 2 GiB
	f.Fuzz(func(t *testing.T, layer []byte) {
		ix, stamps, err := readIndexLayer(bytes.NewReader(layer))
		if err == nil && (len(ix) == 0 || len(ix) != len(stamps)) {
			t.Errorf("%d entries with %d stamps", len(ix), len(stamps))
		}
	})
}

// FuzzPrime: whatever a registry gives as a snapshot, nothing is read, made or changed outside of the mount, and on an
// error the mount holds what it held.
func FuzzPrime(f *testing.F) {
	pack, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	layer := tarOf(f, map[string]string{"a/f": "abc", "x/y": "1", "../kept": "2", "/etc/fuzz": "3"})
	for _, seed := range indexSeeds {
		f.Add([]byte(seed), layer, false)
		f.Add([]byte(seed), layer, true)
	}
	f.Fuzz(func(t *testing.T, ixText, layer []byte, replace bool) {
		if !staysNear(ixText) {
			return
		}
		base := t.TempDir()
		mount := filepath.Join(base, "1", "2", "3", "4", "5", "6", "mount")
		err := errors.Join(os.MkdirAll(mount, 0o755), os.WriteFile(filepath.Join(base, "kept"), []byte("kept"), 0o600),
			os.WriteFile(filepath.Join(filepath.Dir(mount), "kept"), []byte("kept"), 0o600))
		if replace {
			err = errors.Join(err, os.WriteFile(filepath.Join(mount, "old"), []byte("old"), 0o600))
		}
		if err != nil {
			t.Fatal(err)
		}
		outside, inside := around(t, base, mount), listing(t, mount)
		ixText = bytes.ReplaceAll(ixText, []byte(`"link":"/`), []byte(`"link":"`+base+`/`))
		ixLayer := pack.EncodeAll(tarOf(t, map[string]string{indexName: string(ixText)}), nil)
		im := &image{content: [][]byte{pack.EncodeAll(layer, nil)}}
		tree, err := ReadTree(bytes.NewReader(ixLayer))
		if err == nil {
			_, err = Prime(context.Background(), mount, tree, im.layers(), replace)
		}
		if diff := gocmp.Diff(outside, around(t, base, mount)); diff != "" {
			t.Errorf("priming (%v) changed what lies outside of the mount (-had +got):\n%s", err, diff)
		}
		if err == nil {
			return
		}
		after := listing(t, mount)
		inside[0].Modified = after[0].Modified // of the mount's own directory
		if diff := gocmp.Diff(inside, after); diff != "" {
			t.Errorf("priming failed (%v) and changed the mount (-had +got):\n%s", err, diff)
		}
	})
}

// staysNear reports whether an index can be tried on a machine that is needed afterwards: what leads out of the mount
// must stay in the test's own folder, and take little room.
func staysNear(ixText []byte) bool {
	text := string(ixText)
	return strings.Count(text, "..") <= 5 && !strings.Contains(text, `\`) && len(text) < 1<<14 &&
		!strings.Contains(strings.ReplaceAll(text, `"link":"/`, ""), `"/`)
}

// around is all that lies in base but the mount, with the times of directories left out: making the mount's content may
// read through them.
func around(t *testing.T, base, mount string) index {
	t.Helper()
	skip, err := filepath.Rel(base, mount)
	if err != nil {
		t.Fatal(err)
	}
	var out index
	for _, e := range listing(t, base) {
		if e.Path != skip && !strings.HasPrefix(e.Path, skip+"/") {
			out = append(out, e)
		}
	}
	return out
}

func tarOf(t testing.TB, files map[string]string) []byte {
	t.Helper()
	var out bytes.Buffer
	w := tar.NewWriter(&out)
	for name, text := range files {
		err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(text)), Typeflag: tar.TypeReg})
		if _, writeErr := io.WriteString(w, text); err != nil || writeErr != nil {
			t.Fatal(err, writeErr)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// FuzzMessages: whatever the other end of the connection says, the agent's half ends with a result or an error.
func FuzzMessages(f *testing.F) {
	for _, m := range []message{hello, data, end, ready, result, failed} {
		var out bytes.Buffer
		if err := (&link{conn: &out}).send(m, []byte(`{"outcome":"Copied"}`)); err != nil {
			f.Fatal(err)
		}
		f.Add(out.Bytes())
	}
	f.Add([]byte("d\xff\xff\xff\xff"))
	f.Fuzz(func(t *testing.T, said []byte) {
		l := &link{conn: struct {
			io.Reader
			io.Writer
		}{bytes.NewReader(said), io.Discard}}
		n, err := io.Copy(io.Discard, &streamReader{l: l})
		if n > int64(len(said)) {
			t.Errorf("%d bytes of a conversation of %d (%v)", n, len(said), err)
		}
	})
}
