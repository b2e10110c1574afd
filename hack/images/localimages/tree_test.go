// SPDX-License-Identifier: Apache-2.0

package localimages

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	v1 "github.com/google/go-containerregistry/pkg/v1"
)

func TestTreeIsWrittenInOrderWithItsParents(t *testing.T) {
	file := filepath.Join(t.TempDir(), "program")
	if err := os.WriteFile(file, []byte("abc"), 0o755); err != nil {
		t.Fatal(err)
	}
	content := tree{
		"usr/bin/p": {from: file},
		"bin":       {link: "usr/bin"},
		"tmp":       {dir: true, mode: 0o777 | fs.ModeSticky},
		"etc/x":     {text: "hello", mode: 0o600, uid: 7},
	}
	var b bytes.Buffer
	if err := content.write(&b); err != nil {
		t.Fatal(err)
	}
	var got []string
	for r := tar.NewReader(&b); ; {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		got = append(got, fmt.Sprintf("%s %s %o %d %d", h.Name, h.Linkname, h.Mode, h.Uid, h.Size))
	}
	want := []string{"bin usr/bin 777 0 0", "etc/  755 0 0", "etc/x  600 7 5", "tmp/  1777 0 0", "usr/  755 0 0",
		"usr/bin/  755 0 0", "usr/bin/p  755 0 3"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("entries (-want +got):\n%s", diff)
	}
}

func TestEqualContentGivesEqualImages(t *testing.T) {
	build := func(text string) v1.Hash {
		t.Helper()
		b := &Builder{dir: t.TempDir()}
		content := tree{"f": {text: text, mode: 0o644}}
		var digests [2]v1.Hash
		for i := range digests { // the second time from the kept layer
			image, err := b.image(v1.Config{Cmd: []string{"/f"}}, content)
			if err != nil {
				t.Fatal(err)
			}
			if digests[i], err = image.Digest(); err != nil {
				t.Fatal(err)
			}
		}
		if digests[0] != digests[1] {
			t.Errorf("%q: digest %s, from the kept layer %s", text, digests[0], digests[1])
		}
		return digests[0]
	}
	one, again, other := build("x"), build("x"), build("y")
	if one != again || one == other {
		t.Errorf("digests are %s, %s for the same content, %s for another", one, again, other)
	}
}
