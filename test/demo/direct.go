// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	bkclient "github.com/moby/buildkit/client"

	"github.com/openllb/hlb-operator/hlb"
	"github.com/openllb/hlb-operator/hlb/solve"
)

// direct is a plain BuildKit client of the daemon that the operator chose: what the operator is measured against.
type direct struct {
	client *bkclient.Client
	golang string
	image  string
}

func newDirect(ctx context.Context, d *demo) (*direct, error) {
	client, err := d.cluster.BuildKit(ctx, namespace, d.report.Daemon)
	if err != nil {
		return nil, err
	}
	return &direct{client: client, golang: d.cluster.Images["golang"], image: d.cluster.Info.Registry +
		"/demo-hello:plain"}, nil
}

func (d *direct) close() { d.client.Close() }

// solve compiles the program, which is not counted, and returns the seconds that one plain solve with its push takes.
func (d *direct) solve(ctx context.Context, words string) (float64, error) {
	program := hlb.Program{Filename: "hello.hlb", Source: []byte(source(d.golang, words))}
	request, findings, err := solve.Compile(ctx, d.client, program, hlb.Options{CacheMountNamespace: namespace},
		solve.Options{})
	if err != nil {
		return 0, err
	}
	if err := findings.Err(); err != nil {
		return 0, err
	}
	definition := request.Targets[0].Final.Definition
	export := bkclient.ExportEntry{Type: bkclient.ExporterImage,
		Attrs: map[string]string{"name": d.image, "push": "true"}}
	started := time.Now()
	_, err = d.client.Solve(ctx, definition, bkclient.SolveOpt{Exports: []bkclient.ExportEntry{export}}, nil)
	return time.Since(started).Seconds(), err
}
