// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"errors"
	"io"
	"os"
	"path/filepath"
)

// Survey finds the mounts in a folder that hold no name at all.
func Survey(folder string) (Result, error) {
	mounts, err := os.ReadDir(folder)
	if err != nil {
		return Result{}, err
	}
	res := Result{Outcome: Unchanged}
	for _, m := range mounts {
		f, err := os.Open(filepath.Join(folder, m.Name()))
		if err != nil {
			return Result{}, err
		}
		_, err = f.Readdirnames(1)
		if errors.Is(err, io.EOF) {
			res.EmptyMounts = append(res.EmptyMounts, m.Name())
			err = nil
		}
		if err = errors.Join(err, f.Close()); err != nil {
			return Result{}, err
		}
	}
	return res, nil
}
