// SPDX-License-Identifier: Apache-2.0

package stepnet

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	"github.com/vishvananda/netlink"

	"github.com/openllb/hlb-operator/internal/statefile"
)

// Files in the folder that Install fills.
const (
	// ConfigFile is the CNI configuration, absent where steps get no networks of their own.
	ConfigFile = "steps.conflist"
	// BinDir holds the plugins.
	BinDir = "bin"
	// StateFile is the State.
	StateFile = "state.json"
)

// State is what came of an Install.
type State struct {
	// Isolated: steps have networks of their own.
	Isolated bool `json:"isolated"`
	// Message is why they have none, empty if they do.
	Message string `json:"message,omitempty"`
}

// stateLimit bounds what is read of a state file, in bytes.
const stateLimit = 64 << 10

// ReadState reads what Install has left in a folder.
func ReadState(dir string) (s State, err error) {
	if err := statefile.New(filepath.Join(dir, StateFile), stateLimit).LoadJSON(&s); err != nil {
		return s, fmt.Errorf("read the state of the network: %w", err)
	}
	return s, nil
}

// Installation is what Install does.
type Installation struct {
	// Dir is the folder to fill. buildkitd must see it at the same path.
	Dir string
	// Program is the path of this program.
	Program string
	// ResolvConf is the pod's resolv.conf.
	ResolvConf string
	Policy     Policy
	// Required makes it an error that steps can have no networks here. Otherwise it is in the State, and they share
	// the pod's.
	Required bool
}

// Install prepares the network namespace of this process and fills the folder. It can be repeated.
func (i *Installation) Install() error {
	if err := os.Remove(filepath.Join(i.Dir, ConfigFile)); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove an earlier configuration: %w", err)
	}
	state := State{Isolated: true}
	conf, err := i.prepare()
	switch {
	case err != nil && i.Required:
		return fmt.Errorf("steps can have no networks of their own here: %w", err)
	case err != nil:
		state = State{Message: err.Error()}
	default:
		if err := i.installPlugin(conf); err != nil {
			return err
		}
	}
	text, err := json.Marshal(state)
	if err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(i.Dir, StateFile), text, 0o644) //nolint:gosec // for the agent, another user
}

// prepare loads the firewall and finds out what the pod's network is like. An error is about the node.
func (i *Installation) prepare() (*config, error) {
	nameservers, err := readNameservers(i.ResolvConf)
	if err != nil {
		return nil, err
	}
	conf, err := podNetwork()
	if err != nil {
		return nil, err
	}
	if err := tryInterface(); err != nil {
		return nil, err
	}
	return conf, apply(firewall(i.Policy, nameservers))
}

// installPlugin puts the program and its configuration into the folder, the latter last.
func (i *Installation) installPlugin(conf *config) error {
	bin := filepath.Join(i.Dir, BinDir)
	if err := os.MkdirAll(bin, 0o755); err != nil { //nolint:gosec // for buildkitd, whatever its user
		return fmt.Errorf("make the plugins' folder: %w", err)
	}
	program, err := os.ReadFile(i.Program)
	if err != nil {
		return fmt.Errorf("read the plugin: %w", err)
	}
	for _, name := range []string{pluginType, loopbackType} {
		if err := os.WriteFile(filepath.Join(bin, name), program, 0o755); err != nil { //nolint:gosec // a program
			return fmt.Errorf("put the plugin into its folder: %w", err)
		}
	}
	plugin := map[string]any{"type": pluginType, "mtu": conf.MTU, "ipv4": conf.IPv4, "ipv6": conf.IPv6}
	text, err := json.Marshal(map[string]any{"cniVersion": "1.0.0", "name": "steps", "plugins": []any{plugin}})
	if err != nil {
		return err
	}
	file := filepath.Join(i.Dir, ConfigFile)
	if err := os.WriteFile(file, text, 0o644); err != nil { //nolint:gosec // no secret, and for buildkitd
		return fmt.Errorf("write the plugin's configuration: %w", err)
	}
	return nil
}

// podNetwork finds the families and the smallest MTU of the pod's interfaces.
func podNetwork() (*config, error) {
	links, err := netlink.LinkList()
	if err != nil {
		return nil, fmt.Errorf("list the pod's interfaces: %w", err)
	}
	conf := &config{}
	for _, l := range links {
		a := l.Attrs()
		if a.Flags&net.FlagLoopback != 0 || strings.HasPrefix(a.Name, hostPrefix) {
			continue
		}
		addrs, err := netlink.AddrList(l, netlink.FAMILY_ALL)
		if err != nil {
			return nil, fmt.Errorf("list the addresses of %s: %w", a.Name, err)
		}
		for _, addr := range addrs {
			if !addr.IP.IsGlobalUnicast() {
				continue
			}
			isIPv4 := addr.IP.To4() != nil
			conf.IPv4, conf.IPv6 = conf.IPv4 || isIPv4, conf.IPv6 || !isIPv4
			if conf.MTU == 0 || a.MTU < conf.MTU {
				conf.MTU = a.MTU
			}
		}
	}
	if !conf.IPv4 && !conf.IPv6 {
		return nil, errors.New("the pod has no address")
	}
	return conf, nil
}

// tryInterface makes a pair of interfaces and removes it.
func tryInterface() error {
	attrs := netlink.NewLinkAttrs()
	attrs.Name = hostPrefix + "try"
	pair := &netlink.Veth{LinkAttrs: attrs, PeerName: "steptry"}
	err := netlink.LinkAdd(pair)
	if err == nil {
		err = netlink.LinkDel(pair)
	}
	if err != nil {
		return fmt.Errorf("make a pair of interfaces: %w", err)
	}
	return nil
}

// maxNameservers bounds the name servers that are read; a resolver uses three.
const maxNameservers = 8

// readNameservers reads the name servers of a resolv.conf, but for those on the pod's loopback, which steps don't use.
func readNameservers(file string) ([]netip.Addr, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read the name servers: %w", err)
	}
	defer f.Close()
	var out []netip.Addr
	lines := bufio.NewScanner(io.LimitReader(f, stateLimit))
	for lines.Scan() && len(out) < maxNameservers {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "nameserver" {
			continue
		}
		if a, err := netip.ParseAddr(fields[1]); err == nil && !a.IsLoopback() {
			out = append(out, a.WithZone("").Unmap())
		}
	}
	return out, lines.Err()
}
