// SPDX-License-Identifier: Apache-2.0

package daemon

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/moby/buildkit/client"
	gateway "github.com/moby/buildkit/frontend/gateway/client"
)

// ExportCache writes the registry cache of a job that Build has just done to job.Plan.Export. Its steps are in the daemon's cache, so that only the
// export itself takes time. All targets go into one manifest.
func (d *Daemon) ExportCache(ctx context.Context, job *Job, out *Outcome) error {
	if out.request == nil {
		return errors.New("there is no build to export the cache of")
	}
	attach, err := attachables(job)
	if err != nil {
		return err
	}
	failure := ""
	ch, drained := make(chan *client.SolveStatus), make(chan struct{})
	go func() {
		defer close(drained)
		for s := range ch {
			for _, v := range s.Vertexes {
				if v.Error != "" && strings.HasPrefix(v.Name, "exporting cache") {
					failure = v.Error
				}
			}
		}
	}()
	_, err = d.client.Build(ctx, client.SolveOpt{
		Session:             attach,
		CacheExports:        []client.CacheOptionsEntry{cacheExport(job)},
		AllowedEntitlements: job.Entitlements,
	}, "", out.solveTargets, ch)
	<-drained
	if err != nil && failure != "" {
		return errors.New(failure)
	}
	return err
}

// solveTargets solves the filesystems of all targets again, as parts of one result.
func (o *Outcome) solveTargets(ctx context.Context, gw gateway.Client) (*gateway.Result, error) {
	res := gateway.NewResult()
	for i, target := range o.request.Targets {
		if target.Final.Empty() {
			continue
		}
		solved, err := gw.Solve(ctx, gateway.SolveRequest{Definition: target.Final.Definition.ToPB(), Evaluate: true})
		if err != nil {
			return nil, fmt.Errorf("solve target %s again: %w", target.Name, err)
		}
		ref, err := solved.SingleRef()
		if err != nil {
			return nil, err
		}
		if ref != nil {
			res.AddRef(fmt.Sprint(i), ref)
		}
	}
	return res, nil
}

func cacheExport(job *Job) client.CacheOptionsEntry {
	how := job.Registry.Export
	return client.CacheOptionsEntry{Type: "registry", Attrs: map[string]string{
		"ref": job.Plan.Export, "mode": how.Mode, "compression": how.Compression, "force-compression": "false",
		"image-manifest": "true", "oci-mediatypes": "true",
	}}
}
