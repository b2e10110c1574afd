// SPDX-License-Identifier: Apache-2.0

package fleet

import "time"

// bucket is a token bucket that is refilled by the clock of observations, and can be saved.
type bucket struct {
	Tokens float64   `json:"tokens"`
	At     time.Time `json:"at"` // of the last refill
}

// refill adds what has come in since the last refill, at a rate for each period, and keeps no more than size.
func (b *bucket) refill(rate float64, period time.Duration, size float64, now time.Time) {
	b.Tokens = min(b.Tokens+rate*now.Sub(b.At).Seconds()/period.Seconds(), size)
	b.At = now
}

// take takes one token, and reports whether there was one.
func (b *bucket) take() bool {
	if b.Tokens < 1 {
		return false
	}
	b.Tokens--
	return true
}
