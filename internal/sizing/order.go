// SPDX-License-Identifier: Apache-2.0

package sizing

// places bounds the order; when all are taken it is renumbered, so that costs a constant time an access.
const places = 2 * sampled

// order has objects in the order of their last access, with the bytes of each: a Fenwick tree (P. M. Fenwick, "A New
// Data Structure for Cumulative Frequency Tables", Software: Practice and Experience 24(3), 1994) over places, of
// which the last taken is the latest access. The zero value is empty.
type order struct {
	tree  []int64 // tree[i] sums the places that end at i; the first is not used
	total int64
	next  int32 // the first place that is free
}

func (o *order) len() int { return int(o.next) }

func (o *order) isFull() bool { return o.next == places }

// append takes the next place, which must be free, and returns it.
func (o *order) append(bytes int64) int32 {
	if o.tree == nil {
		o.tree = make([]int64, places+1)
	}
	at := o.next
	o.next++
	o.add(at, bytes)
	return at
}

// remove leaves a place empty.
func (o *order) remove(at int32, bytes int64) { o.add(at, -bytes) }

func (o *order) add(at int32, bytes int64) {
	o.total += bytes
	for i := int(at) + 1; i <= places; i += i & -i {
		o.tree[i] += bytes
	}
}

// since sums the bytes at a place and at all later ones.
func (o *order) since(at int32) int64 {
	sum := o.total
	for i := int(at); i > 0; i -= i & -i {
		sum -= o.tree[i]
	}
	return sum
}
