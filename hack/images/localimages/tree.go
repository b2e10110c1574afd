// SPDX-License-Identifier: Apache-2.0

package localimages

import (
	"archive/tar"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// tree is the content of one layer: paths in the image (no leading slash) and what stands there.
type tree map[string]entry

// entry is one file of a tree: exactly one of from, text, link and dir is set.
type entry struct {
	from string      // a regular file of this machine to copy
	text string      // a regular file's content
	link string      // a symlink's target
	dir  bool        // a folder
	mode fs.FileMode // permission bits, sticky bit included; 0 takes those of from
	uid  int         // owner and group
}

// addFile copies a file of this machine to the same path, following symlinks and keeping each as a link.
func (t tree) addFile(file string) error {
	for range 16 {
		info, err := os.Lstat(file)
		if err != nil {
			return err
		}
		inside := strings.TrimPrefix(file, "/")
		if info.Mode()&fs.ModeSymlink == 0 {
			t[inside] = entry{from: file}
			return nil
		}
		target, err := os.Readlink(file)
		if err != nil {
			return err
		}
		t[inside] = entry{link: target}
		if !filepath.IsAbs(target) {
			target = filepath.Join(filepath.Dir(file), target)
		}
		file = target
	}
	return fmt.Errorf("too many symlinks at %s", file)
}

// addFolder copies a folder of this machine to the path "to", leaving out paths that skip returns true for, by their
// slash-separated path in the folder.
func (t tree) addFolder(folder, to string, skip func(string, fs.DirEntry) bool) error {
	return filepath.WalkDir(folder, func(file string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		inside, err := filepath.Rel(folder, file)
		if err != nil {
			return err
		}
		if inside != "." && skip(inside, e) {
			if e.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		switch target := path.Join(to, inside); {
		case e.Type().IsRegular():
			t[target] = entry{from: file}
		case e.Type()&fs.ModeSymlink != 0:
			link, err := os.Readlink(file)
			t[target] = entry{link: link}
			return err
		}
		return nil
	})
}

// key is a digest of everything that decides the layer's content. Files count by path, size, mode and time of change,
// so that it costs a stat a file.
func (t tree) key() (string, error) {
	sum := sha256.New()
	for _, name := range t.names() {
		e := t[name]
		fmt.Fprintf(sum, "%s\x00%s\x00%s\x00%v\x00%o\x00%d\x00", name, e.text, e.link, e.dir, e.mode, e.uid)
		if e.from != "" {
			info, err := os.Stat(e.from)
			if err != nil {
				return "", err
			}
			fmt.Fprintf(sum, "%s\x00%d\x00%o\x00%d\x00", e.from, info.Size(), info.Mode(), info.ModTime().UnixNano())
		}
	}
	return hex.EncodeToString(sum.Sum(nil))[:24], nil
}

// names are the tree's paths in order.
func (t tree) names() []string {
	names := make([]string, 0, len(t))
	for n := range t {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// write writes the tree as a tar archive in which all times are zero and parents come before their children, so that
// equal content gives equal bytes.
func (t tree) write(w io.Writer) error {
	out := tar.NewWriter(w)
	made := map[string]bool{".": true}
	for _, name := range t.names() {
		if err := t.writeParents(out, path.Dir(name), made); err != nil {
			return err
		}
		if made[name] {
			continue
		}
		if err := writeEntry(out, name, t[name]); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		made[name] = true
	}
	return out.Close()
}

func (t tree) writeParents(out *tar.Writer, dir string, made map[string]bool) error {
	if made[dir] {
		return nil
	}
	if err := t.writeParents(out, path.Dir(dir), made); err != nil {
		return err
	}
	made[dir] = true
	e, given := t[dir]
	if !given {
		e = entry{dir: true, mode: 0o755}
	}
	return writeEntry(out, dir, e)
}

func writeEntry(out *tar.Writer, name string, e entry) error {
	header := &tar.Header{Name: name, Uid: e.uid, Gid: e.uid, Mode: tarMode(e.mode), Format: tar.FormatPAX}
	switch {
	case e.dir:
		header.Typeflag, header.Name = tar.TypeDir, name+"/"
		return out.WriteHeader(header)
	case e.link != "":
		header.Typeflag, header.Linkname, header.Mode = tar.TypeSymlink, e.link, 0o777
		return out.WriteHeader(header)
	case e.from == "":
		header.Size = int64(len(e.text))
		if err := out.WriteHeader(header); err != nil {
			return err
		}
		_, err := io.WriteString(out, e.text)
		return err
	}
	file, err := os.Open(e.from)
	if err != nil {
		return err
	}
	defer file.Close()
	info, err := file.Stat()
	if err != nil {
		return err
	}
	if e.mode == 0 {
		header.Mode = int64(info.Mode().Perm())
	}
	header.Size = info.Size()
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(out, file)
	return err
}

// tarMode turns Go's mode into Unix bits.
func tarMode(mode fs.FileMode) int64 {
	bits := int64(mode.Perm())
	if mode&fs.ModeSticky != 0 {
		bits |= 0o1000
	}
	return bits
}
