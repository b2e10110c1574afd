// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"iter"
	"math/bits"
)

// keyMap is a hash table by key that takes a third of the time of a map, which would dominate a placement. Keys are
// hashes already: their first bits, after one multiplication, are the index, and collisions probe linearly. The zero
// value is empty. Values are never nil.
type keyMap[T any] struct {
	slots []keySlot[T] // a power of two, at least twice the keys; a nil value is a free slot
	shift uint         // 64 - log2(len(slots))
	n     int
}

type keySlot[T any] struct {
	key   KeyID
	value *T
}

// home returns the first index to probe, before masking.
func (m *keyMap[T]) home(key KeyID) int { return int(uint64(key) * 0x9e3779b97f4a7c15 >> m.shift) }

// get returns the key's value, or nil.
func (m *keyMap[T]) get(key KeyID) *T {
	if len(m.slots) == 0 {
		return nil
	}
	for i := m.home(key); ; i++ {
		s := &m.slots[i&(len(m.slots)-1)]
		if s.value == nil || s.key == key {
			return s.value
		}
	}
}

// put sets the key's value.
func (m *keyMap[T]) put(key KeyID, value *T) {
	if 2*(m.n+1) > len(m.slots) {
		m.grow()
	}
	for i := m.home(key); ; i++ {
		s := &m.slots[i&(len(m.slots)-1)]
		if s.value != nil && s.key != key {
			continue
		}
		if s.value == nil {
			m.n++
		}
		*s = keySlot[T]{key, value}
		return
	}
}

// grow doubles the slots.
func (m *keyMap[T]) grow() {
	old := m.slots
	m.slots = make([]keySlot[T], max(8, 2*len(old)))
	m.shift, m.n = uint(65-bits.Len(uint(len(m.slots)))), 0
	for _, s := range old {
		if s.value != nil {
			m.put(s.key, s.value)
		}
	}
}

// remove deletes a key and moves later keys of the same probe sequence up, so that a free slot always ends a sequence.
func (m *keyMap[T]) remove(key KeyID) {
	if m.get(key) == nil {
		return
	}
	mask := len(m.slots) - 1
	hole := m.home(key) & mask
	for m.slots[hole].key != key || m.slots[hole].value == nil {
		hole = (hole + 1) & mask
	}
	m.n--
	for i := (hole + 1) & mask; m.slots[i].value != nil; i = (i + 1) & mask {
		if (i-m.home(m.slots[i].key))&mask >= (i-hole)&mask {
			m.slots[hole] = m.slots[i]
			hole = i
		}
	}
	m.slots[hole] = keySlot[T]{}
}

// all iterates over the keys in no particular order. The map must not be changed meanwhile.
func (m *keyMap[T]) all() iter.Seq2[KeyID, *T] {
	return func(yield func(KeyID, *T) bool) {
		for i := range m.slots {
			if s := &m.slots[i]; s.value != nil && !yield(s.key, s.value) {
				return
			}
		}
	}
}

// removeIf removes the keys for which unwanted is true.
func (m *keyMap[T]) removeIf(unwanted func(*T) bool) {
	var gone []KeyID
	for key, value := range m.all() {
		if unwanted(value) {
			gone = append(gone, key)
		}
	}
	for _, key := range gone {
		m.remove(key)
	}
}
