// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"
)

// nodeIndex returns the position of a node in Nodes.
func nodeIndex(node string) (int, error) {
	i := slices.Index(Nodes, node)
	if i < 0 {
		return 0, fmt.Errorf("no node %q: the nodes are %v", node, Nodes)
	}
	return i, nil
}

// StartNode starts a node that was killed (or never ran) and waits until it is Ready.
func (c *Cluster) StartNode(ctx context.Context, node string) error {
	if err := c.buildTools(ctx); err != nil {
		return err
	}
	if err := c.startNode(node); err != nil {
		return err
	}
	a, err := c.api()
	if err != nil {
		return err
	}
	return c.awaitNode(ctx, a, node)
}

// KillNode ends a node as a power failure would: every process, mount and interface at once. Its volumes stay on disk.
func (c *Cluster) KillNode(node string) error {
	i, err := nodeIndex(node)
	if err != nil {
		return err
	}
	if err := freeze(node, false); err != nil { // a frozen process does not die
		return fmt.Errorf("thaw node %s: %w", node, err)
	}
	if err := c.kill("node-"+node, syscall.SIGKILL, 30*time.Second); err != nil {
		return err
	}
	if err := unplug(i); err != nil {
		return err
	}
	return removeCgroups(node)
}

// PauseNode freezes every process of a node, pods included; its network answers pings no more. ResumeNode thaws it.
func (c *Cluster) PauseNode(node string) error { return c.setFrozen(node, true) }

// ResumeNode continues a paused node.
func (c *Cluster) ResumeNode(node string) error { return c.setFrozen(node, false) }

func (c *Cluster) setFrozen(node string, frozen bool) error {
	if err := c.mustRun(node); err != nil {
		return err
	}
	return freeze(node, frozen)
}

// PartitionNode cuts a node's network; everything on the node goes on running. HealNode joins it again.
func (c *Cluster) PartitionNode(node string) error { return c.setLink(node, "down") }

// HealNode ends a partition.
func (c *Cluster) HealNode(node string) error { return c.setLink(node, "up") }

func (c *Cluster) setLink(node, state string) error {
	if err := c.mustRun(node); err != nil {
		return err
	}
	i, err := nodeIndex(node)
	if err != nil {
		return err
	}
	return ip("link set " + port(i) + " " + state)
}

// mustRun returns an error unless node is a running node.
func (c *Cluster) mustRun(node string) error {
	if _, err := nodeIndex(node); err != nil {
		return err
	}
	if _, alive := c.find("node-" + node); !alive {
		return fmt.Errorf("node %s does not run", node)
	}
	return nil
}

// startNode starts the node's first process in new namespaces and plugs its network in; it does not wait for kubelet.
func (c *Cluster) startNode(node string) error {
	i, err := nodeIndex(node)
	if err != nil {
		return err
	}
	if _, alive := c.find("node-" + node); alive {
		return nil
	}
	if err := c.writeNodeFiles(i); err != nil {
		return fmt.Errorf("write the files of node %s: %w", node, err)
	}
	if err := c.makeMountPoints(); err != nil {
		return err
	}
	if err := removeCgroups(node); err != nil { // of an earlier life that ended without us
		return err
	}
	if err := makeCgroups(node); err != nil {
		return err
	}
	ready, told, err := os.Pipe()
	if err != nil {
		return err
	}
	defer told.Close()
	defer ready.Close()
	cmd := exec.Command(filepath.Join(c.tools.nodeinit, "nodeinit"), c.nodePath(node, "node.json"))
	cmd.ExtraFiles = []*os.File{ready}
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Setsid:     true,
		Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS,
	}
	p, err := c.spawnCmd("node-"+node, cmd)
	if err != nil {
		return err
	}
	if err := errors.Join(enterCgroups(node, p.Pid), c.plug(i, p.Pid)); err != nil {
		return errors.Join(err, c.KillNode(node))
	}
	_, err = told.Write([]byte{1})
	return err
}

// awaitNode waits until the node's own kubelet has reported Ready in this life of the node and its storage driver is
// known.
func (c *Cluster) awaitNode(ctx context.Context, a *api, node string) error {
	born, err := os.Stat(c.path("pids", "node-"+node))
	if err != nil {
		return err
	}
	return poll(ctx, "wait for node "+node, func() error {
		if err := c.mustRun(node); err != nil {
			return fmt.Errorf("%w: %s", err, c.logTail("node-"+node))
		}
		var n nodeObject
		if err := a.get(ctx, "/api/v1/nodes/"+node, &n); err != nil {
			return err
		}
		if n.readySince(born.ModTime()) != nil {
			return n.readySince(born.ModTime())
		}
		var driver struct {
			Spec struct{ Drivers []struct{ Name string } }
		}
		if err := a.get(ctx, "/apis/storage.k8s.io/v1/csinodes/"+node, &driver); err != nil {
			return err
		}
		if len(driver.Spec.Drivers) == 0 {
			return errors.New("its storage driver is not registered")
		}
		return nil
	})
}

// nodeObject is the part of a Node that is read here.
type nodeObject struct {
	Metadata struct{ Name string }
	Spec     struct {
		Taints []struct{ Key, Effect string }
	}
	Status struct {
		Conditions []struct {
			Type, Status, Reason, Message string
			LastHeartbeatTime             time.Time
		}
	}
}

// cordoned is the taint of a node that was cordoned, which is independent of its health.
const cordoned = "node.kubernetes.io/unschedulable"

// readySince returns nil when the kubelet reported Ready after t; times in the API have whole seconds.
func (n nodeObject) readySince(t time.Time) error {
	for _, cond := range n.Status.Conditions {
		if cond.Type != "Ready" {
			continue
		}
		if cond.Status != "True" {
			return fmt.Errorf("not ready: %s: %s", cond.Reason, cond.Message)
		}
		if cond.LastHeartbeatTime.Before(t.Truncate(time.Second)) {
			return errors.New("no sign of life since its start")
		}
		for _, taint := range n.Spec.Taints {
			if taint.Key != cordoned && (taint.Effect == "NoSchedule" || taint.Effect == "NoExecute") {
				return fmt.Errorf("taint %s still stands", taint.Key)
			}
		}
		return nil
	}
	return errors.New("no Ready condition yet")
}
