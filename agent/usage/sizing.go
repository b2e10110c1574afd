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
	// pending are uses in their order that wait for the first one's size. They are kept in memory only.
	pending []mountUse
}

// mountUse is a build's use of a mount. Bytes are 0 while they are not known, as during a mount's first use.
type mountUse struct {
	id    string
	bytes int64
	at    time.Time
}

// maxPending bounds the uses that wait, pendingFor how long each does: a mount may take nothing.
const (
	maxPending = 4096
	pendingFor = time.Hour
)

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

// Record records a build's uses of mounts. held are the bytes of each mount that the daemon holds after the build, 0
// where they are not known yet: such a use counts once a later build has them, and not if the mount is gone by then.
func (s *Sizing) Record(ids []string, held map[string]int64, now time.Time) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, id := range ids {
		s.pending = append(s.pending, mountUse{id, held[id], now})
	}
	s.settle(held, now)
	data, err := s.sampler.MarshalBinary()
	if err == nil {
		err = s.file.Save(data)
	}
	if err != nil {
		s.log.Error(err, "Failed to write the samples of mount usage")
	}
}

// settle samples the uses whose sizes are known, as far as those before them are. s.mu is held.
func (s *Sizing) settle(held map[string]int64, now time.Time) {
	for i := range s.pending {
		if s.pending[i].bytes == 0 {
			s.pending[i].bytes = held[s.pending[i].id]
		}
	}
	for len(s.pending) > 0 {
		use := s.pending[0]
		_, isHeld := held[use.id]
		if use.bytes == 0 && isHeld && len(s.pending) <= maxPending && now.Sub(use.at) <= pendingFor {
			return
		}
		s.sampler.Access(use.id, use.bytes, use.at) // which ignores uses without bytes
		s.pending = s.pending[1:]
	}
}

// Report returns the status for a volume whose mounts may take budgetBytes, nil when there is nothing to report.
func (s *Sizing) Report(budgetBytes int64, now time.Time) *v1alpha1.DaemonSizing {
	s.mu.Lock()
	defer s.mu.Unlock()
	return sizing.Report(s.sampler.Curve(now), budgetBytes)
}
