// SPDX-License-Identifier: Apache-2.0

package localcluster

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// nodeIP is the address of the i-th node (from 0) on the bridge.
func nodeIP(i int) string { return fmt.Sprintf("10.99.0.%d", i+1) }

// podSubnet is the range of the i-th node's pods.
func podSubnet(i int) string { return fmt.Sprintf("10.244.%d.0/24", i+1) }

// port is the host's end of the i-th node's cable.
func port(i int) string { return fmt.Sprintf("hlbport%d", i+1) }

// claimBridge makes the bridge, or finds it and makes sure that it is ours: its alias names the checkout that made it.
func (c *Cluster) claimBridge() error {
	owner, exists, err := bridgeOwner()
	if err != nil {
		return err
	}
	if exists && owner != c.Root {
		if err := c.takeOver(owner); err != nil {
			return err
		}
		exists = false
	}
	if !exists {
		if err := ip("link add " + bridge + " type bridge"); err != nil {
			return err
		}
		if err := run("ip", "link", "set", bridge, "alias", c.Root); err != nil {
			return err
		}
	}
	if err := ip("addr replace " + hostIP + networkBits + " dev " + bridge); err != nil {
		return err
	}
	return ip("link set " + bridge + " up")
}

// takeOver removes what is left of another checkout's cluster, unless one of its processes still runs: a session or a
// CI job that was ended from outside leaves its bridge, cgroups and mounts behind.
func (c *Cluster) takeOver(owner string) error {
	other := &Cluster{Root: owner, Dir: filepath.Join(owner, "bin", "cluster"), Log: c.Log}
	if owner == "" || other.runs() {
		return fmt.Errorf(
			"another local cluster holds the bridge %s: run `go run ./hack/cluster down` in %s first",
			bridge,
			owner,
		)
	}
	if err := other.Down(); err != nil {
		return fmt.Errorf("remove what is left of the cluster in %s: %w", owner, err)
	}
	if _, still, err := bridgeOwner(); err != nil || !still {
		return err
	}
	return ip("link del " + bridge) // its checkout is gone from the disk
}

// runs reports whether any recorded process of the cluster is alive.
func (c *Cluster) runs() bool {
	records, err := os.ReadDir(c.path("pids"))
	if err != nil {
		return false // no record: nothing was started
	}
	for _, r := range records {
		if _, alive := c.find(r.Name()); alive {
			return true
		}
	}
	return false
}

// bridgeOwner reads the checkout noted on the bridge.
func bridgeOwner() (owner string, exists bool, err error) {
	if _, err := os.Stat("/sys/class/net/" + bridge); err != nil {
		return "", false, nil
	}
	text, err := exec.Command("ip", "-json", "link", "show", bridge).Output()
	if err != nil {
		return "", false, fmt.Errorf("ip link show %s: %w", bridge, err)
	}
	var links []struct {
		Alias string `json:"ifalias"`
	}
	if err := json.Unmarshal(text, &links); err != nil || len(links) != 1 {
		return "", false, fmt.Errorf("ip link show %s: unexpected answer %q", bridge, text)
	}
	return links[0].Alias, true, nil
}

// plug gives the node whose first process is pid its eth0, plugged into the bridge.
func (c *Cluster) plug(i, pid int) error {
	unplug(i) //nolint:errcheck // usually there is nothing left over
	for _, command := range []string{
		fmt.Sprintf("link add %s type veth peer name eth0 netns %d", port(i), pid),
		fmt.Sprintf("link set %s master %s up", port(i), bridge),
		fmt.Sprintf("route replace %s via %s dev %s", podSubnet(i), nodeIP(i), bridge),
	} {
		if err := ip(command); err != nil {
			return err
		}
	}
	return nil
}

// unplug removes the node's cable; the kernel does so too once the node's namespaces are gone, but later.
func unplug(i int) error {
	if !isPlugged(i) {
		return nil
	}
	err := ip("link del " + port(i))
	if err != nil && !isPlugged(i) {
		return nil // the kernel was faster
	}
	return err
}

func isPlugged(i int) bool {
	_, err := os.Stat("/sys/class/net/" + port(i))
	return err == nil
}

// ip runs the ip command; arguments must hold no spaces.
func ip(command string) error { return run("ip", strings.Fields(command)...) }

// run runs a command and returns what it printed as the error when it fails.
func run(name string, args ...string) error {
	text, err := exec.Command(name, args...).CombinedOutput()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return fmt.Errorf("%s %s: %s", name, strings.Join(args, " "), strings.TrimSpace(string(text)))
	}
	return err
}
