// SPDX-License-Identifier: Apache-2.0

// Package heap is container/heap with types: a priority queue of any element type.
package heap

import "container/heap"

// Heap is a priority queue. Its order is given to New. It is not safe for concurrent use.
type Heap[T any] struct{ items items[T] }

// New returns an empty heap. before reports whether a is popped before b.
func New[T any](before func(a, b T) bool) *Heap[T] {
	return &Heap[T]{items[T]{before: before}}
}

// Len returns the number of elements.
func (h *Heap[T]) Len() int { return len(h.items.of) }

// Push adds an element.
func (h *Heap[T]) Push(x T) { heap.Push(&h.items, x) }

// Peek returns the first element. It panics on an empty heap.
func (h *Heap[T]) Peek() T { return h.items.of[0] }

// Pop removes and returns the first element. It panics on an empty heap.
func (h *Heap[T]) Pop() T { return heap.Pop(&h.items).(T) }

// items implements heap.Interface.
type items[T any] struct {
	of     []T
	before func(a, b T) bool
}

// Len implements heap.Interface.
func (s *items[T]) Len() int { return len(s.of) }

// Less implements heap.Interface.
func (s *items[T]) Less(i, j int) bool { return s.before(s.of[i], s.of[j]) }

// Swap implements heap.Interface.
func (s *items[T]) Swap(i, j int) { s.of[i], s.of[j] = s.of[j], s.of[i] }

// Push implements heap.Interface.
func (s *items[T]) Push(x any) { s.of = append(s.of, x.(T)) }

// Pop implements heap.Interface.
func (s *items[T]) Pop() any {
	last := len(s.of) - 1
	x := s.of[last]
	var none T
	s.of[last] = none // releases what x refers to
	s.of = s.of[:last]
	return x
}
