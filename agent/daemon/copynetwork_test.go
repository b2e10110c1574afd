// SPDX-License-Identifier: Apache-2.0

package daemon_test

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/moby/buildkit/client"
	"github.com/moby/buildkit/client/llb"
	"github.com/moby/buildkit/solver/pb"
	"github.com/moby/buildkit/util/entitlements"

	"github.com/openllb/hlb-operator/agent/mountcopy"
	"github.com/openllb/hlb-operator/test/kit/buildkittest"
)

// sockets are the names of those on which copies of mounts are awaited in this network namespace.
func sockets(t *testing.T) []string {
	t.Helper()
	text, err := os.ReadFile("/proc/thread-self/net/unix")
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); strings.HasPrefix(fields[len(fields)-1], "@hlb-mountcopy-") {
			out = append(out, fields[len(fields)-1])
		}
	}
	return out
}

// TestCopiesWhereStepsHaveTheirOwnNetworks copies a mount while a step of a build looks for the copy's socket.
func TestCopiesWhereStepsHaveTheirOwnNetworks(t *testing.T) {
	t.Parallel()
	m := newMounts(t)
	network := buildkittest.StartNetwork(t, "", "-required")
	bk := buildkittest.Start(t, buildkittest.Options{Network: network, Registries: []string{m.registry.Address}})
	d := dial(t, bk)
	m.run(bk, "echo hello >/c/f", llb.CacheMountShared)
	cases := map[string]struct {
		mode pb.NetMode
		want bool
	}{
		"a step with a network of its own does not see it":  {pb.NetMode_UNSET, false},
		"a step that may use the pod's network does see it": {pb.NetMode_HOST, true},
	}
	for name, tc := range cases {
		t.Run(name, func(t *testing.T) {
			spying, seen := make(chan struct{}), make(chan bool)
			go func() { seen <- m.spy(bk, tc.mode, spying) }()
			<-spying
			tag := fmt.Sprintf("copied-%d", tc.mode)
			var res mountcopy.Result
			var err error
			c := m.copy("shared", tag)
			network.Do(func() { res, _, err = d.Snapshot(t.Context(), c) })
			if err != nil || res.Outcome != mountcopy.Copied {
				t.Fatalf("snapshot: %+v, %v", res, err)
			}
			m.look(bk, tag, `test "$(cat /image/f)" = hello`)
			if got := <-seen; got != tc.want {
				t.Errorf("the socket is seen: %v, want %v", got, tc.want)
			}
		})
	}
}

// spy runs a step that looks for the sockets of copies for five seconds, closes spying when it has begun, and reports
// whether there was one.
func (m *mounts) spy(bk *buildkittest.Daemon, mode pb.NetMode, spying chan struct{}) bool {
	const script = "echo spying; for i in $(seq 100); do grep -o @hlb-mountcopy /proc/net/unix || true; sleep 0.05; done"
	def, err := llb.Image(m.base).Run(llb.Args([]string{"/bin/sh", "-ec", script}), llb.Network(mode),
		llb.AddEnv("SALT", rand.Text())).Root().Marshal(m.t.Context())
	if err != nil {
		m.t.Error(err)
	}
	statuses, found := make(chan *client.SolveStatus), make(chan bool)
	begun := onLog("spying", spying)
	go func() {
		seen := false
		for s := range statuses {
			begun(s)
			for _, l := range s.Logs {
				seen = seen || bytes.Contains(l.Data, []byte("@hlb-mountcopy"))
			}
		}
		found <- seen
	}()
	opt := client.SolveOpt{AllowedEntitlements: []string{entitlements.EntitlementNetworkHost.String()}}
	if _, err := bk.Client().Solve(m.t.Context(), def, opt, statuses); err != nil {
		m.t.Errorf("the spy: %v", err)
	}
	return <-found
}

// TestStrangersMakeNoCopyWait has connections that say nothing come before the step, as steps can make them that share
// the pod's network.
func TestStrangersMakeNoCopyWait(t *testing.T) {
	t.Parallel()
	m := newMounts(t)
	d, bk := m.daemon()
	m.run(bk, "echo hello >/c/f", llb.CacheMountShared)
	over, met := make(chan struct{}), make(chan int)
	go func() {
		known, n := map[string]bool{}, 0
		for {
			select {
			case <-over:
				met <- n
				return
			case <-time.After(time.Millisecond):
			}
			for _, name := range sockets(t) {
				for range 100 {
					conn, err := net.Dial("unix", name)
					if known[name] || err != nil {
						break
					}
					t.Cleanup(func() { conn.Close() })
					n++
				}
				known[name] = true
			}
		}
	}()
	start := time.Now()
	m.snapshot(d, m.copy("shared", "copied"))
	took := time.Since(start)
	close(over)
	if n := <-met; n < 100 || took > 30*time.Second {
		t.Errorf("the snapshot took %v with %d strangers", took, n)
	}
}
