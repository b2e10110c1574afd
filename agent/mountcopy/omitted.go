// SPDX-License-Identifier: Apache-2.0

package mountcopy

import (
	"fmt"
	"strings"
	"sync"
)

const (
	// namedOmissions is how many of the things that a copy leaves out are named, and nameBytes how much of each.
	namedOmissions, nameBytes = 5, 100
)

// Omitted is what a copy leaves out: names, with all that is in them, and attributes of names. The zero value is
// nothing.
type Omitted struct {
	Count int64 `json:"count,omitempty"`
	// First are some of them, quoted, each with the reason.
	First []string `json:"first,omitempty"`
}

// String describes it in a line, empty for nothing.
func (o Omitted) String() string {
	if o.Count == 0 {
		return ""
	}
	more := ""
	if o.Count > int64(len(o.First)) {
		more = ", …"
	}
	return fmt.Sprintf("%d left out: %s%s", o.Count, strings.Join(o.First, ", "), more)
}

// omissions collects what is left out. It is safe for concurrent use.
type omissions struct {
	mu  sync.Mutex
	all Omitted
}

// add notes a path that is left out, or an attribute of it, and why.
func (o *omissions) add(path, why string) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.all.Count++
	if len(o.all.First) < namedOmissions {
		if len(path) > nameBytes {
			path = path[:nameBytes] + "…"
		}
		o.all.First = append(o.all.First, fmt.Sprintf("%q (%s)", path, why))
	}
}

// list returns what was noted so far.
func (o *omissions) list() Omitted {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.all
}
