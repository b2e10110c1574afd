// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/sizing"
)

// mountSizing keeps, on the volume, what the builds' uses of cache mounts say about its size. It is safe for
// concurrent use.
type mountSizing struct {
	path string

	mu      sync.Mutex
	sampler *sizing.Sampler
}

// openSizing goes on from the file at path, or begins anew when there is none or it can't be read; lost then says why.
func openSizing(path string) (s *mountSizing, lost error) {
	s = &mountSizing{path: path, sampler: sizing.NewSampler()}
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = s.sampler.UnmarshalBinary(data)
	}
	return s, err
}

// note counts a build's uses of mounts, with what they take after it. On an error they count in memory only.
func (s *mountSizing) note(ids []string, bytes map[string]int64, now time.Time) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.sampler.Access(id, bytes[id], now)
	}
	data, err := s.sampler.MarshalBinary()
	if err == nil {
		err = replaceFile(s.path, data)
	}
	return err
}

// report sums up for a status, where mounts may take budgetBytes; nil when there is nothing to say.
func (s *mountSizing) report(budgetBytes int64, now time.Time) *v1alpha1.DaemonSizing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sizing.Report(s.sampler.Curve(now), budgetBytes)
}

// replaceFile writes a file so that a crash leaves the old one or the new one, whole.
func replaceFile(path string, data []byte) error {
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), err)
	}
	_, err = f.Write(data)
	if err = errors.Join(err, f.Sync(), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		return fmt.Errorf("write %s: %w", filepath.Base(path), errors.Join(err, os.Remove(f.Name())))
	}
	return nil
}
