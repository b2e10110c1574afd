// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/exporter/containerimage/exptypes"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
)

// writtenManifest is under what BuildKit describes the cache manifest that it wrote: ExporterResponseManifestDesc of
// its cache/remotecache, which would bring the whole daemon into the agent.
const writtenManifest = "cache.manifest"

// ErrNothingToExport says that the build has no step that a registry cache could hold. BuildKit exports no step
// without inputs, such as a mkfile on scratch, and leaves out a manifest without layers.
var ErrNothingToExport = errors.New("no step of the build has a result that a registry cache holds")

// ExportCache writes the registry cache of a job that Build has just done to job.Plan.Export. Its steps are in the
// daemon's cache, so that only the export itself takes time; those that Build has imported are imported again, or
// they would be run now. All targets go into one manifest. It returns ErrNothingToExport when there is none to be
// written.
func (d *Daemon) ExportCache(ctx context.Context, job *Job, out *Outcome) error {
	if out.request == nil {
		return errors.New("there is no build to export the cache of")
	}
	attach, _, err := attachables(job)
	if err != nil {
		return err
	}
	failure := ""
	ch, drained := make(chan *client.SolveStatus), make(chan struct{})
	go func() {
		defer close(drained)
		for s := range ch {
			for _, v := range s.Vertexes {
				if v.Error != "" && strings.HasPrefix(v.Name, "exporting cache") && !out.request.Has(v.Digest) {
					failure = v.Error
				}
			}
		}
	}()
	done, err := d.client.Build(ctx, client.SolveOpt{
		Session:             attach,
		CacheExports:        []client.CacheOptionsEntry{cacheExport(job)},
		AllowedEntitlements: job.Entitlements,
		Internal:            true,
	}, "", func(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
		return out.solveTargets(ctx, job.Steps.gateway()(gw), job.Plan.Imports)
	}, ch)
	<-drained
	switch {
	case err != nil && failure != "":
		return errors.New(failure)
	case err != nil:
		return err
	case done.ExporterResponse[writtenManifest] == "":
		return ErrNothingToExport
	}
	return nil
}

// solveTargets solves the filesystems of all targets again with the same imports, as parts of one result. BuildKit
// takes several parts for platforms of one image, and wants to be told which; without an image among the exports, the
// names mean nothing.
func (o *Outcome) solveTargets(ctx context.Context, gw gateway.Client, imports []string) (*gateway.Result, error) {
	res := gateway.NewResult()
	var parts exptypes.Platforms
	var again []gateway.CacheOptionsEntry
	for _, entry := range cacheImports(imports) {
		again = append(again, gateway.CacheOptionsEntry(entry))
	}
	for i, target := range o.request.Targets {
		if target.Final.Empty() {
			continue
		}
		solved, err := gw.Solve(
			ctx,
			gateway.SolveRequest{Definition: target.Final.Definition.ToPB(), Evaluate: true, CacheImports: again},
		)
		if err != nil {
			return nil, fmt.Errorf("solve target %s again: %w", target.Name, err)
		}
		ref, err := solved.SingleRef()
		if err != nil {
			return nil, err
		}
		if ref != nil {
			id := fmt.Sprint(i)
			res.AddRef(id, ref)
			parts.Platforms = append(parts.Platforms, exptypes.Platform{ID: id, Platform: target.Final.Platform})
		}
	}
	mapping, err := json.Marshal(parts)
	if err != nil {
		return nil, err
	}
	res.AddMeta(exptypes.ExporterPlatformsKey, mapping)
	return res, nil
}

func cacheExport(job *Job) client.CacheOptionsEntry {
	return client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{
		"ref": job.Plan.Export, "mode": job.Registry.ExportMode, "compression": job.Registry.ExportCompression,
		"force-compression": "false",
		"image-manifest":    "true", "oci-mediatypes": "true",
	}}
}
