// SPDX-License-Identifier: Apache-2.0

package e2e

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/scheduler"
	"github.com/openllb/hlb-operator/test/e2e/harness"
)

// costly takes eight seconds on a daemon that does not hold its mount, and next to nothing on one that does.
const costly = `fs default() {
	image "IMAGE"
	run "echo WORD; if [ ! -e /cache/made ]; then sleep 8; touch /cache/made; fi" with option {
		cacheMount "/cache" with option { id "costly"; }
	}
}
`

// sleeping takes so many seconds wherever it runs.
func sleeping(seconds int, word string) string {
	return fmt.Sprintf("fs default() {\n\timage \"IMAGE\"\n\trun \"echo %s; sleep %d\"\n}\n", word, seconds)
}

// onSpill is a build of the fleet "spill" with a key of its own.
func onSpill(name, key, program string) *v1alpha1.HLBBuild {
	b := newBuild(name, program)
	b.Spec.CacheRef.Name, b.Spec.CacheKey = "spill", key
	return b
}

// TestAFullDaemonIsWaitedForOrNot has a build whose warm daemon is busy: for a few seconds, which is less than what
// its caches save, and then for much longer than that.
func TestAFullDaemonIsWaitedForOrNot(t *testing.T) {
	spill := newFleet("spill", 2)
	spill.Spec.BuildKit.MaxConcurrentBuilds, spill.Spec.Registry = 1, nil
	makeFleet(t, spill)

	again := 0
	costlyBuild := func() *v1alpha1.HLBBuild {
		again++
		return onSpill(fmt.Sprintf("costly-%d", again), "costly",
			strings.ReplaceAll(costly, "WORD", fmt.Sprint("word", again)))
	}
	var home string
	for range 2 { // cold, then warm: the scheduler learns both lengths
		b := costlyBuild()
		run(t, b)
		succeeded(t, b)
		home = b.Status.Placement.Daemon
	}
	blockerKey := func(seconds int) string { // of a build that lives on the same daemon, and whose length is known
		for i := range 40 {
			key := fmt.Sprintf("blocker-%d-%d", seconds, i)
			if homeOf(spill, key) != home {
				continue
			}
			there := true
			for _, word := range []string{"first", "second"} { // on a daemon new to the key, and on one that knows it
				b := onSpill(key+"-"+word, key, sleeping(seconds, word))
				run(t, b)
				succeeded(t, b)
				if there = b.Status.Placement.Daemon == home; !there {
					break // a new key may go where less was to do lately
				}
			}
			if !there {
				continue
			}
			return key
		}
		t.Fatal("no key has its home on " + home)
		return ""
	}
	for _, tc := range []struct {
		busy  int
		waits bool
	}{{4, true}, {25, false}} {
		key := blockerKey(tc.busy)
		blocker := onSpill(key+"-again", key, sleeping(tc.busy, "third"))
		apply(t, blocker)
		eventually(t, blocker, "the daemon is busy", isRunning)
		if blocker.Status.Placement.Daemon != home {
			t.Fatalf("the blocker is on %s, not on %s", blocker.Status.Placement.Daemon, home)
		}
		b := costlyBuild()
		apply(t, b)
		if tc.waits {
			eventually(t, b, "it waits for its daemon", func(b *v1alpha1.HLBBuild) bool {
				c := meta.FindStatusCondition(b.Status.Conditions, v1alpha1.ConditionScheduled)
				return c != nil && c.Reason == v1alpha1.ReasonWaitingForDaemon && strings.Contains(c.Message, home)
			})
		}
		await(t, b)
		succeeded(t, b)
		if got := b.Status.Placement; (got.Daemon == home) != tc.waits {
			t.Errorf("with its daemon %s busy for %d s the build went to %s: %s", home, tc.busy, got.Daemon, got.Reason)
		}
		must(t, client.IgnoreNotFound(cluster.Client.Delete(t.Context(), blocker)))
	}
}

// homeOf is the first daemon of a key's order in a fleet.
func homeOf(cache *v1alpha1.BuildCache, key string) string { return ranksOf(cache, key)[0] }

// ranksOf is a key's order of daemons in a fleet.
func ranksOf(cache *v1alpha1.BuildCache, key string) []string {
	pool := cache.Namespace + "/" + cache.Name
	var daemons []scheduler.Daemon
	for i := range int(*cache.Spec.Replicas) {
		daemons = append(daemons,
			scheduler.Daemon{ID: scheduler.DaemonOf(pool, i), Name: fmt.Sprintf("%s-%d", cache.Name, i),
				Phase: scheduler.Ready, Slots: 1})
	}
	view, err := scheduler.NewView(daemons, nil, 0)
	if err != nil {
		return []string{"", ""} // never: the names above are all different
	}
	var names []string
	for _, at := range scheduler.Ranks(view, scheduler.KeyOf(cache.Namespace, key), len(daemons)) {
		names = append(names, view.Daemons[at].Name)
	}
	return names
}

