// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/containerd/platforms"
	"github.com/moby/buildkit/client"

	"github.com/openllb/hlb-operator/agent/gc"
	"github.com/openllb/hlb-operator/hlb/solve"
	"github.com/openllb/hlb-operator/internal/gcrules"
	"github.com/openllb/hlb-operator/internal/mountpolicy"
)

// Observation is a buildkitd's state at one moment.
type Observation struct {
	// Platforms are all that it builds for, its own first.
	Platforms []string
	// Version of buildkitd, Platform that it builds for by default, as os/arch.
	Version, Platform string
	// GCPolicy in force, one line a rule.
	GCPolicy []string
	// Records is how many records the cache holds beside that of the agent's own checks, Bytes what all take.
	Records int
	Bytes   int64
	// MountBytes are the cache mounts held, by id without base state, with what they take; 0 while one is in use for
	// the first time. A mount whose id can't be read has one of its own.
	MountBytes map[string]int64
	// Cache is the records themselves, Rules the garbage collection in force, both as package gc judges them.
	Cache []gc.Record
	Rules []gcrules.Rule
}

// AllMountBytes is what all cache mounts take together.
func (o *Observation) AllMountBytes() (sum int64) {
	for _, bytes := range o.MountBytes {
		sum += bytes
	}
	return sum
}

// Ping returns nil when buildkitd answers.
func (d *Daemon) Ping(ctx context.Context) error {
	_, err := d.client.Info(ctx)
	return err
}

// Observe asks buildkitd about itself. It may take long after builds, because it measures the directories that they
// wrote.
func (d *Daemon) Observe(ctx context.Context) (*Observation, error) {
	workers, err := d.client.ListWorkers(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask buildkitd for its worker: %w", err)
	}
	if len(workers) == 0 {
		return nil, fmt.Errorf("buildkitd has no worker")
	}
	w := workers[0]
	o := &Observation{Version: w.BuildkitVersion.Version, MountBytes: map[string]int64{}}
	for _, p := range w.Platforms {
		o.Platforms = append(o.Platforms, platforms.Format(p))
	}
	if len(o.Platforms) > 0 {
		o.Platform = o.Platforms[0]
	}
	for _, rule := range w.GCPolicy {
		o.GCPolicy = append(o.GCPolicy, ruleLine(rule))
		o.Rules = append(o.Rules, ruleOf(rule))
	}
	records, err := d.client.DiskUsage(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask buildkitd for its disk usage: %w", err)
	}
	for _, r := range records {
		if r.Description != checkDescription {
			o.Records++
		}
		record := recordOf(r)
		o.Cache = append(o.Cache, record)
		o.Bytes += record.Bytes
		if record.Mount != "" {
			o.MountBytes[mountpolicy.Unbased(record.Mount)] += record.Bytes
		}
	}
	return o, nil
}

// recordOf translates a record.
func recordOf(r *client.UsageInfo) gc.Record {
	out := gc.Record{
		ID: r.ID, Class: gc.Layer, Bytes: max(r.Size, 0), InUse: r.InUse, Shared: r.Shared, Parents: r.Parents,
		LastUsed: r.CreatedAt,
	}
	if r.LastUsedAt != nil {
		out.LastUsed = *r.LastUsedAt
	}
	switch r.RecordType {
	case client.UsageRecordTypeLocalSource, client.UsageRecordTypeGitCheckout:
		out.Class = gc.Source
	case client.UsageRecordTypeInternal, client.UsageRecordTypeFrontend:
		out.Class = gc.Internal
	}
	if id, ok := mountID(r); ok {
		out.Mount = id
	}
	return out
}

// ruleOf translates a rule.
func ruleOf(rule client.PruneInfo) gcrules.Rule {
	return gcrules.Rule{
		Filters: rule.Filter, MinFreeBytes: rule.MinFreeSpace,
		Others: rule.All || rule.KeepDuration != 0 || rule.ReservedSpace != 0 || rule.MaxUsedSpace != 0,
	}
}

// ruleLine renders a garbage collection rule for people: "all maxUsedSpace=8000000000".
func ruleLine(rule client.PruneInfo) string {
	var parts []string
	if rule.All {
		parts = append(parts, "all")
	}
	if len(rule.Filter) > 0 {
		parts = append(parts, strings.Join(rule.Filter, " or "))
	}
	if rule.KeepDuration > 0 {
		parts = append(parts, "keepDuration="+rule.KeepDuration.Round(time.Second).String())
	}
	parts = appendBytes(parts, "reservedSpace", rule.ReservedSpace)
	parts = appendBytes(parts, "maxUsedSpace", rule.MaxUsedSpace)
	parts = appendBytes(parts, "minFreeSpace", rule.MinFreeSpace)
	return strings.Join(parts, " ")
}

func appendBytes(parts []string, name string, bytes int64) []string {
	if bytes == 0 {
		return parts
	}
	return append(parts, fmt.Sprintf("%s=%d", name, bytes))
}

// unknownMount begins the ids of mounts whose own can't be read. No program's begins so: those begin with a namespace.
const unknownMount = "?/"

// mountID returns the id of the cache mount that a record is, false for other records. Mounts with a base state have
// the base's reference after their id, which is not taken off. One that can't be read is a mount all the same, with an
// id that unknownMount begins.
func mountID(r *client.UsageInfo) (string, bool) {
	isMount := r.RecordType == client.UsageRecordTypeCacheMount
	if !isMount && !standsFor(r) {
		return "", false
	}
	id, described := solve.CacheMountID(r.Description)
	switch {
	case !described:
		return unknownMount + r.ID, isMount
	case id == "":
		return unknownMount + r.ID, true
	}
	return id, true
}

// standsFor reports whether a record may stand for a cache mount that BuildKit measures for somebody else, such as its
// own garbage collection: it does so on an immutable record with the mount's description, and lists that in place of
// the mount for as long. The descriptions of all other records begin in other ways.
func standsFor(r *client.UsageInfo) bool {
	return r.RecordType == client.UsageRecordTypeRegular && !r.Mutable && r.InUse
}
