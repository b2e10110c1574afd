// SPDX-License-Identifier: Apache-2.0

package agent

import (
	"errors"
	"flag"
	"fmt"
	"net"
	"path/filepath"
	"strings"
	"time"

	"github.com/openllb/hlb-operator/internal/attempt"
)

// Options are the agent's settings. The manager writes them into the daemon's pod.
type Options struct {
	// Namespace the agent works in.
	Namespace string
	// Cache is the name of the BuildCache that the daemon belongs to.
	Cache string
	// Daemon is the name of the BuildDaemon, its Lease and its pod.
	Daemon string
	// PodUID is the UID of the pod; it is part of the agent's identity.
	PodUID string
	// Node is the name of the pod's node, for status only.
	Node string
	// BuildKitAddr is where buildkitd listens, unix:///run/buildkit/buildkitd.sock in a pod.
	BuildKitAddr string
	// StateDir is a directory on the daemon's volume, for state files and logs.
	StateDir string
	// CopierPath is where the program that copies cache mounts lies; it is run in build steps, not by the agent.
	CopierPath string
	// RestartFile is what the agent makes to have buildkitd restarted by its liveness probe, empty for nothing.
	RestartFile string
	// NetworkDir is what cmd/stepnet has filled; empty where steps share the pod's network.
	NetworkDir string
	// HealthAddr is where /healthz and /readyz are served, "host:port"; empty for nowhere.
	HealthAddr string
	// MemoryBytes is the memory of the agent's container, 0 for no limit.
	MemoryBytes int64
	// DaemonMemoryBytes is the memory of buildkitd's container, or of the node where that has no limit; 0 for unknown.
	// It is in the messages about killed steps.
	DaemonMemoryBytes int64
	// DrainTimeout is how long running builds are waited for when the agent must stop.
	DrainTimeout time.Duration
	// Lease is how the daemon's Lease is kept.
	Lease attempt.Timing
	// ObserveEvery is the time between observations of the daemon when nothing happens.
	ObserveEvery time.Duration
}

// DefaultOptions are the settings that need not be given.
func DefaultOptions() Options {
	return Options{
		BuildKitAddr: "unix:///run/buildkit/buildkitd.sock",
		StateDir:     "/var/lib/hlb-agent",
		CopierPath:   "/mountcopy",
		HealthAddr:   ":8081",
		DrainTimeout: time.Hour,
		Lease:        attempt.DefaultTiming(),
		ObserveEvery: 30 * time.Second,
	}
}

// AddFlags makes each option a flag.
func (o *Options) AddFlags(flags *flag.FlagSet) {
	for _, f := range []struct {
		value       *string
		name, usage string
	}{
		{&o.Namespace, "namespace", "the namespace to work in"},
		{&o.Cache, "cache", "the name of the BuildCache"},
		{&o.Daemon, "daemon", "the name of the BuildDaemon, which is also that of its Lease and of the pod"},
		{&o.PodUID, "pod-uid", "the UID of the pod"},
		{&o.Node, "node", "the name of the node"},
		{&o.BuildKitAddr, "buildkit-addr", "the address of buildkitd"},
		{&o.StateDir, "state-dir", "a directory on the daemon's volume for state files and logs"},
		{&o.CopierPath, "copier-path", "the path of the program that copies cache mounts in build steps"},
		{&o.RestartFile, "restart-file", "the file to make to have buildkitd restarted; empty for none"},
		{&o.NetworkDir, "network-dir", "what stepnet has filled; empty where steps share the pod's network"},
		{&o.HealthAddr, "health-addr", "where to serve /healthz and /readyz; empty for nowhere"},
	} {
		flags.StringVar(f.value, f.name, *f.value, f.usage)
	}
	flags.Int64Var(&o.MemoryBytes, "memory-bytes", o.MemoryBytes, "the memory of the agent's container; 0 for no limit")
	flags.Int64Var(&o.DaemonMemoryBytes, "daemon-memory-bytes", o.DaemonMemoryBytes,
		"the memory of buildkitd's container, or of the node; 0 for unknown")
	for _, f := range []struct {
		value       *time.Duration
		name, usage string
	}{
		{&o.DrainTimeout, "drain-timeout", "how long to wait for running builds when told to stop"},
		{&o.Lease.RenewEvery, "lease-renew-every", "the time between renewals of the Lease"},
		{&o.Lease.FenceAfter, "lease-fence-after",
			"how old the last renewal may be before all builds are cancelled"},
		{&o.Lease.Duration, "lease-duration", "the duration of the Lease, in whole seconds"},
		{&o.ObserveEvery, "observe-every", "the time between observations of the daemon when nothing happens"},
	} {
		flags.DurationVar(f.value, f.name, *f.value, f.usage)
	}
}

// Validate returns a *UsageError that names everything that is wrong, nil if nothing is.
func (o *Options) Validate() error {
	var errs []error
	for flag, value := range map[string]string{
		"namespace": o.Namespace, "cache": o.Cache, "daemon": o.Daemon, "pod-uid": o.PodUID,
		"buildkit-addr": o.BuildKitAddr,
	} {
		if value == "" {
			errs = append(errs, fmt.Errorf("--%s is missing", flag))
		}
	}
	if strings.Contains(o.PodUID, "/") {
		errs = append(errs, errors.New("--pod-uid must not hold a slash"))
	}
	if !filepath.IsAbs(o.StateDir) {
		errs = append(errs, fmt.Errorf("--state-dir must be an absolute path, not %q", o.StateDir))
	}
	if _, _, err := net.SplitHostPort(o.HealthAddr); o.HealthAddr != "" && err != nil {
		errs = append(errs, fmt.Errorf("--health-addr: %w", err))
	}
	if o.DrainTimeout < 0 || o.ObserveEvery <= 0 {
		errs = append(errs, errors.New("--drain-timeout must not be negative and --observe-every must be positive"))
	}
	errs = append(errs, o.Lease.Validate())
	if err := errors.Join(errs...); err != nil {
		return &UsageError{err}
	}
	return nil
}
