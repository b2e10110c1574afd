// SPDX-License-Identifier: Apache-2.0

// Command demo shows what hlb-operator is for, on the local cluster or (CLUSTER=current) on the current kubeconfig's:
// a real Go program is built cold, edited and built warm, run as a pod, and then built on a daemon that has never
// seen it. It prints a table and writes out/demo.json.
package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/go-logr/logr/funcr"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// report is out/demo.json.
type report struct {
	// ColdSeconds and WarmSeconds are from applying the HLBBuild until it is Ready. Warm is the median of warmRuns
	// edits.
	ColdSeconds float64 `json:"coldSeconds"`
	WarmSeconds float64 `json:"warmSeconds"`
	// DirectWarmSeconds is the median of as many equal edits, solved by a plain BuildKit client on the same daemon.
	DirectWarmSeconds float64 `json:"directWarmSeconds"`
	// SameDaemon says that every warm build went where the cold one had.
	SameDaemon bool `json:"sameDaemon"`
	// FreshImportSeconds is the cold build's source again on a daemon that had never seen it, from applying until
	// Ready.
	FreshImportSeconds float64 `json:"freshImportSeconds"`
	FreshCachedSteps   int32   `json:"freshCachedSteps"`
	FreshTotalSteps    int32   `json:"freshTotalSteps"`
	// ImageRuns says that the pushed image ran as a pod and printed what the last edit made it print.
	ImageRuns bool `json:"imageRuns"`

	ClusterSeconds float64 `json:"clusterSeconds"`
	FleetSeconds   float64 `json:"fleetSeconds"`
	Daemon         string  `json:"daemon"`
	FreshDaemon    string  `json:"freshDaemon"`
	Image          string  `json:"image"`
}

func main() {
	// Warnings of the API server come by this logger; without one, its absence is reported with a stack trace.
	log.SetLogger(funcr.New(func(prefix, text string) {
		fmt.Fprintln(os.Stderr, "demo:", prefix, text)
	}, funcr.Options{}))
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		stop()
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	var r report
	started := time.Now()
	cluster, err := harness.Open(ctx, os.Stderr)
	if err != nil {
		return err
	}
	if err := cluster.Install(ctx); err != nil {
		return err
	}
	r.ClusterSeconds = time.Since(started).Seconds()
	d := &demo{cluster: cluster, report: &r}
	for _, step := range []struct {
		name string
		do   func(context.Context) error
	}{
		{"make a BuildCache of three daemons", d.fleet},
		{"build cold", d.cold},
		{"edit and build warm", d.warm},
		{"run the image", d.runImage},
		{"build on a fresh daemon", d.fresh},
	} {
		fmt.Fprintln(os.Stderr, "demo:", step.name)
		if err := step.do(ctx); err != nil {
			return fmt.Errorf("%s: %w", step.name, err)
		}
	}
	if err := write(&r); err != nil {
		return err
	}
	r.print(os.Stdout)
	return r.check()
}

func write(r *report) error {
	text, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	if err := os.MkdirAll("out", 0o755); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join("out", "demo.json"), append(text, '\n'), 0o644)
}
