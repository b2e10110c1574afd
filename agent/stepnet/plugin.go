// SPDX-License-Identifier: Apache-2.0

package stepnet

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strconv"

	"github.com/containernetworking/cni/pkg/skel"
	"github.com/containernetworking/cni/pkg/types"
	current "github.com/containernetworking/cni/pkg/types/100"
	"github.com/containernetworking/cni/pkg/version"
	"github.com/vishvananda/netlink"
	"github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// pluginType is the plugin's name in a CNI configuration. It is also called as loopback, which buildkitd asks for.
const (
	pluginType   = "stepnet"
	loopbackType = "loopback"
)

// config is what the plugin is called with.
type config struct {
	types.NetConf
	// MTU of the pod's own interface, 0 for the kernel's default.
	MTU int `json:"mtu"`
	// IPv4 and IPv6 are the families that the pod has addresses of.
	IPv4 bool `json:"ipv4"`
	IPv6 bool `json:"ipv6"`
}

// ServePlugin answers one call by CNI, which is in the environment and on standard input, and ends the process if it
// fails.
func ServePlugin() {
	skel.PluginMainFuncs(skel.CNIFuncs{Add: add, Del: remove, Check: check}, version.All, "networks of build steps")
}

func readConfig(args *skel.CmdArgs) (*config, error) {
	conf := &config{}
	if err := json.Unmarshal(args.StdinData, conf); err != nil {
		return nil, fmt.Errorf("read the configuration: %w", err)
	}
	return conf, nil
}

// namespace is the network namespace of steps that a call is about, seen from the pod's.
type namespace struct {
	*netlink.Handle
	file netns.NsHandle
}

func enter(path string) (*namespace, error) {
	file, err := netns.GetFromPath(path)
	if err != nil {
		return nil, fmt.Errorf("open the network namespace: %w", err)
	}
	handle, err := netlink.NewHandleAt(file, unix.NETLINK_ROUTE)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("enter the network namespace: %w", err), file.Close())
	}
	return &namespace{Handle: handle, file: file}, nil
}

func (n *namespace) close() {
	n.Handle.Close()
	n.file.Close()
}

// add gives a network namespace its interface.
func add(args *skel.CmdArgs) error {
	conf, err := readConfig(args)
	if err != nil {
		return err
	}
	inside, err := enter(args.Netns)
	if err != nil {
		return err
	}
	defer inside.close()
	if conf.Type == loopbackType {
		if err := raiseLoopback(inside); err != nil {
			return err
		}
		return types.PrintResult(&current.Result{CNIVersion: current.ImplementedSpecVersion}, conf.CNIVersion)
	}
	if err := forward(conf); err != nil {
		return err
	}
	slot, err := takeSlot(conf, int(inside.file), args.IfName)
	if err != nil {
		return err
	}
	result, err := connect(conf, inside, slot, args)
	if err != nil {
		return errors.Join(err, removeFrom(inside, args.IfName))
	}
	return types.PrintResult(result, conf.CNIVersion)
}

// remove takes the interface of a network namespace away. One that is gone has none.
func remove(args *skel.CmdArgs) error {
	conf, err := readConfig(args)
	if err != nil || conf.Type == loopbackType {
		return err
	}
	if !isNamespace(args.Netns) {
		return nil
	}
	inside, err := enter(args.Netns)
	if err != nil {
		return err
	}
	defer inside.close()
	return removeFrom(inside, args.IfName)
}

// isNamespace reports whether a path is still that of a namespace: a daemon that was killed leaves the files alone.
func isNamespace(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Type == unix.NSFS_MAGIC
}

// check reports whether a network namespace has its interface.
func check(args *skel.CmdArgs) error {
	inside, err := enter(args.Netns)
	if err != nil {
		return err
	}
	defer inside.close()
	_, err = inside.LinkByName(args.IfName)
	return err
}

func removeFrom(inside *namespace, name string) error {
	link, err := inside.LinkByName(name)
	if errors.As(err, &netlink.LinkNotFoundError{}) {
		return nil
	}
	if err == nil {
		err = inside.LinkDel(link)
	}
	if err != nil {
		return fmt.Errorf("remove %s: %w", name, err)
	}
	return nil
}

func raiseLoopback(inside *namespace) error {
	lo, err := inside.LinkByName("lo")
	if err == nil {
		err = inside.LinkSetUp(lo)
	}
	if err != nil {
		return fmt.Errorf("raise the loopback interface: %w", err)
	}
	return nil
}