func TestDecisionsAreServedAndReplayed(t *testing.T) {
	build := newBuild("explained", "fs default() {\n\tscratch\n\tmkfile \"/a\" 0o644 \"a\"\n}\n")
	run(t, build)
	succeeded(t, build)

	address, token := asker(t)
	if code, _ := ask(t, address, "/debug/placements", ""); code != http.StatusUnauthorized &&
		code != http.StatusForbidden {
		t.Errorf("without a token the answer is %d", code)
	}
	rounds := roundsOf(t, address, token, "cache="+namespace+"/fleet&build=explained")
	if len(rounds) != 1 {
		t.Fatalf("the build's rounds are %+v, want one", rounds)
	}
	if b := rounds[0].Builds[0]; b.Daemon != build.Status.Placement.Daemon ||
		b.Decision != build.Status.Placement.Reason {
		t.Errorf("the round says %+v, the status %+v", b, build.Status.Placement)
	}
	_, data := ask(t, address, fmt.Sprintf("/debug/placements/%d", rounds[0].Round), token)
	record, err := scheduler.ReadRecord(bytes.NewReader(data))
	must(t, err)
	decisions, err := record.Replay()
	must(t, err)
	if diff := cmp.Diff(record.Decisions, decisions, cmpopts.IgnoreFields(scheduler.Option{}, "At")); diff != "" {
		t.Errorf("decided again (-then +now):\n%s", diff)
	}
}

// asker is the manager's address and the token of one who may ask it for placements, until the test ends.
func asker(t *testing.T) (address, token string) {
	t.Helper()
	name := strings.ToLower(t.Name())
	kubectl(t, "create", "serviceaccount", name)
	//nolint:errcheck // of an earlier run
	cluster.Kubectl(t.Context(), "", "delete", "clusterrolebinding", name, "--ignore-not-found")
	kubectl(t, "create", "clusterrolebinding", name, "--clusterrole=hlb-operator-placements-reader",
		"--serviceaccount="+namespace+":"+name)
	t.Cleanup(func() {
		if _, err := cluster.Kubectl(context.WithoutCancel(t.Context()), "", "delete", "clusterrolebinding",
			name); err != nil {
			t.Error(err)
		}
	})
	return forward(t), strings.TrimSpace(kubectl(t, "create", "token", name))
}

// explainedRound is a round as the manager lists it.
type explainedRound struct {
	Round  int
	Builds []struct{ Name, Action, Daemon, Decision string }
}

// roundsOf lists the rounds that the manager keeps and the query leaves.
func roundsOf(t *testing.T, address, token, query string) []explainedRound {
	t.Helper()
	code, list := ask(t, address, "/debug/placements?"+query, token)
	var rounds []explainedRound
	if err := json.Unmarshal(list, &rounds); err != nil || code != http.StatusOK {
		t.Fatalf("answer %d: %s (%v)", code, list, err)
	}
	return rounds
}

// forward makes the manager's HTTPS port reachable until the test ends, and returns its address.
func forward(t *testing.T) string {
	t.Helper()
	ctx, cancel := context.WithCancel(context.WithoutCancel(t.Context()))
	leader, err := cluster.Leader(ctx)
	must(t, err)
	cmd := exec.CommandContext(ctx, cluster.Info.Kubectl, "-n", harness.SystemNamespace, "port-forward", "pod/"+leader,
		":8443")
	cmd.Env = append(os.Environ(), "KUBECONFIG="+cluster.Info.Kubeconfig)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		cancel()
		cmd.Wait() //nolint:errcheck // it was killed
	})
	line, err := bufio.NewReader(out).ReadString('\n') // Forwarding from 127.0.0.1:40123 -> 8443
	must(t, err)
	_, rest, _ := strings.Cut(line, "from ")
	address, _, found := strings.Cut(rest, " ->")
	if !found {
		t.Fatalf("kubectl says %q", line)
	}
	return address
}

// ask reads from the manager, as the owner of a token or as nobody.
func ask(t *testing.T, address, path, token string) (int, []byte) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "https://"+address+path, nil)
	must(t, err)
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	//nolint:gosec // The manager's certificate is its own; what is tested is who may ask.
	c := &http.Client{Timeout: time.Minute,
		Transport: &http.Transport{TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
	defer c.CloseIdleConnections()
	res, err := c.Do(req)
	must(t, err)
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	must(t, err)
	return res.StatusCode, body
}
