// SPDX-License-Identifier: Apache-2.0

// Command replay decides a saved scheduling round again and prints each decision. It ends with status 1 if the
// answers differ from the saved ones.
package main

import (
	"fmt"
	"io"
	"os"

	"github.com/openllb/hlb-operator/scheduler"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: replay FILE, a record as the manager's debug endpoint serves it")
		os.Exit(2)
	}
	in, err := os.Open(os.Args[1])
	if err == nil {
		err = replay(in, os.Stdout)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "replay:", err)
		os.Exit(1)
	}
}

// replay prints the decisions for the record in in, marking those that differ.
func replay(in io.Reader, out io.Writer) error {
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
