// SPDX-License-Identifier: Apache-2.0

package write

import (
	"sync"

	"k8s.io/apimachinery/pkg/types"
)

// Tries counts for each object the passes in a row that have failed. A restart forgets them, which costs no more than
// the same number of tries. It is safe for concurrent use; the zero value is ready.
type Tries struct {
	mu     sync.Mutex
	failed map[types.NamespacedName]int
}

// Count takes in the end of a pass over an object and returns how many in a row have failed: 0 after a nil error.
func (t *Tries) Count(name types.NamespacedName, err error) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if err == nil {
		delete(t.failed, name)
		return 0
	}
	if t.failed == nil {
		t.failed = map[types.NamespacedName]int{}
	}
	t.failed[name]++
	return t.failed[name]
}
