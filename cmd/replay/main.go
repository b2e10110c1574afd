// SPDX-License-Identifier: Apache-2.0

// Command replay decides again what the manager recorded, and prints each decision: a directory that the manager wrote
// with --record-dir, or one round that its debug endpoint served. It ends with status 1 if anything comes out
// differently.
package main

import (
	"fmt"
	"io"
	"os"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/openllb/hlb-operator/fleet"
	"github.com/openllb/hlb-operator/fleet/record"
	"github.com/openllb/hlb-operator/scheduler"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: replay DIRECTORY|FILE, a recording or a round of the debug endpoint")
		os.Exit(2)
	}
	if err := run(os.Args[1], os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

// run replays what lies at path.
func run(path string, out io.Writer) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	if info.IsDir() {
		return replayDir(path, out)
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	return replayRound(in, out)
}

// replayDir prints the decisions of a recording, and what came out differently.
func replayDir(dir string, out io.Writer) error {
	p := record.Player{Replayed: func(of types.NamespacedName, obs *fleet.Observation, w *fleet.Writes) {
		at := obs.Now.UTC().Format(time.RFC3339Nano)
		for i := range w.Builds {
			fmt.Fprintf(out, "%s %s %s %s\n", at, of, w.Builds[i].Build.Name, &w.Builds[i].Decision)
		}
		for i := range w.Prefetch {
			for _, q := range w.Prefetch[i].Added {
				fmt.Fprintf(out, "%s %s %s prefetches %s\n", at, of, w.Prefetch[i].Daemon.Name, q.ID)
			}
		}
	}}
	if err := p.Play(dir); err != nil {
		return err
	}
	fmt.Fprintln(out, p.Summary())
	for _, d := range p.Differences {
		fmt.Fprintln(out, d)
	}
	return p.Err()
}

// replayRound prints the decisions of the round in in, marking those that differ.
func replayRound(in io.Reader, out io.Writer) error {
	r, err := scheduler.ReadRecord(in)
	if err != nil {
		return err
	}
	decisions, err := r.Replay()
	if err != nil {
		return err
	}
	differ := 0
	for i := range decisions {
		d := &decisions[i]
		fmt.Fprintf(out, "%s %s\n", d.UID, d)
		c := d.Chosen.Cost
		if d.Chosen.Exists() {
			fmt.Fprintf(
				out,
				"\twait %.1f + setup %.1f + service %.1f + price %.1f + evict %.1f = %.1fs, rank %d, load %.2f\n",
				c.WaitSeconds,
				c.SetupSeconds,
				c.ServiceSeconds,
				c.PriceSeconds,
				c.EvictSeconds,
				c.Total(),
				d.Chosen.Rank,
				d.Load,
			)
		}
		if i < len(r.Decisions) && r.Decisions[i].String() != d.String() {
			differ++
			fmt.Fprintf(out, "\tsaved: %s\n", &r.Decisions[i])
		}
	}
	if differ > 0 {
		return fmt.Errorf("%d of %d decisions differ from the saved ones", differ, len(decisions))
	}
	return nil
}
