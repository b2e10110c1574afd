// SPDX-License-Identifier: Apache-2.0

// Command agent runs the builds that are bound to the buildkitd of its pod. Its exit codes are those of package agent.
// It starts itself as a child for each program that is to be compiled, see package agent/compile.
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
	"github.com/openllb/hlb-operator/agent/compile"
	"github.com/openllb/hlb-operator/agent/compile/child"
	"github.com/openllb/hlb-operator/agent/daemon"
)

func main() {
	if len(os.Args) > 1 && os.Args[1] == child.Command {
		os.Exit(child.Main(os.Args[2:], os.Stdin, os.Stdout, os.Stderr))
	}
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

// self is this program, also where its file was replaced.
const self = "/proc/self/exe"

func run(ctx context.Context, opts agent.Options) error {
	// BuildKit's auth provider keeps a random seed, no credential, where docker keeps its configuration; the home
	// directory can't be written.
	config.SetDir(filepath.Join(os.TempDir(), "hlb-agent"))
	api, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("find the API server: %w", err)
	}
	compiler := compile.New([]string{self, child.Command}, opts.ShareMemory())
	defer compiler.Close()
	d, err := daemon.Dial(context.WithoutCancel(ctx), opts.BuildKitAddr, compiler)
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
