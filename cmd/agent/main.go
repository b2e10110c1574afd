// SPDX-License-Identifier: Apache-2.0

// Command agent runs the builds that are bound to the buildkitd of its pod. Its exit codes are those of package agent.
package main

import (
	"context"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	_ "time/tzdata" // schedules name time zones, and the image has no database of them

	"github.com/docker/cli/cli/config"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/openllb/hlb-operator/agent"
	"github.com/openllb/hlb-operator/agent/daemon"
)

func main() {
	opts, logging := agent.DefaultOptions(), zap.Options{}
	opts.AddFlags(flag.CommandLine)
	logging.BindFlags(flag.CommandLine)
	flag.Parse()
	log := zap.New(zap.UseFlagOptions(&logging))
	ctrl.SetLogger(log)
	klog.SetLogger(log)
	err := run(ctrl.SetupSignalHandler(), opts)
	if err != nil {
		log.Error(err, "The agent ended")
	}
	os.Exit(agent.ExitCode(err))
}

func run(ctx context.Context, opts agent.Options) error {
	// BuildKit's auth provider keeps a random seed, no credential, where docker keeps its configuration; the home
	// directory can't be written.
	config.SetDir(filepath.Join(os.TempDir(), "hlb-agent"))
	api, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	d, err := daemon.Dial(context.WithoutCancel(ctx), opts.BuildKitAddr)
	if err != nil {
		return err
	}
	defer d.Close()
	a, err := agent.New(api, opts, d, ctrl.Log)
	if err != nil {
		return err
	}
	return a.Run(ctx)
}
