// SPDX-License-Identifier: Apache-2.0

package sim

import "container/heap"

// ending is a running build's end. Equal instants end in the order of starting.
type ending struct {
	atSeconds float64
	sequence  int
	run       *run
}

// endings is a heap, soonest first.
type endings []ending

func (e endings) Len() int { return len(e) }
func (e endings) Less(i, j int) bool {
	if e[i].atSeconds != e[j].atSeconds {
		return e[i].atSeconds < e[j].atSeconds
	}
	return e[i].sequence < e[j].sequence
}
func (e endings) Swap(i, j int) { e[i], e[j] = e[j], e[i] }

// Push is for container/heap.
func (e *endings) Push(x any) { *e = append(*e, x.(ending)) }

// Pop is for container/heap.
func (e *endings) Pop() any {
	last := len(*e) - 1
	x := (*e)[last]
	*e = (*e)[:last]
	return x
}

func (e *endings) add(x ending)    { heap.Push(e, x) }
func (e *endings) take() ending    { return heap.Pop(e).(ending) }
func (e endings) soonest() float64 { return e[0].atSeconds }
