// SPDX-License-Identifier: Apache-2.0

package placement

import (
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/fleet"
	"github.com/openllb/hlb-operator/fleet/record"
)

// digestInterval is how often the recording gets a digest of what was learned: making one takes tens of milliseconds
// for a large fleet.
const digestInterval = 10 * time.Minute

// keyframe returns what was learned if the recording needs a keyframe now, nil otherwise. The next observation is full
// then.
func (r *Reconciler) keyframe(name types.NamespacedName, l *loop) ([]byte, error) {
	if r.Recorder == nil || !r.Recorder.NeedsKeyframe(name) {
		return nil, nil
	}
	l.complete = false
	return l.state.Save()
}

func (r *Reconciler) recordCycle(
	name types.NamespacedName,
	learned []byte,
	obs fleet.Observation,
	writes fleet.Writes,
	err error,
) {
	if r.Recorder != nil {
		r.Recorder.Cycle(name, learned, obs, writes, err)
	}
}

// recordWritten records what was written, and once in a while the digest of what was learned.
func (r *Reconciler) recordWritten(name types.NamespacedName, l *loop, written fleet.Written) error {
	if r.Recorder == nil {
		return nil
	}
	r.Recorder.Written(name, written)
	if written.At.Before(l.digestAt) {
		return nil
	}
	l.digestAt = written.At.Add(digestInterval)
	digest, err := record.Digest(l.state)
	if err != nil {
		return err
	}
	r.Recorder.Digest(name, digest)
	return nil
}
