// SPDX-License-Identifier: Apache-2.0

package module

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"

	"github.com/opencontainers/go-digest"
)

// VendorChanges are the files that WriteVendor changed, sorted.
type VendorChanges struct {
	Written, Removed []string
}

// WriteVendor writes files, by their paths, into the vendor directory dir, with their checksums. Others stay, unless
// only is set; then everything else is removed from dir. The directory appears when there is something to write.
func WriteVendor(dir string, files map[string][]byte, only bool) (VendorChanges, error) {
	var changes VendorChanges
	lock := Lock{}
	if !only {
		var err error
		if lock, err = lockOf(dir); err != nil {
			return changes, err
		}
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		if !fs.ValidPath(name) || name == LockFile {
			return changes, fmt.Errorf("%q can't be the path of a vendored module", name)
		}
		lock[name] = digest.FromBytes(files[name])
		wrote, err := writeChanged(filepath.Join(dir, filepath.FromSlash(name)), files[name])
		if err != nil {
			return changes, err
		}
		if wrote {
			changes.Written = append(changes.Written, name)
		}
	}
	if only {
		var err error
		if changes.Removed, err = removeOthers(dir, files); err != nil {
			return changes, err
		}
	}
	if len(lock) == 0 {
		return changes, removeEmpty(dir)
	}
	_, err := writeChanged(filepath.Join(dir, LockFile), lock.Bytes())
	return changes, err
}

// lockOf reads the lock of a vendor directory. One without, which another implementation made, has the files that are
// there: they are taken as they are.
func lockOf(dir string) (Lock, error) {
	text, err := os.ReadFile(filepath.Join(dir, LockFile))
	if err == nil {
		return ParseLock(text)
	}
	if !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	lock := Lock{}
	err = walkFiles(dir, func(name string) error {
		text, err := os.ReadFile(filepath.Join(dir, filepath.FromSlash(name)))
		lock[name] = digest.FromBytes(text)
		return err
	})
	return lock, err
}

// walkFiles calls visit with the path of every file of dir, but the LockFile. A dir that doesn't exist has none.
func walkFiles(dir string, visit func(name string) error) error {
	err := fs.WalkDir(os.DirFS(dir), ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() || name == LockFile {
			return err
		}
		return visit(name)
	})
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}

// writeChanged writes a file with its directories, unless it has this text. A reader sees the old file or the new one.
func writeChanged(file string, text []byte) (bool, error) {
	if old, err := os.ReadFile(file); err == nil && bytes.Equal(old, text) {
		return false, nil
	}
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		return false, err
	}
	tmp, err := os.CreateTemp(filepath.Dir(file), ".new-*")
	if err != nil {
		return false, err
	}
	_, err = tmp.Write(text)
	err = errors.Join(err, tmp.Chmod(0o644), tmp.Close())
	if err == nil {
		err = os.Rename(tmp.Name(), file)
	}
	if err != nil {
		return false, errors.Join(err, os.Remove(tmp.Name()))
	}
	return true, nil
}

// removeOthers removes the files of dir that are not among files, and the directories that are then empty.
func removeOthers(dir string, files map[string][]byte) (removed []string, err error) {
	err = walkFiles(dir, func(name string) error {
		if _, keep := files[name]; !keep {
			removed = append(removed, name)
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	for _, name := range removed {
		if err := os.Remove(filepath.Join(dir, filepath.FromSlash(name))); err != nil {
			return nil, err
		}
		for parent := path.Dir(name); parent != "."; parent = path.Dir(parent) {
			if err := removeEmpty(filepath.Join(dir, filepath.FromSlash(parent))); err != nil {
				return nil, err
			}
		}
	}
	return removed, nil
}

// removeEmpty removes a directory if there is nothing in it but a LockFile.
func removeEmpty(dir string) error {
	entries, err := os.ReadDir(dir)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case len(entries) == 1 && entries[0].Name() == LockFile:
		return errors.Join(os.Remove(filepath.Join(dir, LockFile)), os.Remove(dir))
	case len(entries) == 0:
		return os.Remove(dir)
	}
	return nil
}
