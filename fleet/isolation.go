// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"cmp"
	"maps"
	"slices"

	"github.com/openllb/hlb-operator/api/v1alpha1"
	"github.com/openllb/hlb-operator/internal/failure"
	"github.com/openllb/hlb-operator/scheduler"
)

// A build that may be the cause of deaths of daemons runs alone. A daemon is kept free for it: nothing else is placed
// there from then on, and the build is once the daemon is empty. While it runs there, the daemon stays closed.

// isolationShare is the part of the serving daemons that may be kept for such builds at a time: one in so many, and one
// at least.
const isolationShare = 4

// planIsolation keeps daemons free for the isolated builds that wait, oldest first. A daemon stays a build's for as
// long as both are there.
func (s *State) planIsolation() {
	if len(s.queue.isolated) == 0 && !s.keeps {
		return
	}
	taken, serving := map[string]bool{}, 0
	s.keeps = false
	for _, d := range s.members {
		if takesAny(d) {
			serving++
		}
		if running := isolatedOn(d); running != "" {
			s.keep(d, running) // also after a restart
		} else if s.queue.isolated[d.keptFor] == nil || !s.couldRun(d, s.queue.isolated[d.keptFor].object) {
			s.keep(d, "")
		}
		if d.keptFor != "" {
			taken[d.keptFor], s.keeps = true, true
		}
	}
	waiting := slices.SortedFunc(maps.Values(s.queue.isolated), func(a, b *buildState) int {
		return cmp.Or(a.object.Status.Run.QueuedAt.Compare(b.object.Status.Run.QueuedAt.Time),
			cmp.Compare(a.UID, b.UID))
	})
	for _, k := range waiting {
		if taken[string(k.UID)] {
			continue
		}
		if len(taken) >= max(1, serving/isolationShare) {
			return
		}
		if d := s.roomFor(k.object); d != nil {
			s.keep(d, string(k.UID))
			taken[string(k.UID)], s.keeps = true, true
		}
	}
}

// keep keeps a daemon for a build, or for none.
func (s *State) keep(d *daemonState, uid string) {
	if d.keptFor != uid {
		d.keptFor, d.dirty = uid, true
	}
}

// roomFor chooses the daemon that an isolated build is to have for itself: the one with the fewest builds.
func (s *State) roomFor(b *v1alpha1.HLBBuild) *daemonState {
	var best *daemonState
	avoid := s.avoided(b)
	for _, d := range s.members {
		if d.keptFor != "" || !s.couldRun(d, b) || slices.Contains(avoid, d.is.ID) {
			continue
		}
		if best == nil || len(d.bound) < len(best.bound) {
			best = d
		}
	}
	return best
}

// isolatedOn is the UID of the isolated build that has a slot of the daemon, empty for none.
func isolatedOn(d *daemonState) string {
	for i := range d.bound {
		if d.bound[i].isolated {
			return string(d.bound[i].uid)
		}
	}
	return ""
}

// takesAny reports whether the daemon takes builds.
func takesAny(d *daemonState) bool { return phase(d.object) == scheduler.Ready }

// couldRun reports whether a daemon takes builds such as b.
func (s *State) couldRun(d *daemonState, b *v1alpha1.HLBBuild) bool {
	platform, is := normalPlatform(b.Spec.Platform()), s.daemonOf(d.object)
	return takesAny(d) && (platform == "" || len(is.Platforms) == 0 || slices.Contains(is.Platforms, platform))
}

// isolate closes the description of a daemon that has an isolated build, or is kept for one: it has the one slot when
// it is empty.
func isolate(d *daemonState) {
	d.is.KeptFor = cmp.Or(isolatedOn(d), d.keptFor)
	if d.is.KeptFor != "" {
		d.is.Slots = max(1, d.is.Running+d.is.Reserved)
	}
}

// avoided lists the daemons that lost attempts of a build's run by their own fault. There is none if no other daemon
// could run the build: it is tried there again then.
func (s *State) avoided(b *v1alpha1.HLBBuild) []scheduler.DaemonID {
	names := lostOn(b.Status.Run)
	if len(names) == 0 {
		return nil
	}
	var out []scheduler.DaemonID
	others := false
	for _, d := range s.members {
		if slices.Contains(names, d.Name) {
			out = append(out, d.is.ID)
		} else {
			others = others || s.couldRun(d, b)
		}
	}
	if !others {
		return nil
	}
	return out
}

// lostOn lists the daemons whose fault lost attempts of the run, the latest first.
func lostOn(run *v1alpha1.RunStatus) (out []string) {
	for i := range run.Attempts {
		if r := &run.Attempts[i]; failure.Of(r.Reason).Elsewhere && !slices.Contains(out, r.Daemon) {
			out = append(out, r.Daemon)
		}
	}
	if l := run.Lost; l != nil && failure.Of(l.Reason).Elsewhere && !slices.Contains(out, l.Daemon) {
		out = append(out, l.Daemon)
	}
	return out
}
