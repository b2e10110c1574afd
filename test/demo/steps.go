// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/status"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

const (
	namespace = "hlb-demo"
	// warmRuns is how many edits are built either way; the median leaves out a hiccup of a busy machine.
	warmRuns = 3
	// buildTimeout is generous: a cold build takes a minute on two cores.
	buildTimeout = 15 * time.Minute
	firstWords   = "Hello from a cold build"
)

// demo carries what one step leaves to the next.
type demo struct {
	cluster *harness.Cluster
	report  *report
	cache   *v1alpha1.BuildCache
	build   *v1alpha1.HLBBuild
	words   string // what the image prints by now
}

// fleet makes the demo's namespace anew and a BuildCache in it.
func (d *demo) fleet(ctx context.Context) error {
	if err := d.cluster.DeleteNamespace(ctx, namespace); err != nil {
		return err
	}
	if err := d.cluster.Namespace(ctx, namespace); err != nil {
		return err
	}
	d.cache = d.cluster.BuildCache(namespace, "demo", 3, "10Gi", fmt.Sprintf("demo-cache-%d", time.Now().Unix()))
	started := time.Now()
	if err := d.cluster.Client.Create(ctx, d.cache); err != nil {
		return err
	}
	if err := d.cluster.WaitCache(ctx, d.cache); err != nil {
		return err
	}
	d.report.FleetSeconds = time.Since(started).Seconds()
	return nil
}

func (d *demo) cold(ctx context.Context) error {
	text := source(d.cluster.Images["golang"], firstWords)
	d.build = &v1alpha1.HLBBuild{
		ObjectMeta: metav1.ObjectMeta{Name: "hello", Namespace: namespace},
		Spec: v1alpha1.HLBBuildSpec{
			CacheRef: v1alpha1.CacheReference{Name: d.cache.Name},
			HLB:      &v1alpha1.HLBSpec{Inline: &text},
			Outputs:  []v1alpha1.OutputSpec{{Name: "hello", Image: d.cluster.Info.Registry + "/demo-hello:latest"}},
		},
	}
	started := time.Now()
	if err := d.cluster.Client.Create(ctx, d.build); err != nil {
		return err
	}
	if err := d.wait(ctx); err != nil {
		return err
	}
	d.report.ColdSeconds = time.Since(started).Seconds()
	d.report.Daemon = d.build.Status.Placement.Daemon
	d.report.SameDaemon = true
	return d.awaitExport(ctx)
}

// wait waits for the build's current run and for its success.
func (d *demo) wait(ctx context.Context) error {
	if err := d.cluster.WaitBuild(ctx, d.build, buildTimeout); err != nil {
		return err
	}
	if d.build.Status.Failure != nil {
		return fmt.Errorf("the build failed: %s", harness.Describe(d.build))
	}
	return nil
}

// awaitExport waits for the registry cache, which is written after the build is Ready.
func (d *demo) awaitExport(ctx context.Context) error {
	return harness.Eventually(ctx, 5*time.Minute, "the registry cache is exported",
		func(ctx context.Context) (bool, error) {
			if err := d.cluster.Client.Get(ctx, client.ObjectKeyFromObject(d.build), d.build); err != nil {
				return false, err
			}
			return meta.IsStatusConditionTrue(d.build.Status.Conditions, v1alpha1.ConditionCacheExported), nil
		})
}

// edit changes the program's words and returns the seconds until the build is Ready again.
func (d *demo) edit(ctx context.Context, words string) (float64, error) {
	before := d.build.DeepCopy()
	text := source(d.cluster.Images["golang"], words)
	d.build.Spec.HLB.Inline = &text
	started := time.Now()
	if err := d.cluster.Client.Patch(ctx, d.build, client.MergeFrom(before)); err != nil {
		return 0, err
	}
	if err := d.wait(ctx); err != nil {
		return 0, err
	}
	d.words = words
	return time.Since(started).Seconds(), nil
}

// warm edits the program in turns: once as a user of the operator, once as a plain client of the same daemon.
func (d *demo) warm(ctx context.Context) error {
	direct, err := newDirect(ctx, d)
	if err != nil {
		return err
	}
	defer direct.close()
	var warm, plain []float64
	for i := range warmRuns {
		seconds, err := direct.solve(ctx, fmt.Sprintf("Hello from plain edit %d", i))
		if err != nil {
			return fmt.Errorf("plain client: %w", err)
		}
		plain = append(plain, seconds)
		if seconds, err = d.edit(ctx, fmt.Sprintf("Hello from warm edit %d", i)); err != nil {
			return err
		}
		warm = append(warm, seconds)
		if d.build.Status.Placement.Daemon != d.report.Daemon {
			d.report.SameDaemon = false
		}
	}
	d.report.WarmSeconds, d.report.DirectWarmSeconds = median(warm), median(plain)
	return nil
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}

func (d *demo) runImage(ctx context.Context) error {
	out := d.build.Status.Outputs[0]
	name, _, _ := strings.Cut(out.Image, ":latest")
	d.report.Image = name + "@" + out.Digest
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "hello", Namespace: namespace},
		Spec: corev1.PodSpec{
			RestartPolicy: corev1.RestartPolicyNever,
			Containers:    []corev1.Container{{Name: "hello", Image: d.report.Image}},
		},
	}
	if err := d.cluster.Client.Create(ctx, pod); err != nil {
		return err
	}
	logs, err := d.cluster.PodLogs(ctx, namespace, "hello")
	if err != nil {
		return err
	}
	d.report.ImageRuns = strings.TrimSpace(logs) == d.words
	return nil
}

// fresh deletes the key's daemon with its volume and builds the first source again, on a daemon that is fresh for it.
func (d *demo) fresh(ctx context.Context) error {
	gone := &v1alpha1.BuildDaemon{ObjectMeta: metav1.ObjectMeta{Name: d.report.Daemon, Namespace: namespace}}
	if err := d.cluster.Client.Delete(ctx, gone); err != nil {
		return err
	}
	err := harness.Eventually(ctx, time.Minute, "the daemon takes no builds", func(ctx context.Context) (bool, error) {
		daemon := &v1alpha1.BuildDaemon{}
		err := d.cluster.Client.Get(ctx, client.ObjectKeyFromObject(gone), daemon)
		if apierrors.IsNotFound(err) {
			return true, nil
		}
		return err == nil && !status.TakesBuilds(daemon), err
	})
	if err != nil {
		return err
	}
	seconds, err := d.edit(ctx, firstWords)
	if err != nil {
		return err
	}
	d.report.FreshImportSeconds = seconds
	d.report.FreshDaemon = d.build.Status.Placement.Daemon
	d.report.FreshCachedSteps, d.report.FreshTotalSteps = d.build.Status.Steps.Cached, d.build.Status.Steps.Total
	if cache := d.build.Status.Cache; cache == nil || !cache.Fresh {
		return fmt.Errorf("the build landed on %s, which was not fresh", d.report.FreshDaemon)
	}
	return nil
}
