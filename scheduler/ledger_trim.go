// SPDX-License-Identifier: Apache-2.0

package scheduler

// Trim forgets keys that nobody holds and of which no more than one copy is wanted, to bound memory where one ledger
// is kept for long.
func (l *Ledger) Trim() {
	l.keys.removeIf(func(h *holding) bool { return len(h.copies) == 0 && h.replicas <= 1 })
}
