// SPDX-License-Identifier: Apache-2.0

package buildkittest

import (
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/openllb/hlb-operator/hack/toolchain"
)

// Network is a network namespace as a pod's: one interface leads out of it, and its steps have networks of their own
// where cmd/stepnet can give them some. Registries of a daemon in it are reached at its loopback.
type Network struct {
	// Inside and Outside are the addresses of the two ends of the interface: the pod's, and the test's.
	Inside, Outside string

	t       testing.TB
	name    string // of the namespace
	dir     string // what cmd/stepnet fills
	program string // cmd/stepnet
}

// StartNetwork makes a network namespace and removes it when the test ends. nameservers are the lines of its
// resolv.conf, flags those of `stepnet install`.
func StartNetwork(t testing.TB, nameservers string, flags ...string) *Network {
	t.Helper()
	chosen := make([]byte, 2)
	rand.Read(chosen) //nolint:errcheck // never fails
	subnet := binary.BigEndian.Uint16(chosen) &^ 3
	at := func(host uint16) string { return fmt.Sprintf("10.91.%d.%d", subnet>>8, subnet&0xff|host) }
	n := &Network{Inside: at(2), Outside: at(1), t: t, name: "hlb" + strings.ToLower(rand.Text()[:8]), dir: shortDir(t)}
	n.ip("netns add " + n.name)
	t.Cleanup(func() { n.ip("netns del " + n.name) })
	n.ip("link add " + n.name + " type veth peer name eth0 netns " + n.name)
	n.ip("addr add " + n.Outside + "/30 dev " + n.name)
	n.ip("link set " + n.name + " up")
	n.ip("-n " + n.name + " addr add " + n.Inside + "/30 dev eth0")
	n.ip("-n " + n.name + " link set eth0 up")
	n.ip("-n " + n.name + " link set lo up")
	n.ip("-n " + n.name + " route add default via " + n.Outside)
	if err := os.WriteFile(n.resolvConf(), []byte(nameservers), 0o644); err != nil {
		t.Fatal(err)
	}
	n.program = buildStepnet(t)
	if err := n.Install(flags...); err != nil {
		t.Fatal(err)
	}
	return n
}

// Install runs `stepnet install` in the namespace, again with other flags.
func (n *Network) Install(flags ...string) error {
	args := []string{"netns", "exec", n.name, n.program, "install", "-dir", n.dir, "-resolv-conf", n.resolvConf()}
	if text, err := exec.Command("ip", append(args, flags...)...).CombinedOutput(); err != nil {
		return fmt.Errorf("stepnet install: %w\n%s", err, text)
	}
	return nil
}

func (n *Network) resolvConf() string { return filepath.Join(n.dir, "resolv.conf") }

// Program is the path of cmd/stepnet.
func (n *Network) Program() string { return n.program }

// Dir is the folder that cmd/stepnet has filled.
func (n *Network) Dir() string { return n.dir }

// IP runs the ip command in the namespace.
func (n *Network) IP(command string) {
	n.t.Helper()
	n.ip("-n " + n.name + " " + command)
}

// Do calls f in the namespace: sockets that it makes itself are there.
func (n *Network) Do(f func()) {
	n.t.Helper()
	done := make(chan error, 1)
	go func() {
		runtime.LockOSThread() // and never unlocked, so that the thread ends with the goroutine
		file, err := os.Open("/run/netns/" + n.name)
		if err == nil {
			defer file.Close()
			err = unix.Setns(int(file.Fd()), unix.CLONE_NEWNET)
		}
		if err == nil {
			f()
		}
		done <- err
	}()
	if err := <-done; err != nil {
		n.t.Errorf("enter the network namespace: %v", err)
	}
}

// Listen listens in the namespace until the test ends.
func (n *Network) Listen(address string) net.Listener {
	n.t.Helper()
	var l net.Listener
	var err error
	n.Do(func() { l, err = net.Listen("tcp", address) })
	if err != nil {
		n.t.Fatalf("listen in the network namespace: %v", err)
	}
	n.t.Cleanup(func() { l.Close() })
	return l
}

// forward has an address of the test's loopback answer at the namespace's.
func (n *Network) forward(address string) {
	l := n.Listen(address)
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				out, err := net.Dial("tcp", address)
				if err != nil {
					return
				}
				defer out.Close()
				go func() {
					io.Copy(out, conn)              //nolint:errcheck // the end of either side is no error
					out.(*net.TCPConn).CloseWrite() //nolint:errcheck // it may be closed
				}()
				io.Copy(conn, out) //nolint:errcheck // see above
			}()
		}
	}()
}

// ip runs the ip command; arguments must hold no spaces.
func (n *Network) ip(command string) {
	n.t.Helper()
	if text, err := exec.Command("ip", strings.Fields(command)...).CombinedOutput(); err != nil {
		n.t.Fatalf("ip %s: %v\n%s", command, err, text)
	}
}

// worker are the lines for buildkitd.toml, as package workload writes them.
func (n *Network) worker() string {
	return fmt.Sprintf("networkMode = \"cni\"\ncniConfigPath = %q\ncniBinaryPath = %q\n",
		filepath.Join(n.dir, "steps.conflist"), filepath.Join(n.dir, "bin"))
}

// buildStepnet builds cmd/stepnet and returns its path.
func buildStepnet(t testing.TB) string {
	t.Helper()
	chain, err := toolchain.New(os.Stderr)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "stepnet")
	cmd := exec.CommandContext(t.Context(), "go", "build", "-trimpath", "-buildvcs=false", "-ldflags", "-s -w", "-o",
		file, "./cmd/stepnet")
	cmd.Dir, cmd.Env = chain.Root, append(os.Environ(), "CGO_ENABLED=0", "GOFLAGS=")
	if text, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("build stepnet: %v\n%s", err, text)
	}
	return file
}

// AddOutside gives the test's end of the interface another address.
func (n *Network) AddOutside(address string) {
	n.t.Helper()
	n.ip("addr add " + address + "/32 dev " + n.name)
}
