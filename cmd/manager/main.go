// SPDX-License-Identifier: Apache-2.0

// Command manager runs the controllers of hlb-operator.
package main

import (
	"context"
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"os"
	"strings"
	"time"
	_ "time/tzdata" // schedules name time zones, and the image has no database of them

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/validation"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/manager"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/controllers"
	"github.com/openllb/hlb-operator/controllers/placement"
	"github.com/openllb/hlb-operator/controllers/watchlag"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/fleet/record"
)

// options are the manager's flags.
type options struct {
	operatorImage string
	buildkitImage string
	buildsRole    string
	metricsAddr   string
	healthAddr    string
	pprofAddr     string
	leaderElect   bool
	namespaces    []string
	podNamespace  string
	podName       string
	recordDir     string
	recordLimit   int64
	zap           zap.Options
}

func parseOptions() options {
	var o options
	flag.StringVar(
		&o.operatorImage,
		"operator-image",
		"",
		"Image of the agents. Empty: the image of the manager's own pod.",
	)
	flag.StringVar(
		&o.buildkitImage,
		"buildkit-image",
		"ghcr.io/openllb/hlb-operator-buildkit:v0.34.2",
		"Image of the daemons where a BuildCache names none.",
	)
	flag.StringVar(
		&o.buildsRole,
		"builds-role",
		"hlb-operator-agent-builds",
		"ClusterRole that lets agents read the Secrets and ConfigMaps that builds name.",
	)
	flag.StringVar(
		&o.metricsAddr,
		"metrics-bind-address",
		":8443",
		"Address of the metrics and of /debug/placements, served over HTTPS to whoever may GET them. 0 turns them off.",
	)
	flag.StringVar(&o.healthAddr, "health-probe-bind-address", ":8081", "Address of /healthz and /readyz.")
	flag.StringVar(
		&o.pprofAddr,
		"pprof-bind-address",
		"",
		"Address of /debug/pprof, served to whoever can reach it, so bind it to localhost. Empty: none.",
	)
	flag.BoolVar(&o.leaderElect, "leader-elect", true, "Let only one of several managers act.")
	flag.Func("namespaces", "Comma-separated namespaces whose objects are acted on. Empty: all. See config/namespaced.",
		func(text string) error {
			var err error
			o.namespaces, err = namespacesIn(text)
			return err
		})
	flag.StringVar(&o.podNamespace, "pod-namespace", os.Getenv("POD_NAMESPACE"), "Namespace of the manager's own pod.")
	flag.StringVar(&o.podName, "pod-name", os.Getenv("POD_NAME"), "Name of the manager's own pod.")
	flag.StringVar(
		&o.recordDir,
		"record-dir",
		"",
		"Directory for a recording of what placement observes and decides, for cmd/replay. Empty: none.",
	)
	flag.Int64Var(&o.recordLimit, "record-limit-bytes", 256<<20, "Size of the recording; the oldest files go first.")
	o.zap.BindFlags(flag.CommandLine)
	flag.Parse()
	return o
}

// namespacesIn reads a list of namespaces; nil for an empty one.
func namespacesIn(text string) (out []string, err error) {
	if text == "" {
		return nil, nil
	}
	for n := range strings.SplitSeq(text, ",") {
		if problems := validation.IsDNS1123Label(n); len(problems) > 0 {
			return nil, fmt.Errorf("%q is no namespace: %s", n, problems[0])
		}
		out = append(out, n)
	}
	return out, nil
}

