// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"
)

// Record is one cycle with everything it was decided from, for saving and replaying. It has only what is relevant to
// its queue: copies of the queue's keys, shares of its queues.
type Record struct {
	NowSeconds float64    `json:"nowSeconds"`
	Params     Params     `json:"params"`
	Daemons    []Daemon   `json:"daemons"`
	Keys       []KeyEntry `json:"keys,omitempty"`
	Shares     ShareState `json:"shares"`
	Queue      []Request  `json:"queue"`
	Decisions  []Decision `json:"decisions"`
}

// KeyEntry is the ledger's entry of one key.
type KeyEntry struct {
	Key       KeyID   `json:"key,string"`
	Version   uint32  `json:"version"`
	Replicas  int32   `json:"replicas,omitempty"`
	PerSecond float64 `json:"perSecond,omitempty"`
	Copies    []Copy  `json:"copies,omitempty"`
}

// ShareState is the state of Shares.
type ShareState struct {
	Now     float64            `json:"now"`
	Tags    map[string]float64 `json:"tags,omitempty"`
	Weights map[string]float64 `json:"weights,omitempty"`
}

// NewRecord records a cycle: the view and queue it was given, and its decisions. It keeps decisions and the lists of
// requests and daemons, which nobody may write again, and copies everything else.
func NewRecord(v *View, queue []Request, p *Params, decisions []Decision) *Record {
	r := &Record{
		NowSeconds: v.NowSeconds,
		Params:     *p,
		Daemons:    slices.Clone(v.Daemons),
		Keys:       v.Ledger.entriesOf(queue),
		Queue:      slices.Clone(queue),
		Decisions:  decisions,
	}
	if v.Shares == nil {
		return r
	}
	for i := range queue {
		if i == 0 || queue[i].Queue != queue[i-1].Queue {
			r.Shares.save(v.Shares, queue[i].Queue)
		}
	}
	return r
}

// entriesOf copies the entries of the queue's keys, each once, in the order of the queue.
func (l *Ledger) entriesOf(queue []Request) []KeyEntry {
	var out []KeyEntry
	copies := make([]Copy, 0, 3*len(queue)) // of all entries; few keys have more
	seen := make(map[KeyID]bool, len(queue))
	for i := range queue {
		for k := range queue[i].Keys {
			key := queue[i].Keys[k].ID
			h := l.keys.get(key)
			if h == nil || seen[key] {
				continue
			}
			seen[key] = true
			first := len(copies)
			copies = append(copies, h.copies...)
			entry := KeyEntry{Key: key, Version: h.version, Replicas: h.replicas, PerSecond: h.perSecond}
			entry.Copies = copies[first:len(copies):len(copies)]
			out = append(out, entry)
		}
	}
	return out
}

// save copies the state of one queue.
func (s *ShareState) save(from *Shares, queue string) {
	if s.Tags == nil {
		s.Now, s.Tags, s.Weights = from.now, map[string]float64{}, map[string]float64{}
	}
	if tag, known := from.tag[queue]; known {
		s.Tags[queue] = tag
	}
	if weight, set := from.weight[queue]; set {
		s.Weights[queue] = weight
	}
}

// maxRecordBytes bounds a record's text: 10,000 daemons with as many requests take a quarter of it.
const maxRecordBytes = 64 << 20

// ReadRecord reads what Write wrote. It refuses records that could not have been made, and texts of more than 64 MiB.
func ReadRecord(in io.Reader) (*Record, error) {
	var r Record
	bounded := io.LimitedReader{R: in, N: maxRecordBytes}
	dec := json.NewDecoder(&bounded)
	dec.DisallowUnknownFields()
	if err := dec.Decode(&r); err != nil {
		if bounded.N <= 0 {
			err = fmt.Errorf("more than %d bytes: %w", maxRecordBytes, err)
		}
		return nil, fmt.Errorf("read record: %w", err)
	}
	if err := r.Params.Validate(); err != nil {
		return nil, fmt.Errorf("read record: params: %w", err)
	}
	if len(r.Decisions) > 0 && len(r.Decisions) != len(r.Queue) {
		return nil, fmt.Errorf("read record: %d decisions for %d requests", len(r.Decisions), len(r.Queue))
	}
	return &r, nil
}

// Write writes the record as JSON.
func (r *Record) Write(out io.Writer) error {
	enc := json.NewEncoder(out)
	enc.SetIndent("", "  ")
	if err := enc.Encode(r); err != nil {
		return fmt.Errorf("write record: %w", err)
	}
	return nil
}

// Replay decides the record's cycle again. The result equals Decisions if the record was made by the same version of
// this package.
func (r *Record) Replay() ([]Decision, error) {
	l := NewLedger()
	for _, k := range r.Keys {
		h := l.ensure(k.Key)
		h.version, h.replicas, h.perSecond = k.Version, k.Replicas, k.PerSecond
		for _, c := range k.Copies {
			*h.ensureCopy(c.Daemon) = c
		}
	}
	v, err := NewView(r.Daemons, l, r.NowSeconds)
	if err != nil {
		return nil, fmt.Errorf("replay: %w", err)
	}
	v.Shares = NewShares()
	v.Shares.now = r.Shares.Now
	maps.Copy(v.Shares.tag, r.Shares.Tags)
	v.Shares.SetWeights(r.Shares.Weights)
	return Cycle(v, r.Queue, &r.Params), nil
}