// takeSlot makes a pair of interfaces, one end of it in the network namespace, and returns its slot. The kernel lets
// one interface have a name, which is what makes a slot one step's.
func takeSlot(conf *config, target int, name string) (int, error) {
	for slot := firstSlot; slot <= lastSlot; slot++ {
		attrs := netlink.NewLinkAttrs()
		attrs.Name, attrs.MTU = hostName(slot), conf.MTU
		err := netlink.LinkAdd(&netlink.Veth{
			LinkAttrs: attrs, PeerName: name, PeerNamespace: netlink.NsFd(target), PeerMTU: uint32(conf.MTU),
		})
		switch {
		case err == nil:
			return slot, nil
		case !errors.Is(err, unix.EEXIST):
			return 0, fmt.Errorf("make the interface of the step: %w", err)
		}
		if _, err := netlink.LinkByName(attrs.Name); err != nil {
			return 0, fmt.Errorf("make the interface of the step: there is a %s already", name)
		}
	}
	return 0, fmt.Errorf("%d network namespaces exist already", lastSlot-firstSlot+1)
}

func hostName(slot int) string { return hostPrefix + strconv.Itoa(slot) }

// connect gives both ends of a pair addresses and routes.
func connect(conf *config, inside *namespace, slot int, args *skel.CmdArgs) (*current.Result, error) {
	outer, err := netlink.LinkByName(hostName(slot))
	if err != nil {
		return nil, fmt.Errorf("find the pod's end: %w", err)
	}
	inner, err := inside.LinkByName(args.IfName)
	if err != nil {
		return nil, fmt.Errorf("find the step's end: %w", err)
	}
	// what comes from a step has the address of that step
	if err := setSysctl("net/ipv4/conf/"+hostName(slot)+"/rp_filter", "1"); err != nil {
		return nil, err
	}
	if err := errors.Join(netlink.LinkSetUp(outer), inside.LinkSetUp(inner)); err != nil {
		return nil, fmt.Errorf("raise the interface of the step: %w", err)
	}
	result := &current.Result{CNIVersion: current.ImplementedSpecVersion, Interfaces: []*current.Interface{
		{Name: hostName(slot), Mac: outer.Attrs().HardwareAddr.String()},
		{Name: args.IfName, Mac: inner.Attrs().HardwareAddr.String(), Sandbox: args.Netns},
	}}
	for _, family := range []struct {
		has, isIPv6 bool
	}{{conf.IPv4, false}, {conf.IPv6, true}} {
		if !family.has {
			continue
		}
		step, gateway := addresses(slot, family.isIPv6)
		if err := route(inside, outer, inner, step, gateway); err != nil {
			return nil, err
		}
		end := 1
		result.IPs = append(result.IPs, &current.IPConfig{Interface: &end, Address: *step, Gateway: gateway.IP})
	}
	return result, nil
}

// route connects the two ends in one family: the step sends everything to the gateway, which is the pod.
func route(inside *namespace, outer, inner netlink.Link, step, gateway *net.IPNet) error {
	at := func(network *net.IPNet) *netlink.Addr { return &netlink.Addr{IPNet: network, Flags: unix.IFA_F_NODAD} }
	everywhere := &net.IPNet{IP: make(net.IP, len(step.IP)), Mask: make(net.IPMask, len(step.IP))}
	err := errors.Join(
		netlink.AddrAdd(outer, at(gateway)),
		inside.AddrAdd(inner, at(step)),
		netlink.RouteReplace(&netlink.Route{
			LinkIndex: outer.Attrs().Index, Dst: step, Scope: netlink.SCOPE_LINK,
		}),
		inside.RouteReplace(&netlink.Route{
			LinkIndex: inner.Attrs().Index, Dst: gateway, Scope: netlink.SCOPE_LINK,
		}),
		inside.RouteReplace(&netlink.Route{
			LinkIndex: inner.Attrs().Index, Dst: everywhere, Gw: gateway.IP, Flags: int(netlink.FLAG_ONLINK),
		}),
	)
	if err != nil {
		return fmt.Errorf("give the step an address and routes: %w", err)
	}
	return nil
}

// forward has the kernel route packets of steps. It is done here and not by Install, because it takes a /proc that can
// be written, which buildkitd has.
func forward(conf *config) error {
	if conf.IPv4 {
		if err := setSysctl("net/ipv4/ip_forward", "1"); err != nil {
			return err
		}
	}
	if !conf.IPv6 {
		return nil
	}
	// A router ignores what others advertise, unless told not to; then the pod would lose its own route.
	own, err := filepath.Glob("/proc/sys/net/ipv6/conf/eth*/accept_ra")
	if err != nil {
		return err
	}
	for _, file := range own {
		name, err := filepath.Rel("/proc/sys", file)
		if err != nil {
			return err
		}
		if err := setSysctl(name, "2"); err != nil {
			return err
		}
	}
	return setSysctl("net/ipv6/conf/all/forwarding", "1")
}

// setSysctl sets a kernel parameter of the network namespace, unless it has the value.
func setSysctl(name, value string) error {
	file := filepath.Join("/proc/sys", name)
	if text, err := os.ReadFile(file); err == nil && string(text) == value+"\n" { //nolint:gosec // a name of ours
		return nil
	}
	if err := os.WriteFile(file, []byte(value), 0); err != nil {
		return fmt.Errorf("set %s: %w", name, err)
	}
	return nil
}
