// SPDX-License-Identifier: Apache-2.0

package sim

import (
	"bufio"
	"compress/gzip"
	"fmt"
	"io"
	"math"
	"math/rand/v2"
	"strconv"
	"strings"

	"github.com/openllb/hlb-operator/scheduler"
)

// laneDays is the length of a lane. A recording of a year is folded so that its fortnights run in parallel, each with
// programs of its own: one fleet serves many more projects than were recorded at once. The first half of the lane is
// warm-up.
const laneDays = 14

// tracedDiskBytes is a daemon's volume in recorded workloads. A fortnight of the folded year of 2019 has 33,769
// programs, 93 TB at the drawn sizes; thirty volumes of this size hold one copy of each and a few more, so that the
// result measures placement and not a lack of disk.
const tracedDiskBytes = 4e12

// Recorded reads a recording: tab-separated lines, optionally gzipped, of seconds since the year's start, project,
// branch, duration in seconds summed over jobs, and number of jobs. A build's cold length is duration/jobs; its
// program is the project within its lane. What the recording does not say is drawn as in Generate: cold/warm ratio
// and copy size by program. Each build is a push of its own, because jobs are inside a build. Every lane of the same
// project has the same draw.
func Recorded(r io.Reader, daemons int, slots int32, priming bool, seed uint64) (*Workload, error) {
	in, err := plain(r)
	if err != nil {
		return nil, err
	}
	w := newWorkload(daemons, slots, tracedDiskBytes, priming)
	w.WarmUpSeconds, w.EndSeconds = laneDays/2*day, laneDays*day
	programs := map[string]int{}
	sums := []float64{}
	counts := []int{}
	lines := bufio.NewScanner(in)
	for n := 1; lines.Scan(); n++ {
		at, project, cold, err := traceLine(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if cold <= 0 {
			continue // clocks that were set back, and builds that never began
		}
		lane := int(at / (laneDays * day))
		name := project + "/" + strconv.Itoa(lane)
		program, known := programs[name]
		if !known {
			program = len(w.Programs)
			programs[name] = program
			w.Programs = append(w.Programs, tracedProgram(name, project, seed))
			sums, counts = append(sums, 0), append(counts, 0)
		}
		sums[program] += math.Log(cold)
		counts[program]++
		ratio := w.Programs[program].ColdSeconds // set to the ratio until lengths are known
		w.pushes++
		w.Builds = append(
			w.Builds,
			Build{
				Program:       program,
				Push:          w.pushes,
				ArriveSeconds: at - float64(lane)*laneDays*day,
				ColdSeconds:   cold,
				WarmSeconds:   cold / ratio,
			},
		)
	}
	if err := lines.Err(); err != nil {
		return nil, fmt.Errorf("read recording: %w", err)
	}
	for i := range w.Programs {
		p := &w.Programs[i]
		ratio := p.ColdSeconds
		p.ColdSeconds = math.Exp(sums[i] / float64(counts[i]))
		p.WarmSeconds = p.ColdSeconds / ratio
	}
	w.sort()
	return w, nil
}

// plain returns r without its compression, if any.
func plain(r io.Reader) (io.Reader, error) {
	in := bufio.NewReader(r)
	if magic, err := in.Peek(2); err == nil && magic[0] == 0x1f && magic[1] == 0x8b {
		z, err := gzip.NewReader(in)
		if err != nil {
			return nil, fmt.Errorf("open recording: %w", err)
		}
		return z, nil
	}
	return in, nil
}

// traceLine reads one line.
func traceLine(line string) (atSeconds float64, project string, coldSeconds float64, err error) {
	f := strings.Split(line, "\t")
	if len(f) != 5 {
		return 0, "", 0, fmt.Errorf("%d columns, want 5: seconds, project, branch, duration, jobs", len(f))
	}
	at, err1 := strconv.ParseFloat(f[0], 64)
	duration, err2 := strconv.ParseFloat(f[3], 64)
	jobs, err3 := strconv.ParseFloat(f[4], 64)
	if err1 != nil || err2 != nil || err3 != nil || at < 0 || jobs < 1 {
		return 0, "", 0, fmt.Errorf(
			"seconds %q, duration %q, jobs %q: want numbers, the first from 0 and the last from 1",
			f[0],
			f[3],
			f[4],
		)
	}
	return at, f[1], duration / jobs, nil
}

// tracedProgram draws what is not recorded, from the project's name alone. Its ColdSeconds is the cold/warm ratio for
// now.
func tracedProgram(name, project string, seed uint64) Program {
	rng := rand.New(rand.NewPCG(seed, uint64(scheduler.KeyOf("trace", project))))
	ratio := min(max(4*math.Exp(0.6*rng.NormFloat64()), 1.2), 30)
	bytes := int64(2e9 * math.Exp(0.8*rng.NormFloat64()))
	return Program{
		ColdSeconds: ratio,
		Keys:        []scheduler.KeyUse{{ID: scheduler.KeyOf("trace", name), Gain: 1, Bytes: bytes}},
	}
}
