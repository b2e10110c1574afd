// SPDX-License-Identifier: Apache-2.0

package sizing

// seenBits is the size of the set of objects seen: 128 KiB.
const seenBits = 1 << 20

// distinct sums the bytes of different objects without keeping them: a bit an object, by its hash (linear counting:
// K.-Y. Whang, B. T. Vander-Zanden, H. M. Taylor, "A Linear-Time Probabilistic Counting Algorithm for Database
// Applications", ACM TODS 15(2), 1990, here weighted by bytes). The zero value has seen nothing.
type distinct struct {
	bits []uint64
	set  int     // bits that are set
	sum  float64 // of bytes, corrected for objects whose bit another had set before
}

// add counts an object's bytes, unless the object, or by chance another one with the same bit, was added before. The
// probability of the latter is the set part of the bits; the sum is corrected for it.
func (d *distinct) add(id uint64, bytes int64) {
	if d.bits == nil {
		d.bits = make([]uint64, seenBits/64)
	}
	bit := id % seenBits
	if d.bits[bit/64]&(1<<(bit%64)) != 0 {
		return
	}
	d.sum += float64(bytes) / (1 - float64(d.set)/seenBits)
	d.bits[bit/64] |= 1 << (bit % 64)
	d.set++
}

// bytes is the sum, false once nine tenths of the bits are set and the correction is too uncertain.
func (d *distinct) bytes() (float64, bool) { return d.sum, d.set > 0 && d.set < seenBits/10*9 }
