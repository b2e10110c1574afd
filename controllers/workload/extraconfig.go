// SPDX-License-Identifier: Apache-2.0

package workload

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/pelletier/go-toml/v2"
)

// withExtra merges generated TOML over the BuildCache's own extraConfig: what the operator sets wins, table by table.
// The tables grpc, which has buildkitd's listeners, and worker.containerd are the operator's altogether. It refuses
// extraConfig that is not TOML or sets anything about garbage collection, which storage.gc has.
func withExtra(generated, extra string) (string, error) {
	if strings.TrimSpace(extra) == "" {
		return generated, nil
	}
	merged, own := map[string]any{}, map[string]any{}
	if err := toml.Unmarshal([]byte(extra), &merged); err != nil {
		return "", fmt.Errorf("buildkit.extraConfig is not TOML: %w", err)
	}
	if path := gcSetting(merged, nil); path != "" {
		return "", fmt.Errorf(
			"buildkit.extraConfig sets %s: garbage collection is set by storage.gc and mounts[].eviction", path)
	}
	if err := toml.Unmarshal([]byte(generated), &own); err != nil {
		return "", fmt.Errorf("read the generated %s: %w", ConfigFile, err)
	}
	delete(merged, "grpc")
	if worker, ok := merged["worker"].(map[string]any); ok {
		delete(worker, "containerd")
	}
	mergeTables(merged, own)
	out, err := toml.Marshal(merged)
	if err != nil {
		return "", fmt.Errorf("render %s: %w", ConfigFile, err)
	}
	return string(out), nil
}

// gcSetting is the path of the first setting of garbage collection in a table, in the order of the alphabet; empty for
// none.
func gcSetting(table map[string]any, at []string) string {
	for _, key := range slices.Sorted(maps.Keys(table)) {
		path := append(slices.Clone(at), key)
		if low := strings.ToLower(key); strings.HasPrefix(low, "gc") || slices.Contains(gcSizes, low) {
			return strings.Join(path, ".")
		}
		if inner, ok := table[key].(map[string]any); ok {
			if found := gcSetting(inner, path); found != "" {
				return found
			}
		}
	}
	return ""
}

// gcSizes are BuildKit's settings of garbage collection whose names don't begin with gc, in lower case.
var gcSizes = []string{"reservedspace", "maxusedspace", "minfreespace", "keepbytes", "keepduration"}

// mergeTables puts all of from into into, over what is there.
func mergeTables(into, from map[string]any) {
	for key, value := range from {
		inner, isTable := value.(map[string]any)
		there, both := into[key].(map[string]any)
		if isTable && both {
			mergeTables(there, inner)
			continue
		}
		into[key] = value
	}
}
