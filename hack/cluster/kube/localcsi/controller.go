// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	core "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/cache"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/client-go/util/workqueue"
)

const (
	selectedNode  = "volume.kubernetes.io/selected-node"       // set by the scheduler on a claim whose pod it placed
	provisioner   = "volume.kubernetes.io/storage-provisioner" // set by the claim's class
	provisionedBy = "pv.kubernetes.io/provisioned-by"
	nodeAttribute = "node"
)

// smallest is the least size of a volume: mkfs.xfs makes no smaller file system. A claim may get more than it asks for.
var smallest = resource.MustParse("300Mi")

// controller provisions, grows and deletes volumes.
type controller struct {
	client kubernetes.Interface
	nodes  string // folder with a folder a node
	queue  workqueue.TypedRateLimitingInterface[item]
}

// item names a claim (with a namespace) or a volume (without).
type item struct{ namespace, name string }

func runController(ctx context.Context, kubeconfig, nodes string) error {
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return err
	}
	config.QPS, config.Burst = 100, 200
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return err
	}
	limiter := workqueue.NewTypedItemExponentialFailureRateLimiter[item](50*time.Millisecond, 10*time.Second)
	c := &controller{client, nodes, workqueue.NewTypedRateLimitingQueue(limiter)}
	factory := informers.NewSharedInformerFactory(client, 0)
	for _, informer := range []cache.SharedIndexInformer{
		factory.Core().V1().PersistentVolumeClaims().Informer(), factory.Core().V1().PersistentVolumes().Informer(),
	} {
		if _, err := informer.AddEventHandler(cache.ResourceEventHandlerFuncs{
			AddFunc: c.enqueue, UpdateFunc: func(_, now any) { c.enqueue(now) },
		}); err != nil {
			return err
		}
	}
	factory.Start(ctx.Done())
	context.AfterFunc(ctx, c.queue.ShutDown)
	for c.next(ctx) {
	}
	return nil
}

func (c *controller) enqueue(object any) {
	if o, ok := object.(meta.Object); ok {
		c.queue.Add(item{o.GetNamespace(), o.GetName()})
	}
}

// next handles one item; it returns false when the queue was shut down.
func (c *controller) next(ctx context.Context) bool {
	it, shutdown := c.queue.Get()
	if shutdown {
		return false
	}
	defer c.queue.Done(it)
	handle := c.handleVolume
	if it.namespace != "" {
		handle = c.handleClaim
	}
	if err := handle(ctx, it); err != nil && !apierrors.IsNotFound(err) {
		fmt.Fprintf(os.Stderr, "%s/%s: %v\n", it.namespace, it.name, err)
		c.queue.AddRateLimited(it)
		return true
	}
	c.queue.Forget(it)
	return true
}

// handleClaim provisions a volume for a claim whose pod has a node, and grows the volume of a claim that asks for more.
func (c *controller) handleClaim(ctx context.Context, it item) error {
	claim, err := c.client.CoreV1().PersistentVolumeClaims(it.namespace).Get(ctx, it.name, meta.GetOptions{})
	if err != nil {
		return err
	}
	switch {
	case claim.Annotations[provisioner] != driver || claim.DeletionTimestamp != nil:
		return nil
	case claim.Spec.VolumeName == "" && claim.Annotations[selectedNode] != "":
		return c.provision(ctx, claim)
	case claim.Status.Phase == core.ClaimBound:
		return c.grow(ctx, claim)
	}
	return nil
}