func main() {
	o := parseOptions()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&o.zap)))
	if err := run(ctrl.SetupSignalHandler(), o); err != nil {
		ctrl.Log.Error(err, "Manager ended")
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{clientgoscheme.AddToScheme, v1alpha1.AddToScheme} {
		if err := add(scheme); err != nil {
			return fmt.Errorf("register types: %w", err)
		}
	}
	explain := &placement.Explanations{}
	mgr, err := ctrl.NewManager(ctrl.GetConfigOrDie(), ctrl.Options{
		Scheme: scheme,
		Cache:  controllers.CacheOptions(o.namespaces...),
		Metrics: metricsserver.Options{
			BindAddress:    o.metricsAddr,
			SecureServing:  true,
			FilterProvider: filters.WithAuthenticationAndAuthorization, // of the handlers below too
			ExtraHandlers: map[string]http.Handler{
				placement.ExplainPath:       explain,
				placement.ExplainPath + "/": explain,
			},
			// HTTP/2 had denial-of-service holes
			TLSOpts: []func(*tls.Config){func(c *tls.Config) { c.NextProtos = []string{"http/1.1"} }},
		},
		HealthProbeBindAddress: o.healthAddr,
		PprofBindAddress:       o.pprofAddr,
		LeaderElection:         o.leaderElect,
		LeaderElectionID:       "hlb-operator.build.openllb.dev",
		// Nothing runs after the manager stops, so a successor need not wait for the lease to run out.
		LeaderElectionReleaseOnCancel: true,
		LeaderElectionNamespace:       o.podNamespace,
	})
	if err != nil {
		return fmt.Errorf("create manager: %w", err)
	}
	if o.operatorImage == "" {
		if o.operatorImage, err = ownImage(ctx, mgr.GetAPIReader(), o); err != nil {
			return err
		}
	}
	install := controllers.Install{
		Images:     workload.Images{Operator: o.operatorImage, BuildKit: o.buildkitImage},
		BuildsRole: o.buildsRole,
		Explain:    explain,
	}
	if o.recordDir != "" {
		if install.Recorder, err = record.Open(o.recordDir, o.recordLimit); err != nil {
			return err
		}
		if err := mgr.Add(recording(install.Recorder)); err != nil {
			return fmt.Errorf("add the recording: %w", err)
		}
	}
	if err := controllers.Setup(ctx, mgr, install); err != nil {
		return err
	}
	if err := addProbes(mgr); err != nil {
		return fmt.Errorf("add probes: %w", err)
	}
	return mgr.Start(ctx)
}

// addProbes serves /healthz, which is that the process lives, and /readyz, which is that it could lead.
func addProbes(mgr ctrl.Manager) error {
	lag := &watchlag.Probe{Cache: mgr.GetCache(), Live: mgr.GetAPIReader()}
	return errors.Join(mgr.AddHealthzCheck("healthz", healthz.Ping),
		mgr.AddReadyzCheck("caches", cachesFilled(mgr.GetCache())),
		mgr.AddReadyzCheck("watches", lag.Check), mgr.Add(lag))
}

// recording runs the recorder. Builds are placed without a recording too, so a full disk does not end the manager.
func recording(r *record.Recorder) manager.RunnableFunc {
	return func(ctx context.Context) error {
		if err := r.Start(ctx); err != nil {
			ctrl.Log.Error(err, "Failed to record, nothing is recorded until the manager is restarted")
		}
		return nil
	}
}

// cachesFilled reports whether a manager could lead: one that has not read all that it watches can't take over at once.
func cachesFilled(c cache.Cache) healthz.Checker {
	return func(r *http.Request) error {
		ctx, cancel := context.WithTimeout(r.Context(), time.Second)
		defer cancel()
		if !c.WaitForCacheSync(ctx) {
			return errors.New("not everything that is watched was read yet")
		}
		return nil
	}
}

// ownImage is the image of the manager's own container: manager and agent are always of one version.
func ownImage(ctx context.Context, c client.Reader, o options) (string, error) {
	pod := &corev1.Pod{}
	if err := c.Get(ctx, client.ObjectKey{Namespace: o.podNamespace, Name: o.podName}, pod); err != nil {
		return "", fmt.Errorf("find the agents' image in the manager's own pod (or give --operator-image): %w", err)
	}
	for _, container := range pod.Spec.Containers {
		if container.Name == "manager" {
			return container.Image, nil
		}
	}
	return "", fmt.Errorf(
		"pod %s has no container \"manager\" to take the agents' image from; give --operator-image",
		o.podName,
	)
}
