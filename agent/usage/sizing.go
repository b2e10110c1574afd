// SPDX-License-Identifier: Apache-2.0

package usage

import (
	"errors"
	"io/fs"
	"sync"
	"time"

	"github.com/go-logr/logr"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/sizing"
	"github.com/openllb/hlb-operator/internal/statefile"
)

// sizingLimit bounds the file of a Sizing, in bytes; a sampler's own bounds keep it near 1 MiB.
const sizingLimit = 16 << 20

// Sizing samples, on the volume, how builds use cache mounts, for advice on the volume's size. It is safe for
// concurrent use. Samples that can't be written hold in memory, are logged, and are written with the next one.
type Sizing struct {
	file *statefile.File
	log  logr.Logger

	mu      sync.Mutex
	sampler *sizing.Sampler
}

// OpenSizing continues the samples at path, or begins anew when there are none or they can't be read; lost is then the
// reason, and nil otherwise.
func OpenSizing(path string, log logr.Logger) (s *Sizing, lost error) {
	s = &Sizing{file: statefile.New(path, sizingLimit), log: log, sampler: sizing.NewSampler()}
	data, err := s.file.Load()
	if errors.Is(err, fs.ErrNotExist) {
		return s, nil
	}
	if err == nil {
		err = s.sampler.UnmarshalBinary(data)
	}
	return s, err
}

// Record records a build's uses of mounts, with the bytes that each takes after the build.
func (s *Sizing) Record(ids []string, bytes map[string]int64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.sampler.Access(id, bytes[id], now)
	}
	data, err := s.sampler.MarshalBinary()
	if err == nil {
		err = s.file.Save(data)
	}
	if err != nil {
		s.log.Error(err, "Failed to write the samples of mount usage")
	}
}

// Report returns the status for a volume whose mounts may take budgetBytes, nil when there is nothing to report.
func (s *Sizing) Report(budgetBytes int64, now time.Time) *v1alpha1.DaemonSizing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sizing.Report(s.sampler.Curve(now), budgetBytes)
}
