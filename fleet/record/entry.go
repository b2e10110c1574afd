// SPDX-License-Identifier: Apache-2.0

// Package record writes down what fleet.States observe and decide, and replays it.
//
// A recording is a directory of files, each of them gzipped lines of JSON, an Entry a line. In each file the first
// cycle of every BuildCache is a keyframe: it has what was learned so far and observes everything. So a recording can
// be replayed from any file on, and the oldest files can go.
package record

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/fleet"
	"github.com/openllb/hlb-operator/scheduler"
)

// Entry is one line of a recording: a Cycle, what was Written after it, or a Digest.
type Entry struct {
	// Fleet is the BuildCache.
	Fleet   types.NamespacedName `json:"fleet"`
	Cycle   *Cycle               `json:"cycle,omitempty"`
	Written *fleet.Written       `json:"written,omitempty"`
	// Digest is that of what the State has learned so far.
	Digest string `json:"digest,omitempty"`
}

// Cycle is one call of State.Cycle.
type Cycle struct {
	// Learned is what the State had learned before a keyframe; nil for other cycles.
	Learned json.RawMessage `json:"learned,omitempty"`
	// Gap is set if entries are missing before the keyframe, or were written by another State.
	Gap bool `json:"gap,omitempty"`
	// Observation has no Cache where that is as it was in the cycle before.
	Observation fleet.Observation `json:"observation"`
	// Writes is an Outcome.
	Writes json.RawMessage `json:"writes,omitempty"`
	Error  string          `json:"error,omitempty"`
}

// Outcome is what a cycle decided.
type Outcome struct {
	Builds   []BuildOutcome    `json:"builds,omitempty"`
	Prefetch []PrefetchOutcome `json:"prefetch,omitempty"`
	Queued   int               `json:"queued,omitempty"`
	Recheck  time.Duration     `json:"recheck,omitempty"`
}

// BuildOutcome is the decision about one build.
type BuildOutcome struct {
	Build    types.NamespacedName `json:"build"`
	Decision scheduler.Decision   `json:"decision"`
}

// PrefetchOutcome is a daemon's new list of requests.
type PrefetchOutcome struct {
	Daemon   string                     `json:"daemon"`
	Requests []v1alpha1.PrefetchRequest `json:"requests"`
}

// outcomeOf writes down what a cycle decided.
func outcomeOf(w *fleet.Writes) (json.RawMessage, error) {
	out := Outcome{Queued: w.Queued, Recheck: w.Recheck}
	for i := range w.Builds {
		b := w.Builds[i].Build
		name := types.NamespacedName{Namespace: b.Namespace, Name: b.Name}
		out.Builds = append(out.Builds, BuildOutcome{name, w.Builds[i].Decision})
	}
	for i := range w.Prefetch {
		out.Prefetch = append(out.Prefetch, PrefetchOutcome{w.Prefetch[i].Daemon.Name, w.Prefetch[i].Requests})
	}
	return json.Marshal(out)
}

// Digest is a short name for what a State has learned.
func Digest(s *fleet.State) (string, error) {
	learned, err := s.Save()
	if err != nil {
		return "", err
	}
	sum := sha256.Sum256(learned)
	return hex.EncodeToString(sum[:]), nil
}
