// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"encoding/json"
	"maps"
)

// What was learned can be saved as JSON and read again: the result answers as the original does, to the last bit.

// savedMean is a mean as it is saved.
type savedMean struct {
	N     int     `json:"n,omitempty"`
	Value float64 `json:"value,omitempty"`
}

func (m *mean) save() savedMean { return savedMean{m.n, m.value} }

func (s savedMean) restore() mean { return mean{s.N, s.Value} }

// savedLengths are lengths as they are saved.
type savedLengths struct {
	Warm  savedMean `json:"warm,omitzero"`
	Cold  savedMean `json:"cold,omitzero"`
	Ratio savedMean `json:"ratio,omitzero"`
}

func saveLengths[K comparable](from map[K]*lengths) map[K]savedLengths {
	to := make(map[K]savedLengths, len(from))
	for k, l := range from {
		to[k] = savedLengths{l.warm.save(), l.cold.save(), l.ratio.save()}
	}
	return to
}

func restoreLengths[K comparable](from map[K]savedLengths) map[K]*lengths {
	to := make(map[K]*lengths, len(from))
	for k, l := range from {
		to[k] = &lengths{l.Warm.restore(), l.Cold.restore(), l.Ratio.restore()}
	}
	return to
}

// savedEstimates are Estimates as they are saved.
type savedEstimates struct {
	Keys        map[KeyID]savedLengths  `json:"keys,omitempty"`
	Scopes      map[string]savedLengths `json:"scopes,omitempty"`
	Noise       savedMean               `json:"noise,omitzero"`
	StaleCross  savedMean               `json:"staleCross,omitzero"`
	StaleSquare savedMean               `json:"staleSquare,omitzero"`
}

// MarshalJSON saves what was learned.
func (e *Estimates) MarshalJSON() ([]byte, error) {
	return json.Marshal(savedEstimates{
		Keys:        saveLengths(e.byKey),
		Scopes:      saveLengths(e.byScope),
		Noise:       e.noise.save(),
		StaleCross:  e.staleCross.save(),
		StaleSquare: e.staleSquare.save(),
	})
}

// UnmarshalJSON replaces what was learned.
func (e *Estimates) UnmarshalJSON(text []byte) error {
	var s savedEstimates
	if err := json.Unmarshal(text, &s); err != nil {
		return err
	}
	*e = Estimates{
		byKey:       restoreLengths(s.Keys),
		byScope:     restoreLengths(s.Scopes),
		noise:       s.Noise.restore(),
		staleCross:  s.StaleCross.restore(),
		staleSquare: s.StaleSquare.restore(),
	}
	return nil
}

// savedRate is a key's rate as it is saved.
type savedRate struct {
	Count         float64 `json:"count"`
	Slow          float64 `json:"slow"`
	FirstSeconds  float64 `json:"firstSeconds"`
	AtSeconds     float64 `json:"atSeconds"`
	WarmSeconds   float64 `json:"warmSeconds,omitempty"`
	Replicas      int32   `json:"replicas"`
	GrowthPending bool    `json:"growthPending,omitempty"`
}

// MarshalJSON saves the counts.
func (h *HotKeys) MarshalJSON() ([]byte, error) {
	to := make(map[KeyID]savedRate, len(h.rates))
	for k, r := range h.rates {
		to[k] = savedRate{r.count, r.slow, r.firstSeconds, r.atSeconds, r.warmSeconds, r.replicas, r.growthPending}
	}
	return json.Marshal(to)
}

// UnmarshalJSON replaces the counts.
func (h *HotKeys) UnmarshalJSON(text []byte) error {
	var from map[KeyID]savedRate
	if err := json.Unmarshal(text, &from); err != nil {
		return err
	}
	h.rates = make(map[KeyID]*rate, len(from))
	for k, r := range from {
		h.rates[k] = &rate{
			count:         r.Count,
			slow:          r.Slow,
			atSeconds:     r.AtSeconds,
			firstSeconds:  r.FirstSeconds,
			warmSeconds:   r.WarmSeconds,
			replicas:      r.Replicas,
			growthPending: r.GrowthPending,
		}
	}
	return nil
}

// MarshalJSON saves tags and weights.
func (s *Shares) MarshalJSON() ([]byte, error) {
	return json.Marshal(ShareState{Now: s.now, Tags: s.tag, Weights: s.weight})
}

// UnmarshalJSON replaces tags and weights.
func (s *Shares) UnmarshalJSON(text []byte) error {
	var from ShareState
	if err := json.Unmarshal(text, &from); err != nil {
		return err
	}
	*s = *NewShares()
	s.now = from.Now
	maps.Copy(s.tag, from.Tags)
	maps.Copy(s.weight, from.Weights)
	return nil
}

// savedUsage is Usage as it is saved.
type savedUsage struct {
	Last    float64                   `json:"last"`
	Daemons map[DaemonID]daemonsUsage `json:"daemons,omitempty"`
}

// daemonsUsage is one daemon's usage as it is saved.
type daemonsUsage struct {
	Taken   float64 `json:"taken"`
	Now     float64 `json:"now"`
	Long    float64 `json:"long"`
	LongNow float64 `json:"longNow"`
}

// MarshalJSON saves what each daemon was used.
func (u *Usage) MarshalJSON() ([]byte, error) {
	to := savedUsage{Last: u.last, Daemons: make(map[DaemonID]daemonsUsage, len(u.of))}
	for id, x := range u.of {
		to.Daemons[id] = daemonsUsage{x.taken, x.now, x.long, x.longNow}
	}
	return json.Marshal(to)
}

// UnmarshalJSON replaces what each daemon was used.
func (u *Usage) UnmarshalJSON(text []byte) error {
	var from savedUsage
	if err := json.Unmarshal(text, &from); err != nil {
		return err
	}
	*u = Usage{of: make(map[DaemonID]*usage, len(from.Daemons)), last: from.Last}
	for id, x := range from.Daemons {
		u.of[id] = &usage{taken: x.Taken, now: x.Now, long: x.Long, longNow: x.LongNow}
	}
	return nil
}
