// SPDX-License-Identifier: Apache-2.0

package stepnet_test

import (
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"

	"github.com/openllb/hlb-operator/agent/stepnet"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// pods counts them, since each has a name server of its own.
var pods atomic.Int32

const metadata = "169.254.169.254"

// pod is a daemon in a network namespace, with something that answers at each place that a step may want to reach.
type pod struct {
	t       *testing.T
	network *buildkittest.Network
	daemon  *buildkittest.Daemon
	client  *client.Client
	busybox string
	// places are host:port by name.
	places map[string]string
}

func startPod(t *testing.T) *pod {
	t.Helper()
	number := pods.Add(1)
	nameserver := fmt.Sprintf("10.90.%d.%d", os.Getpid()%256, number)
	n := buildkittest.StartNetwork(t, "nameserver "+nameserver+"\n")
	outside := func(ip string) string {
		l, err := net.Listen("tcp", net.JoinHostPort(ip, "0"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return greet(l)
	}
	n.AddOutside(metadata)
	n.AddOutside(nameserver)
	dns, err := net.Listen("tcp", nameserver+":53")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	registry := buildkittest.StartRegistry(t)
	p := &pod{t: t, network: n, busybox: registry.Busybox(), places: map[string]string{
		"another machine":         outside(n.Outside),
		"another port of it":      outside(n.Outside),
		"the metadata service":    outside(metadata),
		"the loopback of the pod": greet(n.Listen("127.0.0.1:0")),
		"the pod's address":       greet(n.Listen(n.Inside + ":0")),
		"the gateway":             greet(n.Listen("0.0.0.0:0")),
		"the name server":         greet(dns),
	}}
	_, port, err := net.SplitHostPort(p.places["the gateway"])
	if err != nil {
		t.Fatal(err)
	}
	p.places["the gateway"] = "198.18.0.1:" + port
	p.daemon = buildkittest.Start(t, buildkittest.Options{Network: n, Registries: []string{registry.Address}})
	p.client = p.daemon.Client()
	return p
}

// greet answers whoever connects and returns the address.
func greet(l net.Listener) string {
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			io.WriteString(conn, "hello\n") //nolint:errcheck // the step sees it
			conn.Close()
		}
	}()
	return l.Addr().String()
}

// run runs a script in a step and returns its output.
func (p *pod) run(script string, options ...llb.RunOption) (string, error) {
	p.t.Helper()
	options = append(options, llb.Args([]string{"/bin/sh", "-c", script}), llb.AddEnv("SALT", rand.Text()))
	def, err := llb.Image(p.busybox).Run(options...).Root().Marshal(p.t.Context())
	if err != nil {
		p.t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(p.t.Context(), time.Minute)
	defer cancel()
	statuses, log := make(chan *client.SolveStatus), make(chan string)
	go func() {
		var text strings.Builder
		for s := range statuses {
			for _, l := range s.Logs {
				text.Write(l.Data)
			}
		}
		log <- text.String()
	}()
	host := []string{entitlements.EntitlementNetworkHost.String()}
	_, err = p.client.Solve(ctx, def, client.SolveOpt{AllowedEntitlements: host}, statuses)
	return <-log, err
}

// reached tells which places a step reaches.
func (p *pod) reached(t *testing.T, options ...llb.RunOption) map[string]bool {
	t.Helper()
	script, out := "", map[string]bool{}
	for name, place := range p.places {
		host, port, _ := net.SplitHostPort(place)
		script += fmt.Sprintf("(test \"$(nc -w 3 %s %s </dev/null)\" = hello && echo \"to %s\") &\n", host, port, name)
	}
	log, err := p.run(script+"wait", options...)
	if err != nil {
		t.Fatalf("run the step: %v\n%s", err, log)
	}
	for line := range strings.Lines(log) {
		if name, found := strings.CutPrefix(strings.TrimSpace(line), "to "); found {
			out[name] = true
		}
	}
	return out
}

// places that a step without any rule reaches.
var usual = []string{"another machine", "another port of it", "the name server"}

func TestStepsReach(t *testing.T) {
	t.Parallel()
	p := startPod(t)
	port := func(name string) string {
		_, port, err := net.SplitHostPort(p.places[name])
		if err != nil {
			t.Fatal(err)
		}
		return port
	}
	cases := map[string]struct {
		egress string
		host   bool
		want   []string
	}{
		"all outside of the pod, but no metadata": {"", false, usual},
		"nothing with an empty list, but names":   {"[]", false, []string{"the name server"}},
		"what the list has": {
			`[{"to": [{"ipBlock": {"cidr": "10.91.0.0/16"}}]}]`, false, usual,
		},
		"at the ports that the list has": {
			`[{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}], "ports": [{"port": ` + port("another machine") + `}]}]`,
			false, []string{"another machine", "the name server"},
		},
		"no port by another protocol": {
			`[{"ports": [{"protocol": "UDP"}]}]`, false, []string{"the name server"},
		},
		"not what it excepts": {
			`[{"to": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.91.0.0/16"]}}]}]`, false,
			[]string{"the name server"},
		},
		"no metadata by a list that has everything": {`[{"to": [{"ipBlock": {"cidr": "0.0.0.0/0"}}]}]`, false, usual},
		"metadata by name": {
			`[{"to": [{"ipBlock": {"cidr": "169.254.169.254/32"}}]}]`, false,
			[]string{"the metadata service", "the name server"},
		},
		"the pod's own addresses in the pod's network, and no metadata there either": {
			"", true, append([]string{"the gateway", "the loopback of the pod", "the pod's address"}, usual...),
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			if err := p.network.Install("-egress", tc.egress, "-required"); err != nil {
				t.Fatal(err)
			}
			var options []llb.RunOption
			if tc.host {
				options = append(options, llb.Network(pb.NetMode_HOST))
			}
			want := map[string]bool{}
			for _, place := range tc.want {
				want[place] = true
			}
			if diff := cmp.Diff(want, p.reached(t, options...)); diff != "" {
				t.Errorf("places (-want +got):\n%s", diff)
			}
		})
	}
}

func TestStepsReachNoOtherStep(t *testing.T) {
	t.Parallel()
	p := startPod(t)
	shared := llb.AddMount("/c", llb.Scratch(), llb.AsPersistentCacheDir("shared", llb.CacheMountShared))
	type end struct {
		log string
		err error
	}
	listener := make(chan end, 1)
	go func() {
		log, err := p.run(`ip -o addr show scope global | sed 's/.*inet \([0-9.]*\).*/\1/' | head -n 1 >/c/at
			nc -l -p 7000 -w 20 <<-. & sleep 0.2
			hello
			.
			nc -w 3 $(cat /c/at) 7000 </dev/null # itself
			nc -l -p 7000 -w 20 <<-. &
			hello
			.
			until test -e /c/over; do sleep 0.1; done`, shared)
		listener <- end{log, err}
	}()
	log, err := p.run(`until test -s /c/at; do sleep 0.1; done; sleep 1
		test "$(nc -w 3 $(cat /c/at) 7000 </dev/null)" = hello && echo reached
		touch /c/over`, shared)
	other := <-listener
	if err != nil || other.err != nil {
		t.Fatalf("steps: %v, %v\n%s%s", err, other.err, log, other.log)
	}
	if !strings.Contains(other.log, "hello") {
		t.Errorf("the listener does not reach itself: %s", other.log)
	}
	if strings.Contains(log, "reached") {
		t.Errorf("a step reaches another one")
	}
}

// A daemon that was killed leaves files where the networks of its steps were.
func TestAKilledDaemonStartsAgain(t *testing.T) {
	t.Parallel()
	p := startPod(t)
	if log, err := p.run("true"); err != nil {
		t.Fatalf("run a step: %v\n%s", err, log)
	}
	p.daemon.Kill()
	p.daemon.Restart()
	if log, err := p.run("ip -o addr show scope global | grep -c 198.18.0."); err != nil {
		t.Errorf("run a step after the restart: %v\n%s", err, log)
	}
	if log := p.daemon.LogTail(); strings.Contains(log, "failed to release") {
		t.Errorf("what was left could not be cleaned up")
	}
}

// A pod's root is nobody on its node, where the pod has a user namespace.
func TestInstallNeedsNoRightsOnTheNode(t *testing.T) {
	t.Parallel()
	n := buildkittest.StartNetwork(t, "nameserver 10.0.0.53\n")
	const network = "ip link add eth0 type veth peer name eth9; ip addr add 10.1.2.3/24 dev eth0; "
	cases := map[string]struct {
		network  string
		required string
		want     stepnet.State
		wantErr  string
	}{
		"with an address": {network, "-required", stepnet.State{Isolated: true}, ""},
		"without one":     {"", "", stepnet.State{Message: "the pod has no address"}, ""},
		"without one, where it must be": {
			"", "-required", stepnet.State{}, "steps can have no networks of their own here: the pod has no address",
		},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			script := fmt.Sprintf("%s exec %s install -dir %s -resolv-conf %s/resolv.conf %s",
				tc.network, n.Program(), dir, n.Dir(), tc.required)
			cmd := exec.Command("unshare", "--user", "--map-root-user", "--net", "sh", "-ec", script)
			text, err := cmd.CombinedOutput()
			if tc.wantErr != "" {
				if err == nil || !strings.Contains(string(text), tc.wantErr) {
					t.Errorf("install: %v, %s; want %q", err, text, tc.wantErr)
				}
				return
			}
			if err != nil {
				t.Fatalf("install: %v\n%s", err, text)
			}
			got, err := stepnet.ReadState(dir)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tc.want, got); diff != "" {
				t.Errorf("state (-want +got):\n%s", diff)
			}
			if _, err := os.Stat(filepath.Join(dir, stepnet.ConfigFile)); (err == nil) != got.Isolated {
				t.Errorf("the configuration: %v, with the state %+v", err, got)
			}
		})
	}
}

func TestParseEgressRefuses(t *testing.T) {
	for name, text := range map[string]string{
		"what is no JSON":           "{",
		"an address without length": `[{"to": [{"ipBlock": {"cidr": "10.0.0.1"}}]}]`,
		"another protocol":          `[{"ports": [{"protocol": "SCTP"}]}]`,
		"an end before the start":   `[{"ports": [{"port": 9, "endPort": 8}]}]`,
		"an end without a start":    `[{"ports": [{"endPort": 8}]}]`,
	} {
		if rules, err := stepnet.ParseEgress(text); err == nil {
			t.Errorf("%s is taken: %+v", name, rules)
		}
	}
}
