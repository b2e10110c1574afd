// SPDX-License-Identifier: Apache-2.0

// Package controllers sets up the manager's reconcilers, each in a folder of its own: buildcache (the fleet), workload
// (what a BuildDaemon runs as), builddaemon (liveness), hlbbuild (runs and attempts) and placement (the scheduling
// loop). Agents run the builds; nothing here talks to a daemon.
package controllers

import (
	"context"
	"fmt"

	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/openllb/hlb-operator/controllers/buildcache"
	"github.com/openllb/hlb-operator/controllers/builddaemon"
	"github.com/openllb/hlb-operator/controllers/hlbbuild"
	"github.com/openllb/hlb-operator/controllers/liveness"
	"github.com/openllb/hlb-operator/controllers/placement"
	"github.com/openllb/hlb-operator/controllers/watches"
	"github.com/openllb/hlb-operator/controllers/workload"
	"github.com/openllb/hlb-operator/fleet/record"
	"github.com/openllb/hlb-operator/scheduler"
)

// What the manager may do; config/rbac/role.yaml is generated from this. It holds whatever it grants to agents, since
// Kubernetes lets nobody grant more than they have. For itself it patches and never updates, see CacheOptions; agents
// update their Leases.
//
// +kubebuilder:rbac:groups=build.openllb.dev,resources=buildcaches;hlbbuilds,verbs=get;list;watch
// +kubebuilder:rbac:groups=build.openllb.dev,resources=buildcaches,verbs=patch
// +kubebuilder:rbac:groups=build.openllb.dev,resources=hlbbuilds,verbs=delete
// +kubebuilder:rbac:groups=build.openllb.dev,resources=buildcaches/status;hlbbuilds/status;builddaemons/status,verbs=get;patch
// +kubebuilder:rbac:groups=build.openllb.dev,resources=buildcaches/finalizers;builddaemons/finalizers,verbs=update
// +kubebuilder:rbac:groups=build.openllb.dev,resources=builddaemons,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=apps,resources=statefulsets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=configmaps;serviceaccounts,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups="",resources=pods,verbs=get;list;watch;patch;delete
// +kubebuilder:rbac:groups="",resources=persistentvolumeclaims,verbs=get;list;watch;patch;delete
// +kubebuilder:rbac:groups="",resources=events,verbs=list
// +kubebuilder:rbac:groups="",resources=nodes,verbs=get
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch
// +kubebuilder:rbac:groups="",resources=namespaces/status,verbs=patch
// +kubebuilder:rbac:groups=storage.k8s.io,resources=storageclasses,verbs=get;list;watch
// +kubebuilder:rbac:groups=coordination.k8s.io,resources=leases,verbs=get;list;watch;create;update;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles;rolebindings,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,resourceNames=hlb-operator-agent-builds,verbs=bind
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=policy,resources=poddisruptionbudgets,verbs=get;list;watch;create;patch;delete
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// Install is what the controllers need to know of the installation; every field but Recorder is set.
type Install struct {
	Images workload.Images
	// BuildsRole is the name of the ClusterRole that lets agents read what builds name.
	BuildsRole string
	// Explain keeps the rounds of placement for whoever serves them.
	Explain *placement.Explanations
	// Recorder records what placement observes and decides; nil for nothing.
	Recorder *record.Recorder
}

// Setup adds every controller of the manager, and the indexes they share.
func Setup(ctx context.Context, mgr ctrl.Manager, install Install) error {
	if err := watches.AddIndexes(ctx, mgr.GetFieldIndexer()); err != nil {
		return err
	}
	c, live := mgr.GetClient(), mgr.GetAPIReader()
	recorder, now := mgr.GetEventRecorder("hlb-operator"), clock.RealClock{}
	alive := &liveness.Watch{Client: c, Live: live, Clock: now}
	controllers := map[string]interface{ SetupWithManager(ctrl.Manager) error }{
		"BuildCache": &buildcache.Reconciler{
			Client:     c,
			Events:     recorder,
			Clock:      now,
			Images:     install.Images,
			BuildsRole: install.BuildsRole,
			Live:       live,
		},
		"workload": &workload.Reconciler{
			Client: c, Live: live, Events: recorder, Clock: now, Images: install.Images,
		},
		"BuildDaemon": &builddaemon.Reconciler{Client: c, Events: recorder, Clock: now, Live: live, Liveness: alive},
		"HLBBuild":    &hlbbuild.Reconciler{Client: c, Events: recorder, Clock: now, Liveness: alive},
		"placement": &placement.Reconciler{
			Client:   c,
			Live:     live,
			Events:   recorder,
			Clock:    now,
			Params:   scheduler.DefaultParams(),
			Explain:  install.Explain,
			Recorder: install.Recorder,
		},
	}
	for name, controller := range controllers {
		if err := controller.SetupWithManager(mgr); err != nil {
			return fmt.Errorf("set up the %s controller: %w", name, err)
		}
	}
	return nil
}