// provision creates the claim's PersistentVolume; its name follows from the claim, so a second try finds the first.
func (c *controller) provision(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	class, err := c.client.StorageV1().StorageClasses().Get(ctx, *claim.Spec.StorageClassName, meta.GetOptions{})
	if err != nil {
		return err
	}
	node, size := claim.Annotations[selectedNode], claim.Spec.Resources.Requests[core.ResourceStorage]
	if size.Cmp(smallest) < 0 {
		size = smallest
	}
	volume := &core.PersistentVolume{
		ObjectMeta: meta.ObjectMeta{
			Name:        "pvc-" + string(claim.UID),
			Annotations: map[string]string{provisionedBy: driver},
		},
		Spec: core.PersistentVolumeSpec{
			Capacity: core.ResourceList{core.ResourceStorage: size}, AccessModes: claim.Spec.AccessModes,
			PersistentVolumeReclaimPolicy: *class.ReclaimPolicy, StorageClassName: class.Name,
			MountOptions: class.MountOptions,
			ClaimRef: &core.ObjectReference{
				Kind:       "PersistentVolumeClaim",
				APIVersion: "v1",
				Namespace:  claim.Namespace,
				Name:       claim.Name,
				UID:        claim.UID,
			},
			PersistentVolumeSource: core.PersistentVolumeSource{CSI: &core.CSIPersistentVolumeSource{
				Driver: driver, VolumeHandle: "pvc-" + string(claim.UID), FSType: "xfs",
				VolumeAttributes: map[string]string{
					nodeAttribute: node,
					sizeAttribute: strconv.FormatInt(size.Value(), 10),
				},
			}},
			NodeAffinity: &core.VolumeNodeAffinity{
				Required: &core.NodeSelector{NodeSelectorTerms: []core.NodeSelectorTerm{{
					MatchExpressions: []core.NodeSelectorRequirement{
						{Key: core.LabelHostname, Operator: core.NodeSelectorOpIn, Values: []string{node}},
					},
				}}},
			},
		},
	}
	_, err = c.client.CoreV1().PersistentVolumes().Create(ctx, volume, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// grow raises the volume's capacity to what the claim asks for and leaves the rest to the node, through kubelet.
func (c *controller) grow(ctx context.Context, claim *core.PersistentVolumeClaim) error {
	volume, err := c.client.CoreV1().PersistentVolumes().Get(ctx, claim.Spec.VolumeName, meta.GetOptions{})
	if err != nil {
		return err
	}
	wanted := claim.Spec.Resources.Requests[core.ResourceStorage]
	have, granted := volume.Spec.Capacity[core.ResourceStorage], claim.Status.Capacity[core.ResourceStorage]
	if volume.Spec.CSI == nil || volume.Spec.CSI.Driver != driver || wanted.Cmp(granted) <= 0 {
		return nil
	}
	if wanted.Cmp(have) > 0 {
		volume.Spec.Capacity[core.ResourceStorage] = wanted
		if _, err := c.client.CoreV1().PersistentVolumes().Update(ctx, volume, meta.UpdateOptions{}); err != nil {
			return err
		}
	}
	if claim.Status.AllocatedResourceStatuses[core.ResourceStorage] == core.PersistentVolumeClaimNodeResizePending {
		return nil
	}
	claim.Status.AllocatedResources = core.ResourceList{core.ResourceStorage: wanted}
	claim.Status.AllocatedResourceStatuses = map[core.ResourceName]core.ClaimResourceStatus{
		core.ResourceStorage: core.PersistentVolumeClaimNodeResizePending,
	}
	claim.Status.Conditions = []core.PersistentVolumeClaimCondition{{
		Type: core.PersistentVolumeClaimFileSystemResizePending, Status: core.ConditionTrue,
		LastTransitionTime: meta.Now(),
		Message:            "Waiting for the node to grow the file system.",
	}}
	_, err = c.client.CoreV1().PersistentVolumeClaims(claim.Namespace).UpdateStatus(ctx, claim, meta.UpdateOptions{})
	return err
}

// handleVolume deletes a released volume with its file, unless its policy is to keep it.
func (c *controller) handleVolume(ctx context.Context, it item) error {
	volume, err := c.client.CoreV1().PersistentVolumes().Get(ctx, it.name, meta.GetOptions{})
	if err != nil {
		return err
	}
	source := volume.Spec.CSI
	if source == nil || source.Driver != driver || volume.Status.Phase != core.VolumeReleased ||
		volume.Spec.PersistentVolumeReclaimPolicy != core.PersistentVolumeReclaimDelete {
		return nil
	}
	file := filepath.Join(
		c.nodes,
		filepath.Base(source.VolumeAttributes[nodeAttribute]),
		"volumes",
		filepath.Base(source.VolumeHandle)+".img",
	)
	if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return c.client.CoreV1().PersistentVolumes().Delete(ctx, volume.Name, meta.DeleteOptions{})
}
