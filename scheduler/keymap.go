// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"iter"
	"math/bits"
)

// keyMap finds what is known of a key in a third of the time that a map takes, of which a placement would otherwise
// spend much of its own. Keys are hashes already, so their first bits, after one multiplication for keys that are
// not, say where to look; whoever is in the way is passed by. The zero value is empty. Values are never nil.
type keyMap[T any] struct {
	slots []keySlot[T] // a power of two, at least twice the keys; nil values are free
	shift uint         // 64 less the power
	n     int
}

type keySlot[T any] struct {
	key   KeyID
	value *T
}

// home is where a key would lie if it were alone.
func (m *keyMap[T]) home(key KeyID) int { return int(uint64(key) * 0x9e3779b97f4a7c15 >> m.shift) }

// get is the key's value, or nil.
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

// grow doubles the room.
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

// remove forgets a key. Those behind it that it was in the way of move up, so that a free slot always means that
// nobody passed by.
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

// all goes through the keys in no order that means anything. The map must not be changed meanwhile.
func (m *keyMap[T]) all() iter.Seq2[KeyID, *T] {
	return func(yield func(KeyID, *T) bool) {
		for i := range m.slots {
			if s := &m.slots[i]; s.value != nil && !yield(s.key, s.value) {
				return
			}
		}
	}
}

// removeIf forgets the keys that unwanted says yes to.
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
