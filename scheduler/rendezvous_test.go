// SPDX-License-Identifier: Apache-2.0

package scheduler

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// fleet makes n ready daemons "builds-0".. with the given slots each.
func fleet(n int, slots int32) []Daemon {
	daemons := make([]Daemon, n)
	for i := range daemons {
		daemons[i] = Daemon{ID: DaemonOf("ns/builds", i), Name: fmt.Sprintf("builds-%d", i), Phase: Ready, Slots: slots}
	}
	return daemons
}

// viewOf is NewView for fleets that are right by construction.
func viewOf(t testing.TB, daemons []Daemon, ledger *Ledger) *View {
	t.Helper()
	v, err := NewView(daemons, ledger, 0)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// rankNames are the names of the first k daemons for key.
func rankNames(v *View, key KeyID, k int) []string {
	var names []string
	for _, at := range Ranks(v, key, k) {
		names = append(names, v.Daemons[at].Name)
	}
	return names
}

// TestGoldenVectors holds the hash still. A change of these numbers moves every key of every fleet to another daemon:
// never adapt them.
func TestGoldenVectors(t *testing.T) {
	ids := []uint64{uint64(KeyOf("", "")), uint64(KeyOf("team-a", "app")), uint64(KeyOf("team-a", "app/mount:go")),
		uint64(DaemonOf("team-a/builds", 0)),
		uint64(DaemonOf("team-a/builds", 1)), uint64(EpochOf("pvc-1")),
		affinity(KeyOf("team-a", "app"), DaemonOf("team-a/builds", 0))}
	want := []uint64{16804241149081757544, 12528111302858239523, 5205371841344662925, 682841941600566056,
		17313067372708103842,
		15263658268238070203, 4555828563660960833}
	if diff := cmp.Diff(want, ids); diff != "" {
		t.Errorf("identities (-want +got):\n%s", diff)
	}
	v := viewOf(t, fleet(10, 1), nil)
	got := map[string][]string{}
	for _, key := range []string{"app", "web", "kernel"} {
		got[key] = rankNames(v, KeyOf("team-a", key), 4)
	}
	wantOrder := map[string][]string{
		"app":    {"builds-8", "builds-4", "builds-6", "builds-9"},
		"kernel": {"builds-9", "builds-5", "builds-7", "builds-0"},
		"web":    {"builds-6", "builds-5", "builds-3", "builds-1"},
	}
	if diff := cmp.Diff(wantOrder, got); diff != "" {
		t.Errorf("orders (-want +got):\n%s", diff)
	}
	uneven := fleet(10, 1)
	for i := 5; i < 10; i++ {
		uneven[i].Weight = 100
	}
	v = viewOf(t, uneven, nil)
	for _, key := range []string{"app", "web", "kernel"} {
		got[key] = rankNames(v, KeyOf("team-a", key), 4)
	}
	wantUneven := map[string][]string{
		"app":    {"builds-8", "builds-4", "builds-3", "builds-2"},
		"kernel": {"builds-0", "builds-1", "builds-4", "builds-3"},
		"web":    {"builds-3", "builds-6", "builds-1", "builds-5"},
	}
	if diff := cmp.Diff(wantUneven, got); diff != "" {
		t.Errorf("weighted orders (-want +got):\n%s", diff)
	}
}
