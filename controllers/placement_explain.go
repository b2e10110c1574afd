// SPDX-License-Identifier: Apache-2.0

package controllers

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/scheduler"
)

// ExplainPath is where the manager serves recent rounds of placement, and below it each round by number.
const ExplainPath = "/debug/placements"

// Bounds of what is kept: a round of a hundred daemons and a hundred builds takes about 100 kB.
const (
	keptRounds     = 256
	keptRoundBytes = 32 << 20
)

// Explanations are the latest rounds of placement with all they were decided from, for people who ask why. The oldest go when there are too many
// or they grow too large. It is safe for concurrent use.
type Explanations struct {
	mu     sync.Mutex
	next   int64
	bytes  int
	rounds []explained // oldest first
}

// explained is one round that was kept.
type explained struct {
	Round  int64            `json:"round"`
	Time   time.Time        `json:"time"`
	Cache  string           `json:"cache"` // namespace/name
	Builds []explainedBuild `json:"builds"`

	record []byte // a scheduler.Record as JSON
}

// explainedBuild is one build's decision in short.
type explainedBuild struct {
	Name     string `json:"name"`
	Action   string `json:"action"`
	Daemon   string `json:"daemon,omitempty"`
	Decision string `json:"decision"`
}

// add keeps a round. names are those of the record's queue.
func (e *Explanations) add(cache types.NamespacedName, now time.Time, names []string, record *scheduler.Record) error {
	var data bytes.Buffer
	if err := record.Write(&data); err != nil {
		return err
	}
	r := explained{Time: now, Cache: cache.String(), record: data.Bytes()}
	for i := range record.Decisions {
		d := &record.Decisions[i]
		r.Builds = append(r.Builds, explainedBuild{Name: names[i], Action: d.Action.String(), Daemon: d.Chosen.Name, Decision: d.String()})
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.next++
	r.Round = e.next
	e.rounds = append(e.rounds, r)
	e.bytes += len(r.record)
	drop := 0
	for drop < len(e.rounds) && (len(e.rounds)-drop > keptRounds || e.bytes > keptRoundBytes) {
		e.bytes -= len(e.rounds[drop].record)
		drop++
	}
	e.rounds = append([]explained(nil), e.rounds[drop:]...)
	return nil
}

// ServeHTTP lists the rounds, newest first, those of ?cache=NAMESPACE/NAME and ?build=NAME where these are given; below the list's path, a round's
// number yields the record that `go run ./scheduler/cmd/replay` decides again.
func (e *Explanations) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.Method != http.MethodGet {
		http.Error(w, "only GET", http.StatusMethodNotAllowed)
		return
	}
	number := strings.Trim(strings.TrimPrefix(r.URL.Path, ExplainPath), "/")
	w.Header().Set("Content-Type", "application/json")
	if number == "" {
		json.NewEncoder(w).Encode(e.list(r.URL.Query().Get("cache"), r.URL.Query().Get("build"))) //nolint:errcheck // the client went away
		return
	}
	record := e.record(number)
	if record == nil {
		http.Error(w, fmt.Sprintf("round %q is not kept (any more)", number), http.StatusNotFound)
		return
	}
	w.Write(record) //nolint:errcheck // the client went away
}

func (e *Explanations) record(number string) []byte {
	n, err := strconv.ParseInt(number, 10, 64)
	if err != nil {
		return nil
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	for i := range e.rounds {
		if e.rounds[i].Round == n {
			return e.rounds[i].record
		}
	}
	return nil
}

// list returns the rounds that are asked for, newest first, with the builds that are asked for.
func (e *Explanations) list(cache, build string) []explained {
	e.mu.Lock()
	defer e.mu.Unlock()
	out := []explained{}
	for i := len(e.rounds) - 1; i >= 0; i-- {
		r := e.rounds[i]
		if cache != "" && r.Cache != cache {
			continue
		}
		if build != "" {
			var only []explainedBuild
			for _, b := range r.Builds {
				if b.Name == build {
					only = append(only, b)
				}
			}
			if r.Builds = only; only == nil {
				continue
			}
		}
		out = append(out, r)
	}
	return out
}
