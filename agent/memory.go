// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"runtime/debug"

	"github.com/openllb/hlb-operator/agent/compile"
)

const (
	// ownBytes is what of the container's memory is the agent's own: about 100 MiB at work, and a compiled request of
	// up to 32 MiB for each build in flight, in two copies while it is sent. A quarter of a smaller container is.
	ownBytes = 512 << 20
	// softPercent of its own memory is where the agent's garbage collector works hardest.
	softPercent = 80
)

// ShareMemory divides the memory of the agent's container among the agent, which it bounds, and the processes that
// compile programs, whose limits it returns.
func (o *Options) ShareMemory() compile.Limits {
	own, limits := shareMemory(o.MemoryBytes)
	if own > 0 {
		debug.SetMemoryLimit(own * softPercent / 100)
	}
	return limits
}

// shareMemory returns how much of a container's memory is the agent's own, 0 for no limit, and the limits of compiling.
func shareMemory(container int64) (own int64, limits compile.Limits) {
	limits = compile.DefaultLimits()
	if container <= 0 {
		return 0, limits
	}
	own = min(ownBytes, container/4)
	limits.TotalBytes = container - own
	limits.MemoryBytes = min(limits.MemoryBytes, limits.TotalBytes*3/4)
	return own, limits
}
