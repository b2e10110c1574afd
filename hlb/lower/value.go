// SPDX-License-Identifier: Apache-2.0

package lower

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"

	"github.com/openllb/hlb-operator/hlb/ast"
	"github.com/openllb/hlb-operator/hlb/diag"
	"github.com/openllb/hlb-operator/hlb/module"
)

// value is what an expression evaluates to: *filesystem, text, number, truth, *options, *pipe or spread. Values never
// change.
type value interface {
	// key identifies the value: equal keys mean that one may stand for the other. Keys are interned, see keys.
	key() key
}

// key is the identity of a value within one compile.
type key uint32

// keys hands out keys: equal parts get equal keys. Results of functions are remembered by the keys of what went in,
// which is what keeps a chain like f1 = merge f0 f0, f2 = merge f1 f1 … from taking 2ⁿ evaluations.
type keys struct {
	ids map[string]key
	buf []byte
}

func newKeys() *keys { return &keys{ids: map[string]key{}} }

// of returns the key of a tuple of strings, ints, bools and keys.
func (k *keys) of(parts ...any) key {
	b := k.buf[:0]
	for _, p := range parts {
		b = appendPart(b, p)
	}
	k.buf = b
	if id, ok := k.ids[string(b)]; ok {
		return id
	}
	id := key(len(k.ids) + 1)
	k.ids[string(b)] = id
	return id
}

// appendPart encodes one part so that no two different tuples look alike. Long texts go in as their hash.
func appendPart(b []byte, part any) []byte {
	switch p := part.(type) {
	case key:
		return binary.AppendUvarint(append(b, 'k'), uint64(p))
	case string:
		if len(p) > 128 {
			sum := sha256.Sum256([]byte(p))
			return append(append(b, 'h'), sum[:]...)
		}
		b = binary.AppendUvarint(append(b, 's'), uint64(len(p)))
		return append(b, p...)
	case int:
		return binary.AppendVarint(append(b, 'i'), int64(p))
	case int64:
		return binary.AppendVarint(append(b, 'i'), p)
	case bool:
		return strconv.AppendBool(append(b, 'b'), p)
	case []key:
		b = binary.AppendUvarint(append(b, 'l'), uint64(len(p)))
		for _, k := range p {
			b = binary.AppendUvarint(b, uint64(k))
		}
		return b
	}
	return append(b, '?')
}

// text is a value of kind string.
type text struct {
	s string
	k key
}

func (t text) key() key { return t.k }

// number is a value of kind int.
type number struct {
	n int64
	k key
}

func (n number) key() key { return n.k }

// truth is a value of kind bool.
type truth struct {
	b bool
	k key
}

func (t truth) key() key { return t.k }

// spread is what the name of a variadic parameter stands for.
type spread struct {
	values []value
	k      key
}

func (s spread) key() key { return s.k }

func (e *evaluator) text(s string) text    { return text{s, e.keys.of("text", s)} }
func (e *evaluator) number(n int64) number { return number{n, e.keys.of("int", n)} }
func (e *evaluator) truth(b bool) truth    { return truth{b, e.keys.of("bool", b)} }

func (e *evaluator) spread(values []value) spread {
	return spread{values, e.keys.of("spread", keysOf(values))}
}

func keysOf(values []value) []key {
	out := make([]key, len(values))
	for i, v := range values {
		out[i] = v.key()
	}
	return out
}

// options is a value of kind option::x: what came before, then own. Appending shares what came before, so that a
// block of n options does not take n² copies.
type options struct {
	prev *options
	own  []*option
	n    int // options in all
	k    key
}

// list returns the options in the order written.
func (o *options) list() []*option {
	out := make([]*option, o.n)
	for end := o.n; o != nil; o = o.prev {
		end -= len(o.own)
		copy(out[end:], o.own)
	}
	return out
}

func (o *options) key() key { return o.k }

// sizeOfList is how many values are copied where v is added to a list.
func sizeOfList(v value) int {
	if o, ok := v.(*options); ok {
		return o.n
	}
	return 1
}

// appendOptions returns o with more options after its own.
func (e *evaluator) appendOptions(o *options, more ...*option) *options {
	if len(more) == 0 {
		return o
	}
	k := o.k
	for _, m := range more {
		k = e.keys.of("options", k, m.k)
	}
	return &options{prev: o, own: more, n: o.n + len(more), k: k}
}

// option is one call of an option builtin, kept as it was evaluated; the builtin it belongs to gives it meaning.
type option struct {
	name  string
	args  []arg
	with  []*option
	span  diag.Span  // of the call
	dir   module.Dir // where relative paths of the call start
	binds []bind     // what `as` binds of it
	size  int        // about how many bytes it adds to an op
	k     key
}

// opBytes is about what an op or option takes besides its texts.
const opBytes = 64

// sizeOfArgs is about how many bytes arguments add to an op.
func sizeOfArgs(args []arg) int {
	size := opBytes
	for _, a := range args {
		if t, ok := a.val.(text); ok {
			size += len(t.s)
		}
	}
	return size
}

// arg is an evaluated argument. Values of a variadic parameter stand one after another.
type arg struct {
	val  value
	span diag.Span
}

func (a arg) str() string     { return a.val.(text).s }
func (a arg) int() int        { return int(a.val.(number).n) }
func (a arg) fs() *filesystem { return a.val.(*filesystem) }
func strs(args []arg) []string {
	out := make([]string, len(args))
	for i, a := range args {
		out[i] = a.str()
	}
	return out
}

// empty returns the value a block of this kind starts from.
func (e *evaluator) empty(kind ast.Kind) value {
	switch kind.Primary() {
	case ast.FS:
		return e.scratch
	case ast.String:
		return e.text("")
	case ast.Int:
		return e.number(0)
	case ast.Bool:
		return e.truth(false)
	case ast.Pipeline:
		return e.nothing
	}
	return e.noOptions
}
