// SPDX-License-Identifier: Apache-2.0

package scale

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// tenantNamespaces is how many namespaces the objects of other tenants are spread over.
const tenantNamespaces = 10

// renewEvery is how often other tenants renew each of their Leases, as kubelets do.
const renewEvery = 10 * time.Second

// renewers is how many clients renew Leases at once.
const renewers = 4

// addTenants fills the cluster with objects that are nobody's here: ConfigMaps of 4 KiB, running Pods, and Leases that
// are renewed until the test ends.
func (f *fleet) addTenants(configMaps, pods, leases int) {
	f.t.Helper()
	namespaces := make([]string, tenantNamespaces)
	f.createAll(len(namespaces), func(ctx context.Context, i int) error {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: "tenant-"}}
		err := f.client.Create(ctx, ns)
		namespaces[i] = ns.Name
		return err
	})
	f.createAll(configMaps, func(ctx context.Context, i int) error {
		return f.client.Create(ctx, tenantConfigMap(namespaces[i%tenantNamespaces], i))
	})
	f.createAll(pods, func(ctx context.Context, i int) error {
		pod := tenantPod(namespaces[i%tenantNamespaces], i)
		if err := f.client.Create(ctx, pod); err != nil {
			return err
		}
		run(pod)
		return f.client.Status().Update(ctx, pod)
	})
	held := make([]*coordinationv1.Lease, leases)
	f.createAll(leases, func(ctx context.Context, i int) error {
		held[i] = tenantLease(namespaces[i%tenantNamespaces], i)
		return f.client.Create(ctx, held[i])
	})
	f.renew(held)
}

// createAll calls create with 0 to n-1, from eight workers at once.
func (f *fleet) createAll(n int, create func(ctx context.Context, i int) error) {
	f.t.Helper()
	workers, ctx := errgroup.WithContext(f.t.Context())
	workers.SetLimit(8)
	for i := range n {
		workers.Go(func() error { return create(ctx, i) })
	}
	if err := workers.Wait(); err != nil {
		f.t.Fatal(err)
	}
}

// renew renews Leases in the background until the test ends.
func (f *fleet) renew(leases []*coordinationv1.Lease) {
	ctx, cancel := context.WithCancel(context.Background())
	var all sync.WaitGroup
	var failures atomic.Int64
	for first := range renewers {
		all.Go(func() {
			for ctx.Err() == nil {
				begun := time.Now()
				for i := first; i < len(leases) && ctx.Err() == nil; i += renewers {
					if err := f.renewOne(ctx, leases[i]); err != nil && ctx.Err() == nil {
						failures.Add(1)
					}
					pause(ctx, time.Until(begun.Add(renewEvery*time.Duration(i+1)/time.Duration(len(leases)))))
				}
				pause(ctx, time.Until(begun.Add(renewEvery)))
			}
		})
	}
	f.t.Cleanup(func() {
		cancel()
		all.Wait()
		if n := failures.Load(); n > 0 {
			f.t.Logf("%d renewals of other tenants' Leases failed", n)
		}
	})
}

// renewOne renews a Lease. After an error it is read anew, since the renewal may have arrived all the same.
func (f *fleet) renewOne(ctx context.Context, lease *coordinationv1.Lease) error {
	lease.Spec.RenewTime = &metav1.MicroTime{Time: time.Now()}
	err := f.client.Update(ctx, lease)
	if err == nil {
		return nil
	}
	if readErr := f.client.Get(ctx, client.ObjectKeyFromObject(lease), lease); readErr != nil {
		return readErr
	}
	return err
}

// pause waits until d has passed or ctx is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

func tenantConfigMap(namespace string, i int) *corev1.ConfigMap {
	return &corev1.ConfigMap{
		ObjectMeta: tenantMeta(namespace, "settings", i),
		Data:       map[string]string{"settings.yaml": strings.Repeat(fmt.Sprintf("setting-%05d: value\n", i), 200)},
	}
}

func tenantPod(namespace string, i int) *corev1.Pod {
	pod := &corev1.Pod{ObjectMeta: tenantMeta(namespace, "web", i)}
	pod.Spec.NodeName = fmt.Sprintf("node-%d", i/50)
	pod.Spec.Volumes = []corev1.Volume{{
		Name: "settings",
		VolumeSource: corev1.VolumeSource{ConfigMap: &corev1.ConfigMapVolumeSource{
			LocalObjectReference: corev1.LocalObjectReference{Name: fmt.Sprintf("settings-%05d", i)},
		}},
	}}
	for _, name := range []string{"server", "proxy"} {
		c := corev1.Container{
			Name: name, Image: "registry.example.com/team/" + name + ":v1.2.3",
			Args:         []string{"--port=8080", "--verbose"},
			VolumeMounts: []corev1.VolumeMount{{Name: "settings", MountPath: "/etc/settings"}},
		}
		for n := range 15 {
			c.Env = append(c.Env, corev1.EnvVar{Name: fmt.Sprintf("SETTING_%d", n), Value: "as the tenant wants it"})
		}
		pod.Spec.Containers = append(pod.Spec.Containers, c)
	}
	return pod
}

// run gives a Pod the status that its kubelet would.
func run(pod *corev1.Pod) {
	now := metav1.Now()
	pod.Status.Phase, pod.Status.StartTime, pod.Status.PodIP = corev1.PodRunning, &now, "10.0.0.1"
	for _, kind := range []corev1.PodConditionType{corev1.PodScheduled, corev1.PodInitialized, corev1.PodReady} {
		pod.Status.Conditions = append(pod.Status.Conditions, corev1.PodCondition{
			Type: kind, Status: corev1.ConditionTrue, LastTransitionTime: now,
		})
	}
	for i := range pod.Spec.Containers {
		pod.Status.ContainerStatuses = append(pod.Status.ContainerStatuses, corev1.ContainerStatus{
			Name: pod.Spec.Containers[i].Name, Image: pod.Spec.Containers[i].Image, Ready: true, Started: ptr.To(true),
			State: corev1.ContainerState{Running: &corev1.ContainerStateRunning{StartedAt: now}},
		})
	}
}

func tenantLease(namespace string, i int) *coordinationv1.Lease {
	return &coordinationv1.Lease{
		ObjectMeta: tenantMeta(namespace, "node", i),
		Spec: coordinationv1.LeaseSpec{
			HolderIdentity: ptr.To(fmt.Sprintf("node-%d", i)), LeaseDurationSeconds: ptr.To[int32](40),
			RenewTime: &metav1.MicroTime{Time: time.Now()},
		},
	}
}

func tenantMeta(namespace, app string, i int) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Namespace: namespace, Name: fmt.Sprintf("%s-%05d", app, i),
		Labels: map[string]string{"app.kubernetes.io/name": app, "app.kubernetes.io/managed-by": "a-tenant"},
	}
}
